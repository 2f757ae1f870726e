"""Questions and answers over UDP, and how long an answer took to come out of the answering side.

A datagram answers the other side's open question, if there is one; else it is a question itself.
Questions of DNS are told apart by their ids. Where several questions are open in one exchange,
answers are counted and not timed: which is to which cannot be told. A conversation in which both
sides ask is none of question and answer: that is for the reader of the counts to see.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.decode.rows import transport_rows
from analyzer.flows.answer_times import AnswerTimes, Times, no_times
from analyzer.flows.frame_notes import FrameReader
from analyzer.flows.growing import Kept, widened
from analyzer.model.batch import Columns, InOrder, in_order_of_time
from analyzer.model.bundles import bundle
from analyzer.model.frames import FrameChunk
from analyzer.native.compiled import compiled, piece
from analyzer.native.keys import KeyNumbers, mixed
from analyzer.net.ip import UDP
from analyzer.net.ports import DNS_PORT

PATIENCE_NS, GRACE_NS = 30_000_000_000, 100_000_000
"""nobody waits longer for an answer; a question so shortly before the end may get one after it"""
# Of each side of an exchange, as the one that asks.
_OPEN, _MIXED, _SENT_NS, _SENT_AT, _CAME_NS, _CAME_AT, _FLOW = range(_STATES := 7)
"""rows: questions without an answer; there were several; when and where the latest was sent, came
in; the flow that it is of"""
_REQUESTS, _ANSWERED, _TIMED, _FORGOTTEN = range(_COUNTS := 4)
DATAGRAM = (
    "ts_ns",
    "last_ts_ns",
    "number",
    "first_vantage",
    "last_vantage",
    "flow",
    "talk",
    "dns_id",
)


class Datagrams(NamedTuple):
    """In order of their first frames; [datagrams] of each."""

    flow: npt.NDArray[np.int64]
    """2 · conversation, + 1 for one of its directions"""
    asker: npt.NDArray[np.int64]
    """2 · exchange, + 1 for one of its directions"""
    ts_ns: npt.NDArray[np.int64]
    last_ts_ns: npt.NDArray[np.int64]
    first_vantage: npt.NDArray[np.int32]
    last_vantage: npt.NDArray[np.int32]


class DatagramTurns:
    """The questions and answers of all UDP conversations."""

    def __init__(self) -> None:
        self.times = AnswerTimes()
        self._order, self._exchanges = InOrder(), KeyNumbers()
        self._states = np.zeros((_STATES, 0), np.int64)
        self._counts = np.zeros((_COUNTS, 0), np.int64)

    def add(self, rows: pl.DataFrame, conversations: int, settled_ns: int) -> None:
        """Take in those that are settled. rows: DATAGRAM; there are so many conversations.

        talk: what each conversation is known by for ever, while numbers of flows may change.
        """
        self._counts = widened(self._counts, 2 * conversations)
        sent = in_order_of_time(self._order.release(rows, settled_ns), "number")
        flow = sent["flow"].to_numpy()
        times = no_times(len(sent))
        if len(sent):
            exchange, _ = self._exchanges.take(
                mixed(sent["talk"].to_numpy(), sent["dns_id"].to_numpy())
            )
            asker = 2 * exchange.astype(np.int64) + (flow & 1)
            self._states = widened(self._states, 2 * self._exchanges.count, spare=True)
            datagrams = bundle(Datagrams, sent.with_columns(pl.Series("asker", asker)))
            _take_turns(datagrams, self._states, self._counts, times)
        self.times.add(times, 2 * conversations)

    def keep(self, kept: Kept) -> None:
        """Only these flows, and what they have asked."""
        self._order.renumber(kept.new_flow)
        self.times.keep(kept)
        self._counts = self._counts[:, kept.flows]
        states = self._states[:, : 2 * self._exchanges.count]
        states[_FLOW] = np.where(states[_SENT_NS] > 0, kept.new_flow[states[_FLOW]], -1)
        alive = (states[_FLOW].reshape(-1, 2) >= 0).any(axis=1)
        np.maximum(states[_FLOW], 0, out=states[_FLOW])
        self._states = states[:, np.repeat(alive, 2)]
        self._exchanges.keep(np.flatnonzero(alive))

    def table(self, end_ns: int) -> pl.DataFrame:
        """[conversations] asked, answered, answers_timed, unanswered: as ``…_0`` and ``…_1``, by
        the side that asks. end_ns: when the capture ended."""
        counts, states = self._counts, self._states
        over = (states[_OPEN] > 0) & (states[_SENT_NS] < end_ns - GRACE_NS)
        open_ = np.zeros(counts.shape[1], np.int64)
        np.add.at(open_, states[_FLOW, over], states[_OPEN, over])
        columns = {
            "asked": counts[_REQUESTS],
            "answers": counts[_ANSWERED],
            "answers_timed": counts[_TIMED],
            "unanswered": counts[_FORGOTTEN] + open_,
        }
        sided = {f"{n}_{side}": c[side::2] for n, c in columns.items() for side in (0, 1)}
        return pl.DataFrame(sided)


@piece
def _answer(states: Any, counts: Any, asker: Any, row: Any, sent: Datagrams, times: Times) -> None:
    """A datagram while the other side's question is open."""
    flow = states[_FLOW, asker]
    states[_OPEN, asker] -= 1
    counts[_ANSWERED, flow] += 1
    at, came = states[_CAME_AT, asker], states[_CAME_NS, asker]
    sure = not states[_MIXED, asker] and at == sent.first_vantage[row] and came <= sent.ts_ns[row]
    if states[_OPEN, asker] == 0:
        states[_MIXED, asker] = 0
    if not sure:
        return
    counts[_TIMED, flow] += 1
    times.asker[row], times.response_ns[row] = flow, sent.ts_ns[row] - came
    times.vantage[row] = at
    asked_at = states[_SENT_AT, asker]
    if sent.last_vantage[row] == asked_at and asked_at != at:
        back = sent.last_ts_ns[row] - sent.ts_ns[row]
        times.network_ns[row] = came - states[_SENT_NS, asker] + back


