"""What became of the packets that drops were tied to, counted without everyday's drops. Pure.

Packets that are lost get the kernel's reason; those that were seen up to an interface and dropped
by the stack behind it are losses of their own. What every healthy stack drops (duplicates, the
rest of closed connections, multicast that nobody joined, late answers) is left out, and so is what
was answered: that was delivered, whatever became of copies and parts of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec import Struct, field

from analyzer.correlate.answers import (
    NO_KEY,
    echo_keys,
    echo_reply_keys,
    opening_keys,
    refusal_keys,
    syn_keys,
)
from analyzer.diagnosis.dropped_requests import DroppedRequests, asked_by
from analyzer.diagnosis.example import Examples
from analyzer.diagnosis.lost_flows import (
    GROUP,
    MOST_FLOWS,
    REST,
    STACK,
    Columns,
    LostFlow,
    Tied,
    count_flow,
    flow_keys,
)
from analyzer.diagnosis.reasons import NETFILTER, NO_SOCKET, full_reason, is_harmless
from analyzer.diagnosis.tie import Ties, Tying
from analyzer.flows.live_numbers import MOST, LiveNumbers
from analyzer.model.batch import Batch
from analyzer.model.frames import EXAMPLE
from analyzer.model.journeys import Status
from analyzer.net.ethernet import GROUP_BIT_U64
from analyzer.net.ip import TCP, UDP
from analyzer.net.tcp_flags import SYN, SYN_ACK
from analyzer.recorders.drops.record import DropLog

_OF_PACKET = ("number", "ts_ns", "pair", "last_vantage", "expected", "status", "stray")
_REMEMBERED = 1 << 18
"""packets of which a drop was tied, so that a later one's is not told again"""
_NEVER = (1 << 63) - 1


