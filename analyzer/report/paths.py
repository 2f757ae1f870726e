"""The drawn path: one representative packet a conversation, vantage by vantage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from analyzer.findings.routing_loop import MOST_VISITS
from analyzer.model.echo_rows import IcmpRow
from analyzer.model.journeys import HOP_NAMES, Evidence, Status
from analyzer.model.report import Path, PathNode
from analyzer.model.vantage import Role, Vantage

MOST = 8
"""paths that a report draws; the busiest ones"""


def build_paths(
    outcomes: pl.DataFrame, vantages: Sequence[Vantage], icmp: Sequence[IcmpRow]
) -> list[Path]:
    """One path a pair of endpoints and protocol, each pair once, in the direction that spoke first.

    outcomes: see `flows.outcomes.PacketOutcomes.table`; the path is that of a delivered packet, the
    one that was seen most often, the first of several. icmp: the echo conversations; that of the
    longest one is kept in any case.
    """
    unicast = outcomes.filter(
        pl.col("destination") != "broadcast", pl.col("protocol") != "arp", ~pl.col("stray")
    )
    best = (
        unicast.sort(
            pl.col("status") != Status.DELIVERED, -pl.col("frames"), "number", maintain_order=True
        )
        .group_by("protocol", "source", "destination", maintain_order=True)
        .agg(
            pl.col("count").sum().alias("packets"),
            pl.col("path", "hops", "evidence", "status").first(),
            pl.col("ts_ns").min().alias("first_ns"),
        )
        .with_columns(
            pl.min_horizontal("source", "destination").alias("low"),
            pl.max_horizontal("source", "destination").alias("high"),
        )
    )
    kept = (
        best.with_columns(pl.sum("packets").over("protocol", "low", "high").alias("of_pair"))
        .sort(pl.col("status") != Status.DELIVERED, "first_ns", maintain_order=True)
        .unique(["protocol", "low", "high"], keep="first", maintain_order=True)
        .sort(~_is_longest(icmp), -pl.col("of_pair"), maintain_order=True)
    )
    return [_path(row, vantages) for row in kept.head(MOST).iter_rows(named=True)]


def _is_longest(icmp: Sequence[IcmpRow]) -> pl.Expr:
    """Whether a path is that of the conversation with the most echoes."""
    if not icmp:
        return pl.col("status").is_null()
    main = max(icmp, key=lambda row: row.sent)
    ends = [pl.col("source") == main.source, pl.col("destination") == main.destination]
    return pl.all_horizontal(pl.col("protocol").str.starts_with("icmp"), *ends)


def _path(row: Mapping[str, Any], vantages: Sequence[Vantage]) -> Path:
    drawn, rounds = _first_round(row["path"], vantages)
    here = [vantages[v] for v in row["path"][:drawn]]
    copied = bool(row["evidence"] & Evidence.BRIDGE_COPY)
    kinds = [HOP_NAMES[hop] for hop in row["hops"][: drawn - 1]]
    return Path(
        source=row["source"],
        destination=row["destination"],
        protocol=row["protocol"],
        packets=row["packets"],
        nodes=[_node(v) for v in here],
        kinds=kinds,
        bridges=[_bridge_between(k, v, copied) for k, v in zip(kinds, here, strict=False)],
        rounds=rounds,
    )


def _first_round(path: Sequence[int], vantages: Sequence[Vantage]) -> tuple[int, int]:
    """(how many places to draw, how often the packet came by one of them; 0: it never went round).

    By a router on one interface it passes that twice. What stands for several devices
    (``tcpdump -i any``) is no place: a packet comes by it at each of them.
    """
    several = [at for at, place in enumerate(path) if vantages[place].mixed]
    if several:
        return several[0] + 1, 0
    most = max(Counter(path).values(), default=0)
    if most <= MOST_VISITS:
        return len(path), 0
    visits: Counter[int] = Counter()
    for at, place in enumerate(path):
        visits[place] += 1
        if visits[place] > MOST_VISITS:
            return at, most
    return len(path), most


def _bridge_between(kind: str, before: Vantage, copied: bool) -> str:
    return before.bridge if kind == "bridge" and (copied or before.role is Role.HOST_VETH) else ""


def _node(vantage: Vantage) -> PathNode:
    return PathNode(
        vantage=vantage.name,
        role=vantage.role.value,
        container=vantage.container,
        mac=vantage.mac,
        addresses=list(vantage.addresses),
    )
