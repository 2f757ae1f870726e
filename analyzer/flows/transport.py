"""TCP and UDP conversations: who opened them, how many packets and bytes, how many were lost.

Counted per packet, never per copy, both directions together. The source is read where a packet
was first seen and the destination where it was last seen: so the two directions of a
conversation meet under one pair of addresses and ports, whatever NAT did in between.
The client is who sent the first SYN; where none was seen, who got the first SYN-ACK, else who
sent the first packet. Of fragments the datagram is counted: `analyzer.flows.fragments`.
What is particular to TCP is `analyzer.flows.tcp`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.decode.speech import SERVER_HELLO
from analyzer.flows.conversation_counts import ConversationCounts, CountedPackets
from analyzer.flows.conversation_statistics import OPTIONS, LostBetween, TcpOptionsOffered
from analyzer.flows.datagram_parts import DatagramParts
from analyzer.flows.datagram_turns import DATAGRAM, DatagramTurns
from analyzer.flows.fragments import Fragments
from analyzer.flows.frame_notes import FrameNotes
from analyzer.flows.growing import widened
from analyzer.flows.lost_parts import PLACE, LostParts
from analyzer.flows.tcp import Segments
from analyzer.flows.transport_packets import (
    SIDE,
    conversation_keys,
    flow_of_packets,
    noted,
    one_way_times,
    transport_packets,
)
from analyzer.flows.turns import AnswerTimes
from analyzer.model.batch import Batch
from analyzer.model.journeys import Status
from analyzer.model.vantage import Vantage
from analyzer.native.keys import KeyNumbers
from analyzer.net.ip import TCP, UDP

SEGMENT = (
    "ts_ns",
    "last_ts_ns",
    "number",
    "seq",
    "ack",
    pl.col("payload_len").alias("length"),
    "flags",
    "window",
    "first_vantage",
    "last_vantage",
    "frames",
    "sent_here",
    "ip_id",
)


_NO_SYN = 2
"""rank of a packet that is neither SYN nor SYN-ACK"""
_OPENING = ("connect_ns", "syn_retries", "challenge_acks")


@dataclass(frozen=True, slots=True)
class ConversationNotes:
    """What is read from bytes of packets; None: it is not."""

    offers: FrameNotes | None = None
    """of `analyzer.decode.tcp_options.tcp_options` of SYNs"""
    speech: FrameNotes | None = None
    """of `analyzer.decode.speech.speech`"""
    dns_ids: FrameNotes | None = None
    """of `analyzer.flows.datagram_turns.DNS_IDS`"""


class Conversations:
    """All TCP and UDP conversations, batch by batch."""

    def __init__(self, notes: ConversationNotes | None = None) -> None:
        self._numbers = KeyNumbers()
        self._fragments, self._counts = Fragments(), ConversationCounts()
        self._tcp, self._agreed, self._lost = Segments(), TcpOptionsOffered(), LostBetween()
        self.questions, self.parts = DatagramTurns(), LostParts()
        self._datagrams = DatagramParts()
        self._notes = notes or ConversationNotes()
        self._speech = np.zeros((1, 0), np.int64)
        self._rows: list[dict[str, Any]] = []

    def add(self, batch: Batch) -> None:
        """Count the TCP and UDP packets of one batch."""
        headed = self._fragments.with_ports(transport_packets(batch))
        keys, forward = conversation_keys(headed)
        numbers, _ = self._numbers.take(keys)
        if not headed.is_empty():
            self._count(headed, numbers, forward)
        flow = numbers.astype(np.int64) * 2 + forward
        self._follow(batch, headed, flow)
        self._take_questions(batch, headed, flow)
        self.parts.add(batch, flow_of_packets(batch, headed, flow, TCP))
        self._datagrams.add(batch, flow_of_packets(batch, headed, flow, UDP).astype(np.int32))

    def _follow(self, batch: Batch, rows: pl.DataFrame, flow: npt.NDArray[np.int64]) -> None:
        """Hand the TCP segments on; a batch without any, too.

        flow: [n] 2 · conversation, + 1 from the lower end to the higher.
        """
        ours = rows["headed"].to_numpy() & (rows["kind"].to_numpy() == TCP)
        keyed = rows.with_columns(pl.Series("flow", flow)).filter(pl.Series(ours))
        flow, said = flow[ours], noted(self._notes.speech, batch, keyed, "speech")
        answers = said.filter(pl.col("speech") == SERVER_HELLO)["number"]
        hello = pl.col("number").is_in(answers.implode()).alias("hello")
        segments = keyed.select("flow", *SEGMENT, hello)
        self._tcp.add(segments, self._numbers.count, batch.settled_ns)
        self._agreed.make_room(2 * self._numbers.count)
        self._agreed.see(keyed, flow)
        self._speech = widened(self._speech, self._numbers.count)
        np.maximum.at(self._speech[0], said["flow"].to_numpy() >> 1, said["speech"].to_numpy())
        offers = self._notes.offers.take(batch) if self._notes.offers else None
        if offers is not None:
            both = keyed.select("number", "flow").join(
                offers.select("number", "ts_ns", *OPTIONS), on="number"
            )
            self._agreed.hear(both, both["flow"].to_numpy())

    def _take_questions(
        self, batch: Batch, rows: pl.DataFrame, flow: npt.NDArray[np.int64]
    ) -> None:
        """Hand the datagrams on; a batch without any, too. flow: as of `_follow`."""
        ours = rows["headed"].to_numpy() & (rows["kind"].to_numpy() == UDP)
        blank = pl.lit(0, pl.Int64).alias("dns_id")
        keyed = rows.select(*DATAGRAM[:-2], pl.Series("flow", flow), blank).filter(pl.Series(ours))
        ids = noted(self._notes.dns_ids, batch, keyed, "dns_id").select("number", "dns_id")
        if not ids.is_empty():
            keyed = keyed.update(ids, on="number")
        self.questions.add(keyed, self._numbers.count, batch.settled_ns)

    @property
    def answer_times(self) -> dict[str, AnswerTimes]:
        """By protocol, the times of answers by the flow that asked; tls: to ClientHellos."""
        turns = self._tcp.turns
        return {"tcp": turns.times, "tls": turns.hellos, "udp": self.questions.times}

    def _count(
        self, rows: pl.DataFrame, numbers: npt.NDArray[np.int32], forward: npt.NDArray[np.int64]
    ) -> None:
        lost = (rows["status"] == Status.LOST).to_numpy()
        if lost.any():
            ends = {"conversation": numbers[lost], "direction": forward[lost]}
            where = rows.filter(lost).select("last_vantage", "expected")
            self._lost.add(where.with_columns(**{n: pl.Series(c) for n, c in ends.items()}))
        sized = (rows[name].to_numpy() for name in ("payload_len", "rank", "number", "piece"))
        packets = CountedPackets(numbers, forward, lost, one_way_times(rows), *sized)
        opening = self._counts.add(packets, self._numbers.count)
        self._keep_openings(rows, forward, opening)

    def _keep_openings(
        self, rows: pl.DataFrame, forward: npt.NDArray[np.int64], opening: npt.NDArray[np.int64]
    ) -> None:
        """The rows of the packets that tell best who opened."""
        conversations = np.flatnonzero(opening >= 0)
        self._rows += [{}] * (len(opening) - len(self._rows))
        texts = pl.col("protocol", "source", "destination").cast(pl.String)
        sides = pl.Series("forward", forward[opening[conversations]])
        first = rows[opening[conversations]].with_columns(texts, sides)
        pairs = zip(conversations.tolist(), first.iter_rows(named=True), strict=True)
        for conversation, row in pairs:
            self._rows[conversation] = row

    def table(self) -> pl.DataFrame:
        """One row a conversation, in order of appearance.

        protocol, client, server (names), client_hi, client_lo, client_port, server_hi, server_lo,
        server_port; of both directions together: packets, bytes (of payload), lost (packets of
        status lost); of each, after who sends: client_packets, client_bytes, client_lost,
        client_min_ns, client_mean_ns, client_max_ns, client_p50_ns, client_p99_ns (one way, first
        vantage to last), server_…; conversation (its number, for `lost_between`); of TCP also
        `TcpOptionsOffered.table` and what `Segments.table` tells, by sides, too.
        """
        return self._table([self._counts.table(), self._tcp.table(), self._agreed.table()])

    def turns(self, end_ns: int) -> pl.DataFrame:
        """One row a conversation, with what is known of its questions and answers.

        As of `table`: protocol, client, server, their ends, of TCP what `Segments.table` tells;
        conversation; begun (its opening was seen); speech (codes of `analyzer.decode.speech`);
        by sides, too, flow (its number) and what `Turns` and `DatagramTurns` tell of those who ask.
        """
        speech = pl.DataFrame({f"speech_{side}": self._speech[0] for side in (0, 1)})
        told = [speech, self._tcp.turns.table(), self.questions.table(end_ns)]
        return self._table([self._counts.table(), self._tcp.table(), *told])

    def _table(self, parts: list[pl.DataFrame]) -> pl.DataFrame:
        if not self._rows:
            return pl.DataFrame(schema={"protocol": pl.String})
        table = pl.DataFrame(self._rows, infer_schema_length=None)
        count = np.arange(len(self._rows))
        flows = pl.DataFrame({"flow_0": 2 * count, "flow_1": 2 * count + 1})
        return _by_role(
            pl.concat([table, flows, *parts], how="horizontal")
            .with_row_index("conversation")
            .sort("start")
        )

    def unheaded(self) -> Iterator[dict[str, Any]]:
        """See `Fragments.unheaded`."""
        return self._fragments.unheaded()

    def short(self, until_ns: int) -> dict[int, int]:
        """Flow → datagrams that came to their end in part: see `DatagramParts.short`."""
        counts = self._datagrams.short(2 * self._numbers.count, until_ns)
        return {flow: int(counts[flow]) for flow in np.flatnonzero(counts).tolist()}

    def lost_parts(self, trusted: Callable[[int], bool]) -> pl.DataFrame:
        """`LostParts.table`, with protocol, source and destination, and of the first frame the
        number and the vantages that saw it (seen)."""
        table = self.parts.table(trusted)
        named = []
        for flow in table["flow"].to_list():
            opened = self._rows[flow >> 1]
            ends = opened["source"], opened["destination"]
            named.append(ends if opened["forward"] == flow & 1 else ends[::-1])
        first = [self.parts.example(place) for place in table.select(PLACE).iter_rows()]
        return table.with_columns(
            pl.lit("tcp").alias("protocol"),
            pl.Series("source", [source for source, _ in named], pl.String),
            pl.Series("destination", [destination for _, destination in named], pl.String),
            pl.Series("seen", [one.seen for one in first], pl.List(pl.Int64)),
            pl.Series("number", [one.number for one in first], pl.Int64),
        )

    def lost_between(
        self, vantages: Sequence[Vantage], trusted: Callable[[int], bool]
    ) -> dict[int, list[str]]:
        """By conversation, the most first: ``client: veth0 → veth1: 3``. trusted: see LostParts."""
        texts, counts = {}, {n: places.copy() for n, places in self._lost.counts.items()}
        for flow, last, expected, segments in (
            self.parts.table(trusted).select(*PLACE, "segments").iter_rows()
        ):
            counts.setdefault(flow >> 1, Counter())[flow & 1, last, expected] += segments
        for conversation, places in counts.items():
            opened = self._rows[conversation]
            client = int(opened["forward"] != (opened["rank"] == 1))
            texts[conversation] = [
                f"{'client' if side == client else 'server'}: "
                f"{vantages[last].name} → {vantages[expected].name}: {count}"
                for (side, last, expected), count in sorted(
                    places.items(), key=lambda one: (-one[1], one[0])
                )
            ]
        return texts


def _by_role(table: pl.DataFrame) -> pl.DataFrame:
    """Columns ``…_0`` and ``…_1``, by direction, as ``client_…`` and ``server_…``."""
    from_low = pl.col("forward") == (pl.col("rank") == 1)
    sided = [name.removesuffix("_0") for name in table.columns if name.endswith("_0")]
    sides = (
        pl.when(from_low).then(f"{name}_{low}").otherwise(f"{name}_{high}").alias(f"{role}_{name}")
        for role, low, high in (("client", 0, 1), ("server", 1, 0))
        for name in sided
    )
    totals = ("connections", "answered", "initial_rtt_ns", "handshake_rtt_ns", *_OPENING)
    added = ("packets", "bytes", "lost", "fragments", "duplicates")
    both = (pl.sum_horizontal(f"{n}_0", f"{n}_1").alias(n) for n in added)
    begun = (pl.col("rank") < _NO_SYN).alias("begun")
    return table.select(
        "conversation",
        "protocol",
        begun,
        *_side("client"),
        *_side("server"),
        *both,
        *sides,
        *totals,
    )


def _side(role: str) -> list[pl.Expr]:
    """The client's or the server's columns: source and destination, turned for a SYN-ACK."""
    own, other = (("source", "src"), ("destination", "dst"))
    if role == "server":
        own, other = other, own
    turned = pl.when(pl.col("rank") == 1)
    return [
        turned.then(other[0]).otherwise(own[0]).alias(role),
        *(
            turned.then(f"{other[1]}_{part}").otherwise(f"{own[1]}_{part}").alias(f"{role}_{part}")
            for part in SIDE
        ),
    ]