@compiled
def _take_turns(sent: Datagrams, states: Any, counts: Any, times: Times) -> None:
    """Count, and fill ``times``."""
    for row in range(len(sent.flow)):
        flow, one, ts = sent.flow[row], sent.asker[row], sent.ts_ns[row]
        other = one ^ 1
        for side in (one, other):
            if states[_OPEN, side] and ts - states[_SENT_NS, side] > PATIENCE_NS:
                counts[_FORGOTTEN, states[_FLOW, side]] += states[_OPEN, side]
                states[_OPEN, side] = states[_MIXED, side] = 0
        if states[_OPEN, other]:
            _answer(states, counts, other, row, sent, times)
            continue
        counts[_REQUESTS, flow] += 1
        states[_MIXED, one] = states[_MIXED, one] or states[_OPEN, one] > 0
        states[_OPEN, one] += 1
        states[_FLOW, one] = flow
        states[_SENT_NS, one], states[_SENT_AT, one] = ts, sent.first_vantage[row]
        states[_CAME_NS, one], states[_CAME_AT, one] = sent.last_ts_ns[row], sent.last_vantage[row]


def _read_dns_ids(chunk: FrameChunk, frames: Columns) -> pl.DataFrame:
    """row and dns_id (RFC 1035, 4.1.1) of datagrams from or to DNS's port."""
    rows = transport_rows(frames, UDP, DNS_PORT)
    at = chunk.offset[rows] + frames["l4_offset"][rows] + 8
    whole = (at + 2 <= chunk.offset[rows] + chunk.caplen[rows]) & (frames["payload_len"][rows] > 1)
    rows, at = rows[whole], at[whole].astype(np.intp)
    ids = chunk.buffer[at].astype(np.int64) << 8 | chunk.buffer[at + 1]
    return pl.DataFrame({"row": rows.astype(np.uint32), "dns_id": ids + 1})


DNS_IDS = FrameReader(
    "ids of DNS", _read_dns_ids, lambda frames: len(transport_rows(frames, UDP, DNS_PORT)) > 0
)
