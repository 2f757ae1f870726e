"""Losses by flow: packets of one row may have gone to several ports, each to its own rule. Pure.

A flow is what rules of a packet filter tell apart: both addresses, the protocol, and the server's
port. Of a row's flows so many are kept (`MOST_FLOWS`); the rest of its packets are `REST`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec import Struct, field
from msgspec.structs import replace

from analyzer.diagnosis.example import Examples
from analyzer.model.batch import Batch
from analyzer.model.frames import EXAMPLE
from analyzer.model.journeys import Status
from analyzer.native.keys import mixed
from analyzer.net.ports import FIRST_EPHEMERAL

MOST_FLOWS = 16
"""of one row, that are looked at one by one"""
REST = 0
"""the number of all others"""
GROUP = ["protocol", "source", "destination", "last_vantage", "expected"]
STACK = ["protocol", "source", "destination", "last_vantage", "reason", "location", "answer"]
"""what tells apart packets that ended in stacks; GROUP: … that the topology proves lost"""
_NAMES = GROUP[:3]
_KEY = ["pair", "last_vantage", "expected", "flow"]

Columns = Mapping[str, npt.NDArray[Any]]
Tied = tuple[str, str]
"""reason and place in the kernel"""


class LostFlow(Struct, frozen=True):
    """Packets of one row that went from one end to one port."""

    packets: int
    certain: int
    """of which the loss is certain: see `analyzer.model.report.LossRow`"""
    example: int
    """one of them, see `analyzer.diagnosis.example.Examples`"""
    first_ns: int | None
    """None: not known"""
    last_ns: int | None
    is_one: bool = True
    """False: of several flows, so that the example's addresses and ports are not those of all"""
    port: int = 0
    """of the server; 0: none, or several"""
    reasons: Counter[Tied] = field(default_factory=Counter)
    """those of the kernel, as far as its drops were tied"""

    def with_(self, other: LostFlow) -> LostFlow:
        """Both together; this one's example stands for both."""
        return replace(
            self,
            packets=self.packets + other.packets,
            certain=self.certain + other.certain,
            first_ns=_pick(min, self.first_ns, other.first_ns),
            last_ns=_pick(max, self.last_ns, other.last_ns),
            port=self.port if self.port == other.port else 0,
            reasons=self.reasons + other.reasons,
        )


def _pick(which: Callable[[int, int], int], one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else which(one, other)


def _server_port(source: int, target: int) -> int:
    """As `flow_keys` tells it."""
    return source if source < FIRST_EPHEMERAL <= target else target


def flow_keys(frames: Columns) -> npt.NDArray[np.uint64]:
    """[rows] a number for the flow of each; frames: with the columns EXAMPLE. Never REST."""
    source, target = (frames[f"{side}_port"] for side in ("src", "dst"))
    answers = (source < FIRST_EPHEMERAL) & (target >= FIRST_EPHEMERAL)
    port = np.where(answers, source, target).astype(np.uint64) << np.uint64(1)
    ends = (frames[f"{side}_{half}"] for side in ("src", "dst") for half in ("hi", "lo"))
    return mixed(*ends, frames["protocol"], port | answers) | np.uint64(1)


class LostFlows:
    """An aggregator: packets that the topology proves lost, by row and flow."""

    def __init__(self, examples: Examples) -> None:
        self._examples = examples
        self._flows: dict[tuple[Any, ...], dict[int, LostFlow]] = {}

    def add(self, batch: Batch) -> None:
        """Count those of one batch."""
        lost = np.flatnonzero(batch.packets["status"].to_numpy() == Status.LOST)
        if not len(lost):
            return
        packets = batch.packets[lost]
        last = packets["last_frame"].to_numpy()
        ends = {name: batch.frames[name][last] for name in EXAMPLE}
        named = {f"of_{name}": pl.col(name).cast(pl.String) for name in _NAMES}
        columns = [pl.Series(name, column) for name, column in ends.items()]
        groups = (
            packets.select(*_KEY[:-1], "number", "ts_ns", "likely", **named)
            .with_columns(*columns, pl.Series("flow", flow_keys(ends)))
            .sort("number")
            .group_by(_KEY, maintain_order=True)
            .agg(
                pl.len().alias("packets"),
                (~pl.col("likely")).sum().alias("certain"),
                pl.col("ts_ns").min().alias("first_ns"),
                pl.col("ts_ns").max().alias("last_ns"),
                pl.col(*named, *EXAMPLE).first(),
            )
        )
        for row in groups.iter_rows(named=True):
            group = *(row[name] for name in named), row["last_vantage"], row["expected"]
            flows = self._flows.setdefault(group, {})
            count_flow(flows, row, self._examples)

    def of(self, group: Sequence[Any], reasons: Mapping[int, Counter[Tied]]) -> list[LostFlow]:
        """The flows of a row, in order of their beginnings; group: its values of GROUP. reasons:
        by flow, as far as drops were tied."""
        flows = dict(self._flows.get(tuple(group), {}))
        for number, counted in reasons.items():
            place = number if number in flows else REST
            if place in flows:
                flows[place] = replace(flows[place], reasons=flows[place].reasons + counted)
        return sorted(flows.values(), key=lambda flow: flow.first_ns or 0)


def count_flow(flows: dict[int, LostFlow], row: Mapping[str, Any], examples: Examples) -> None:
    """Count packets for their flow, which may be a new one, or one too many.

    row: with the columns EXAMPLE, of one of them, and flow, packets, certain, first_ns, last_ns.
    """
    number = row["flow"] if row["flow"] in flows or len(flows) < MOST_FLOWS else REST
    known = flows.get(number)
    one = LostFlow(
        packets=row["packets"],
        certain=row["certain"],
        example=known.example if known else examples.keep(row),
        first_ns=row["first_ns"],
        last_ns=row["last_ns"],
        is_one=number != REST,
        port=_server_port(row["src_port"], row["dst_port"]) if number != REST else 0,
    )
    flows[number] = known.with_(one) if known else one
