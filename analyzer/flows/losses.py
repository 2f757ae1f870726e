"""Losses by place: whose packets, where they were last seen, where they had to be next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from msgspec.structs import replace

from analyzer.model.frames import UNTIMED
from analyzer.model.journeys import Status
from analyzer.model.report import LossRow
from analyzer.model.vantage import Role, Vantage

UNKNOWN = "unknown"
_GROUP = ["protocol", "source", "destination", "last_vantage", "expected"]


def summarise_losses(outcomes: pl.DataFrame, parts: pl.DataFrame) -> pl.DataFrame:
    """One row a (protocol, source, destination, last_vantage, expected): packets, and of the first
    of them number and the vantages that saw it; first_ns, last_ns, sure, last_number: see
    `PacketOutcomes`.

    parts: segments that were lost of frames that came in part (`Conversations.lost_parts`).
    """
    own = ("number", "first_ns", "last_ns", "seen", "last_number", "sure")
    segments = parts.with_columns(count="segments", last_number="number", sure="segments")
    lost = outcomes.filter(pl.col("status") == Status.LOST)
    whole = lost.select(*_GROUP, "count", *own)
    pieces = segments.select(*_GROUP, "count", *own).cast(whole.schema)
    return (
        pl.concat([whole, pieces])
        .group_by(_GROUP, maintain_order=True)
        .agg(
            pl.col("count").sum().alias("packets"),
            pl.col("number", "seen").first(),
            pl.col("first_ns").min(),
            pl.col("last_ns").max(),
            pl.col("sure").sum(),
            pl.col("last_number").min(),
        )
    )


def name_losses(
    table: pl.DataFrame, vantages: Sequence[Vantage], sysctls: Mapping[str, str]
) -> list[LossRow]:
    """The report's rows: places as names, with advice on where to look further."""
    rows = []
    for row in table.iter_rows(named=True):
        last, expected = vantages[row["last_vantage"]], vantages[row["expected"]]
        rows.append(
            LossRow(
                protocol=row["protocol"],
                source=row["source"],
                destination=row["destination"],
                last_seen=last.name,
                expected=expected.name,
                packets=row["packets"],
                reason=UNKNOWN,
                location=_location(last, expected),
                advice=_advice(last, expected, sysctls),
                seen=[vantages[v].name for v in row["seen"]],
                **_times(row),
                certain=row["sure"],
            )
        )
    return rows


def _times(row: Mapping[str, int]) -> dict[str, int]:
    """first_ns and last_ns, where the file tells the times of all these frames."""
    names = ("first_ns", "last_ns")
    return {name: row[name] for name in names if row["first_ns"] != UNTIMED}


def _location(last: Vantage, expected: Vantage) -> str:
    """The piece of the network between the two vantages, for a person."""
    if expected.is_tunnel:
        return f"behind the tunnel, between {last.name} and {expected.name}"
    if last.lower == expected.name or expected.lower == last.name:
        return f"between {last.name} and {expected.name}, the one stands on the other"
    if expected.role is Role.BRIDGE:
        return f"on the way up from {last.name} to {expected.name}"
    if last.master_ifindex and expected.master_ifindex:
        return f"in bridge {last.bridge}, between its ports {last.name} and {expected.name}"
    if last.role is Role.BRIDGE:
        return f"in bridge {last.name}, on the way out of port {expected.name}"
    return f"veth pair {last.name} ↔ {expected.name}"


def _advice(last: Vantage, expected: Vantage, sysctls: Mapping[str, str]) -> str:
    """One line that names the command to look further."""
    if last.master_ifindex and expected.master_ifindex:
        if sysctls.get("net.bridge.bridge-nf-call-iptables") == "1":
            return (
                "bridged frames pass iptables here (net.bridge.bridge-nf-call-iptables=1): "
                "look at iptables -nvL FORWARD and iptables -nvL DOCKER-USER"
            )
        return (
            f"look at: bridge link show; bridge fdb show br {last.bridge}; "
            f"tc -s qdisc show dev {expected.interface}"
        )
    if last.role is Role.BRIDGE:
        device = expected.interface
        return f"look at: tc -s qdisc show dev {device}; bridge link show dev {device}"
    if expected.is_tunnel:
        return (
            f"look at both ends: ip -d link show dev {expected.interface} (id {expected.vni}, "
            "dstport); iptables -nvL INPUT, where the UDP of the tunnel passes"
        )
    return f"look at: ip -s link show dev {expected.interface}"


def suggest_drops(rows: Sequence[LossRow]) -> list[LossRow]:
    """Of a capture without: what would have told more of the losses that nothing explains."""
    hint = "; --drops records the kernel's reason"
    return [replace(r, advice=r.advice + hint) if r.reason == UNKNOWN else r for r in rows]
