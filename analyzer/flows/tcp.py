"""TCP as one who watches it can tell: handshakes, retransmissions, order, windows, resets.

Every packet is judged once, in the order of its first frames, by what was seen of its
conversation before: how far each side has sent, what the other acknowledged, how often. So a copy
at a further vantage is never a retransmission. How a segment is judged is
`analyzer.flows.tcp_judgement`'s.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.growing import Kept
from analyzer.flows.tcp_copies import Copies
from analyzer.flows.tcp_judgement import ArrivalColumns, find_overtaken, judge_segments
from analyzer.flows.tcp_stalls import Stalls
from analyzer.flows.tcp_state import (
    ANSWERED,
    CHALLENGES,
    CONNECT_NS,
    CONNECTIONS,
    COUNTS,
    HANDSHAKE_NS,
    INITIAL_NS,
    SYN_RETRIES,
    SegmentColumns,
    TcpState,
    fresh_state,
)
from analyzer.flows.turns import Turns
from analyzer.model.batch import InOrder, in_order_of_time
from analyzer.model.bundles import bundle


class Segments:
    """The TCP segments of all conversations: numbers of conversations are given from outside."""

    def __init__(self) -> None:
        self._sent, self._arrived = InOrder(), InOrder()
        self._state = fresh_state(0)
        self.turns, self._stalls, self._copies = Turns(), Stalls(), Copies()

    def add(self, rows: pl.DataFrame, conversations: int, settled_ns: int) -> None:
        """Judge the segments that are settled.

        rows: SegmentColumns, and number, frames, ip_id, hello (it begins with a ServerHello).
        conversations: how many there are.
        """
        self._make_room(conversations)
        sent = in_order_of_time(self._sent.release(rows, settled_ns), "number")
        sent = self._copies.leave_out(sent, 2 * conversations)
        segments = bundle(SegmentColumns, sent)
        if len(sent):
            judge_segments(segments, self._state)
        self.turns.add(segments, 2 * conversations, sent["hello"].to_numpy())
        self._stalls.add(segments, 2 * conversations)
        moved = rows.filter(pl.col("frames") > 1, pl.col("length") > 0).select(
            "flow",
            "last_vantage",
            "number",
            pl.col("ts_ns").alias("sent_ns"),
            pl.col("last_ts_ns").alias("ts_ns"),
        )
        came = in_order_of_time(self._arrived.release(moved, settled_ns), "number")
        if len(came):
            find_overtaken(bundle(ArrivalColumns, came), self._state)

    def keep(self, kept: Kept) -> None:
        """Only these conversations."""
        for held in (self._sent, self._arrived):
            held.renumber(kept.new_flow)
        flows, talks, counts = self._state
        self._state = TcpState(
            flows[:, kept.flows], talks[:, kept.conversations], counts[:, kept.flows]
        )
        for part in (self.turns, self._stalls, self._copies):
            part.keep(kept)

    def _make_room(self, conversations: int) -> None:
        new = conversations - self._state.talks.shape[1]
        if new > 0:
            pairs = zip(self._state, fresh_state(new), strict=True)
            self._state = TcpState(*(np.concatenate(pair, axis=1) for pair in pairs))

    def table(self) -> pl.DataFrame:
        """[conversations] connections, answered, initial_rtt_ns, handshake_rtt_ns, connect_ns,
        syn_retries, challenge_acks, and as two columns, by direction, ``…_0`` and ``…_1``, each of
        COUNTS, and what `Stalls` and `Copies` tell."""
        talks, counts = self._state.talks, self._state.counts
        counted = pl.DataFrame(
            {
                "connections": talks[CONNECTIONS],
                "answered": talks[ANSWERED],
                "initial_rtt_ns": _where_known(talks[INITIAL_NS]),
                "handshake_rtt_ns": _where_known(talks[HANDSHAKE_NS]),
                "connect_ns": _where_known(talks[CONNECT_NS]),
                "syn_retries": talks[SYN_RETRIES],
                "challenge_acks": talks[CHALLENGES],
                **{
                    f"{name}_{side}": counts[row, side::2]
                    for row, name in enumerate(COUNTS)
                    for side in (0, 1)
                },
            }
        )
        return counted.hstack(self._stalls.table()).hstack(self._copies.table())


def _where_known(values: npt.NDArray[np.int64]) -> pl.Series:
    """The values; null where they are negative."""
    return pl.Series(values).set(pl.Series(values < 0), None)