class DroppedPackets(Struct):
    """An aggregator of tied drops."""

    examples: Examples
    keep: bool = False
    """which packets were dropped, too"""
    tying: Tying = field(default_factory=Tying)
    reasons: dict[tuple[Any, ...], dict[int, Counter[Tied]]] = field(default_factory=dict)
    """of lost packets: values of GROUP → flow → the kernel's reasons"""
    stacks: dict[tuple[Any, ...], dict[int, LostFlow]] = field(default_factory=dict)
    """of those that ended in stacks: values of STACK → flow → how many"""
    requests: DroppedRequests = field(default_factory=DroppedRequests)
    tied: int = 0
    tied_by_reason: Counter[int] = field(default_factory=Counter)
    outcomes: list[pl.DataFrame] = field(default_factory=list)
    """number (of the packet), reason, location: of those dropped themselves, where kept"""
    _begun: _Beginnings = field(default_factory=lambda: _Beginnings())
    _answered: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    """keys of requests (`analyzer.correlate.answers`) of which an answer was seen, the latest"""
    _names: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    """by pair, of the packets that drops may still be tied to, at least"""
    _most_names: int = MOST
    _counted: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def add(self, batch: Batch) -> None:
        """Tie what can be tied by now, and count."""
        self.tying.take(batch.own)
        packets = batch.packets
        last = packets["last_frame"].to_numpy()
        kept = {f"packet_{name}": packets[name].to_numpy() for name in _OF_PACKET}
        kept["packet_asked"] = asked_by(batch.frames, last)
        kept["packet_asks"] = echo_keys(batch.frames, last) + syn_keys(batch.frames, last)
        kept["packet_opens"] = opening_keys(batch.frames, last)
        self._learn_answers(batch)
        ties = self.tying.add(batch, kept | {n: batch.frames[n][last] for n in EXAMPLE})
        self._begun.add(batch.frames, batch.journeys.packet >= 0)
        self._learn_names(packets)
        if len(ties.drop):
            self._count(ties)
        if len(self._names) > self._most_names:
            waiting = set(self.tying.waiting("packet_pair").tolist())
            self._names = {pair: names for pair, names in self._names.items() if pair in waiting}
            self._most_names = max(MOST, 2 * len(self._names))

    def _learn_answers(self, batch: Batch) -> None:
        """A drop is tied so long after its time that the answers of that time are known."""
        some = echo_reply_keys(batch.frames)[1], refusal_keys(batch.frames)[1], batch.refused
        answers = np.unique(np.concatenate(some))
        self._answered = np.concatenate([self._answered, answers])[-_REMEMBERED:]

    def _learn_names(self, packets: pl.DataFrame) -> None:
        pair = packets["pair"].to_numpy()
        fresh = np.unique(pair, return_index=True)[1]
        fresh = fresh[[n not in self._names for n in pair[fresh].tolist()]]
        names = packets[fresh].select(pl.col("protocol", "source", "destination").cast(pl.String))
        self._names |= zip(pair[fresh].tolist(), names.rows(), strict=True)

    def _count(self, ties: Ties) -> None:
        self.tied += len(ties.drop)
        self.tied_by_reason.update(ties.drop["reason"].tolist())
        table = _table(ties, self.tying.log)
        self.requests.add(table)
        table = table.filter(~pl.Series(np.isin(ties.frame["packet_number"], self._counted)))
        # each packet's first drop, its own before its answer's
        table = table.sort("answer", maintain_order=True).unique(
            "packet_number", keep="first", maintain_order=True
        )
        self._counted = np.concatenate([self._counted, table["packet_number"]])[-_REMEMBERED:]
        lost = table.filter(pl.col("packet_status") == Status.LOST, ~pl.col("answer"))
        ended = table.filter(
            pl.col("packet_status") != Status.LOST,
            ~pl.col("packet_stray"),
            ~self._is_answered(table),
        )
        ended = _without_harmless(ended, self._begun.late(ended), self._names)
        self._count_lost(lost)
        self._count_ended(ended)
        if self.keep:
            for some in (lost, ended.filter(~pl.col("answer"))):
                self.outcomes.append(
                    some.select(pl.col("packet_number").alias("number"), "reason", "location")
                )

    def _is_answered(self, table: pl.DataFrame) -> pl.Series:
        """By a reply, an RST; or by an ICMP error, where a rule (REJECT) dropped and refused it."""
        asks, opens = (table[f"packet_{name}"].to_numpy() for name in ("asks", "opens"))
        answered = (asks != NO_KEY) & np.isin(asks, self._answered)
        rejected = (table["reason"] == NETFILTER).to_numpy() & (opens != NO_KEY)
        rejected &= np.isin(opens, self._answered)
        return pl.Series(answered | rejected, dtype=pl.Boolean)

    def _count_lost(self, lost: pl.DataFrame) -> None:
        group = ["packet_pair", "packet_last_vantage", "packet_expected", "flow"]
        for row in lost.group_by(*group, "reason", "location").len().iter_rows():
            pair, last, expected, flow, *tied, count = row
            key = (*self._names[pair], last, expected)
            assert len(key) == len(GROUP)
            flows = self.reasons.setdefault(key, {})
            if flow not in flows and len(flows) >= MOST_FLOWS:
                flow = REST
            flows.setdefault(flow, Counter())[tuple(tied)] += count

    def _count_ended(self, ended: pl.DataFrame) -> None:
        group = ["packet_pair", "packet_last_vantage", "reason", "location", "answer"]
        groups = (
            ended.sort("packet_number")
            .group_by(*group, "flow", maintain_order=True)
            .agg(
                pl.len().alias("packets"),
                pl.len().alias("certain"),
                pl.col("packet_ts_ns").min().alias("first_ns"),
                pl.col("packet_ts_ns").max().alias("last_ns"),
                pl.col(*EXAMPLE).first(),
            )
        )
        for row in groups.iter_rows(named=True):
            key = (*self._names[row["packet_pair"]], *(row[name] for name in group[1:]))
            assert len(key) == len(STACK)
            count_flow(self.stacks.setdefault(key, {}), row, self.examples)


