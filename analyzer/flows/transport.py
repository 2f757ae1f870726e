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
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec import Struct

from analyzer.decode.speech import SERVER_HELLO
from analyzer.flows.answer_times import AnswerTimes
from analyzer.flows.conversation_counts import ConversationCounts, CountedPackets
from analyzer.flows.conversation_roles import by_role
from analyzer.flows.conversation_statistics import OPTIONS, LostBetween, TcpOptionsOffered
from analyzer.flows.datagram_parts import DatagramParts
from analyzer.flows.datagram_turns import DATAGRAM, DatagramTurns
from analyzer.flows.fragments import Fragments
from analyzer.flows.frame_notes import FrameNotes
from analyzer.flows.growing import Kept, widened
from analyzer.flows.live_conversations import LiveConversations
from analyzer.flows.lost_parts import PLACE, LostParts
from analyzer.flows.openings import Openings
from analyzer.flows.tcp import Segments
from analyzer.flows.transport_packets import (
    conversation_keys,
    flow_of_packets,
    noted,
    one_way_times,
    transport_packets,
)
from analyzer.model.batch import Batch
from analyzer.model.journeys import Status
from analyzer.model.vantage import Vantage
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


class ConversationNotes(Struct, frozen=True):
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
        self._live = LiveConversations()
        self._fragments, self._counts = Fragments(), ConversationCounts()
        self._tcp, self._agreed, self._lost = Segments(), TcpOptionsOffered(), LostBetween()
        self.questions, self.parts = DatagramTurns(), LostParts()
        self._datagrams = DatagramParts()
        self._notes = notes or ConversationNotes()
        self._speech = np.zeros((1, 0), np.int64)
        self._openings = Openings()
        self._tables: dict[str | int, pl.DataFrame] = {}
        """made since the last batch: several kinds of flows ask for the same"""

    def add(self, batch: Batch) -> None:
        """Count the TCP and UDP packets of one batch."""
        self._tables.clear()
        headed = self._fragments.with_ports(transport_packets(batch))
        headed, keys, forward = self._followed(headed)
        numbers = self._live.take(headed, keys)
        if not headed.is_empty():
            self._count(headed, numbers, forward)
        flow = numbers.astype(np.int64) * 2 + forward
        self._follow(batch, headed, flow)
        self._take_questions(batch, headed, flow)
        lasting = self._live.serial[numbers] * 2 + forward
        self.parts.add(batch, flow_of_packets(batch, headed, lasting, TCP))
        self._datagrams.add(batch, flow_of_packets(batch, headed, lasting, UDP).astype(np.int32))

    def _followed(
        self, rows: pl.DataFrame
    ) -> tuple[pl.DataFrame, npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """The packets of conversations that are followed, as of `conversation_keys`."""
        keys, forward = conversation_keys(rows)
        ours = self._live.admit(rows, keys, self._keep)
        if ours is None:
            return rows, keys, forward
        self._live.leave_out(rows.filter(~ours), keys[~ours])
        return rows.filter(ours), keys[ours], forward[ours]

    def _keep(self, kept: Kept) -> None:
        """Only these conversations go on; the others are counted together."""
        gone = np.ones(self._live.count, np.bool_)
        gone[kept.conversations] = False
        port = pl.when(pl.col("rank") == 1).then("src_port").otherwise("dst_port").alias("port")
        talks = self._openings.table.select("protocol", port).hstack(self._counts.totals())
        self._live.count_others(talks.filter(gone))
        self._speech = self._speech[:, kept.conversations]
        for part in (
            self._openings,
            self._counts,
            self._tcp,
            self._agreed,
            self._lost,
            self.questions,
        ):
            part.keep(kept)

    def others(self) -> pl.DataFrame:
        """See `LiveConversations.others`."""
        return self._live.others()

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
        self._tcp.add(segments, self._live.count, batch.settled_ns)
        self._agreed.make_room(2 * self._live.count)
        self._agreed.see(keyed, flow)
        self._speech = widened(self._speech, self._live.count)
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
        talk = pl.Series("talk", self._live.serial[flow >> 1])
        columns = (*DATAGRAM[:-3], pl.Series("flow", flow), talk, blank)
        keyed = rows.select(columns).filter(pl.Series(ours))
        ids = noted(self._notes.dns_ids, batch, keyed, "dns_id").select("number", "dns_id")
        if not ids.is_empty():
            keyed = keyed.update(ids, on="number")
        self.questions.add(keyed, self._live.count, batch.settled_ns)

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
        opening = self._counts.add(packets, self._live.count)
        self._openings.add(rows, forward, opening)

    def table(self) -> pl.DataFrame:
        """One row a conversation, in order of appearance.

        protocol, client, server (names), client_hi, client_lo, client_port, server_hi, server_lo,
        server_port; of both directions together: packets, bytes (of payload), lost (packets of
        status lost); of each, after who sends: client_packets, client_bytes, client_lost,
        client_min_ns, client_mean_ns, client_max_ns, client_p50_ns, client_p99_ns (one way, first
        vantage to last), server_…; conversation (its number, for `lost_between`); of TCP also
        `TcpOptionsOffered.table` and what `Segments.table` tells, by sides, too.
        """
        if "all" not in self._tables:
            self._tables["all"] = self._table([self._agreed.table()])
        return self._tables["all"]

    def turns(self, end_ns: int) -> pl.DataFrame:
        """One row a conversation, with what is known of its questions and answers.

        As of `table`: protocol, client, server, their ends, of TCP what `Segments.table` tells;
        conversation; begun (its opening was seen); speech (codes of `analyzer.decode.speech`);
        by sides, too, flow (its number) and what `Turns` and `DatagramTurns` tell of those who ask.
        """
        if end_ns not in self._tables:
            speech = pl.DataFrame({f"speech_{side}": self._speech[0] for side in (0, 1)})
            told = [speech, self._tcp.turns.table(), self.questions.table(end_ns)]
            self._tables[end_ns] = self._table(told)
        return self._tables[end_ns]

    def _table(self, parts: list[pl.DataFrame]) -> pl.DataFrame:
        """What is counted, with ``parts``: [conversations] each."""
        parts = [self._counts.table(), self._tcp.table(), *parts]
        table = self._openings.table
        if table.is_empty():
            return pl.DataFrame(schema={"protocol": pl.String})
        count = np.arange(len(table))
        flows = pl.DataFrame({"flow_0": 2 * count, "flow_1": 2 * count + 1})
        return by_role(
            pl.concat([table, flows, *parts], how="horizontal")
            .with_row_index("conversation")
            .sort("start")
        )

    def unheaded(self) -> Iterator[dict[str, Any]]:
        """See `Fragments.unheaded`."""
        return self._fragments.unheaded()

    def short(self, until_ns: int) -> dict[int, int]:
        """Flow → datagrams that came to their end in part: see `DatagramParts.short`."""
        counts = self._datagrams.short(0, until_ns)
        short = np.flatnonzero(counts)
        flows = self._live.number_of(short)
        pairs = zip(flows.tolist(), counts[short].tolist(), strict=True)
        return {flow: count for flow, count in pairs if flow >= 0}

    def lost_parts(self, trusted: Callable[[int], bool]) -> pl.DataFrame:
        """`LostParts.table`, with protocol, source and destination, and of the first frame the
        number and the vantages that saw it (seen)."""
        table = self.parts.table(trusted)
        flows = self._live.number_of(table["flow"].to_numpy())
        table, flows = table.filter(flows >= 0), flows[flows >= 0]
        named = []
        for flow in flows.tolist():
            opened = self._openings.table.row(flow >> 1, named=True)
            ends = opened["source"], opened["destination"]
            named.append(ends if opened["forward"] == flow & 1 else ends[::-1])
        first = [self.parts.example(place) for place in table.select(PLACE).iter_rows()]
        table = table.with_columns(pl.Series("flow", flows))
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
        parts = self.lost_parts(trusted).select(*PLACE, "segments")
        for flow, last, expected, segments in parts.iter_rows():
            counts.setdefault(flow >> 1, Counter())[flow & 1, last, expected] += segments
        for conversation, places in counts.items():
            opened = self._openings.table.row(conversation, named=True)
            client = int(opened["forward"] != (opened["rank"] == 1))
            texts[conversation] = [
                f"{'client' if side == client else 'server'}: "
                f"{vantages[last].name} → {vantages[expected].name}: {count}"
                for (side, last, expected), count in sorted(
                    places.items(), key=lambda one: (-one[1], one[0])
                )
            ]
        return texts