def _table(ties: Ties, log: DropLog) -> pl.DataFrame:
    """A row a tie: reason, location, answer, flow, and what was kept of the packet."""
    drops = log.told
    names = {"reason": drops.reasons, "location": drops.locations, "device": drops.devices}
    texts = {n: pl.Series(t, dtype=pl.String).gather(ties.drop[n]) for n, t in names.items()}
    columns = {n: c for n, c in ties.frame.items() if n.startswith("packet_") or n in EXAMPLE}
    flows = flow_keys(ties.frame)
    table = pl.DataFrame({**columns, **texts, "answer": ties.answer, "flow": flows})
    kinds = table.select("reason", "location").unique()
    full = pl.Series("full", [full_reason(*row) for row in kinds.iter_rows()], pl.String)
    told = table.join(kinds.with_columns(full), on=["reason", "location"], maintain_order="left")
    return told.drop("reason").rename({"full": "reason"})


def _without_harmless(
    ended: pl.DataFrame, late: npt.NDArray[np.bool_], names: Mapping[int, tuple[str, str, str]]
) -> pl.DataFrame:
    protocol = [names[pair][0] for pair in ended["packet_pair"]]
    flags = ended["tcp_flags"].to_numpy()
    opens = (ended["protocol"].to_numpy() != TCP) | (flags & SYN_ACK == SYN)
    unicast = (ended["eth_dst"].to_numpy() & GROUP_BIT_U64) == 0
    unicast_drops = ended.with_columns(
        pl.Series("opens", opens), pl.Series("kind", protocol, pl.String)
    ).filter(pl.Series(unicast & ~(late & (ended["reason"] == NO_SOCKET).to_numpy())))
    key = ["reason", "location", "kind", "opens"]
    kinds = unicast_drops.select(key).unique()
    harmless = pl.Series([is_harmless(*row) for row in kinds.iter_rows()], dtype=pl.Boolean)
    return unicast_drops.join(kinds.filter(harmless), on=key, how="anti", maintain_order="left")


class _Beginnings:
    """Who began each UDP conversation: what goes to that one is an answer."""

    def __init__(self) -> None:
        self._numbers = LiveNumbers(_REMEMBERED)
        self._first = np.empty(0, np.int64)
        self._by = np.empty(0, np.uint64)

    def add(self, frames: Columns, chosen: npt.NDArray[np.bool_]) -> None:
        udp = np.flatnonzero((frames["protocol"] == UDP) & chosen)
        source, target = (
            _ends({n: frames[n][udp] for n in EXAMPLE if n in frames}, side)
            for side in ("src", "dst")
        )
        ids, fresh = self._numbers.take(source + target)
        self._first = np.concatenate([self._first, np.full(len(fresh), _NEVER)])
        self._by = np.concatenate([self._by, np.zeros(len(fresh), np.uint64)])
        number = frames["number"][udp]
        order = np.argsort(number, kind="stable")[::-1]
        earlier = order[number[order] < self._first[ids[order]]]
        # the earliest is written last, and stays
        self._first[ids[earlier]], self._by[ids[earlier]] = number[earlier], source[earlier]
        kept = self._numbers.shed()
        if kept is not None:
            self._first, self._by = self._first[kept], self._by[kept]

    def late(self, rows: pl.DataFrame) -> npt.NDArray[np.bool_]:
        """[r] whether it is UDP for the one that began: an answer to someone who is gone. It may be
        one where the beginning was forgotten."""
        columns = {name: rows[name].to_numpy() for name in EXAMPLE}
        target = _ends(columns, "dst")
        keys = _ends(columns, "src") + target
        udp = np.flatnonzero(columns["protocol"] == UDP)
        answers = np.zeros(len(rows), np.bool_)
        ids = self._numbers.find(keys[udp])
        answers[udp] = (ids < 0) | (np.append(self._by, np.uint64(0))[ids] == target[udp])
        return answers


def _ends(columns: Columns, side: str) -> npt.NDArray[np.uint64]:
    odd = np.uint64(0x9E3779B97F4A7C15)
    address = (columns[f"{side}_hi"] * odd) ^ columns[f"{side}_lo"]
    mixed: npt.NDArray[np.uint64] = address * odd + columns[f"{side}_port"]
    return mixed ^ (mixed >> np.uint64(31))
