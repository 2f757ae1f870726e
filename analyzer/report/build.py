"""Tables → Report: the one place where numbers become the report's rows. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from msgspec import Struct, field

from analyzer.model.batch import Batch
from analyzer.model.frames import MARK_UNTIMED
from analyzer.model.journeys import HOP_NAMES, Hop, Status
from analyzer.model.report import (
    CaptureInfo,
    Finding,
    HopRow,
    LeftOut,
    LossRow,
    PacketRow,
    Path,
    Report,
    VantageRow,
    Verdict,
)
from analyzer.model.vantage import Role, Vantage
from analyzer.report.summary import summarise_frame


class Tables(Struct):
    """All that analysis knows of one capture."""

    info: CaptureInfo
    vantages: Sequence[Vantage]
    counters: Sequence[tuple[int | None, int | None]]
    """(received, dropped) per vantage"""
    seen: Sequence[int]
    """frames per vantage; those at the end that saw none may be left out"""
    hops: pl.DataFrame
    flows: dict[str, list[Any]]
    """rows by kind: see `analyzer.flows.registry`"""
    losses: list[LossRow]
    verdicts: list[Verdict]
    paths: list[Path]
    ends: Sequence[str] = ()
    """names of all sources and destinations"""
    findings: Sequence[Finding] = ()
    """what stands out: see `analyzer.findings.catalogue`"""
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)
    """see `Report.left_out`"""
    packets: Sequence[PacketRow] = ()
    """those that are listed, in order of time"""


def build_report(tables: Tables, *, packets: bool = False) -> Report:
    """The report; packets: with those that are listed."""
    return Report(
        capture=tables.info,
        vantages=_vantage_rows(tables),
        paths=tables.paths,
        hops=_hop_rows(tables),
        flows=tables.flows,
        losses=tables.losses,
        verdicts=tables.verdicts,
        findings=list(tables.findings),
        left_out=dict(tables.left_out),
        packets=tables.packets if packets else [],
    )


def _vantage_rows(tables: Tables) -> list[VantageRow]:
    counts = [*tables.seen, *[0] * (len(tables.vantages) - len(tables.seen))]
    return [
        VantageRow(
            name=v.name,
            interface=v.interface,
            role=v.role.value,
            container=v.container,
            netns=v.netns,
            ifindex=v.ifindex or v.told_ifindex,
            peer=v.peer,
            bridge=v.bridge,
            mac=v.mac,
            addresses=list(v.addresses),
            frames=counts[i],
            received=tables.counters[i][0],
            dropped=tables.counters[i][1],
            inferred=not v.ifindex,
            peer_ifindex=v.peer_ifindex,
            promiscuous=v.promiscuous,
        )
        for i, v in enumerate(tables.vantages)
    ]


def _hop_rows(tables: Tables) -> list[HopRow]:
    return [_hop_row(row, tables.vantages) for row in tables.hops.iter_rows(named=True)]


def _hop_row(row: Mapping[str, Any], vantages: Sequence[Vantage]) -> HopRow:
    from_, to = vantages[row["from"]], vantages[row["to"]]
    times = ("min_ns", "p50_ns", "p90_ns", "p99_ns", "max_ns", "mean_ns")
    return HopRow(
        protocol=row["protocol"],
        source=row["source"],
        destination=row["destination"],
        from_=from_.name,
        to=to.name,
        kind=HOP_NAMES[row["hop"]] if row["hop"] is not None else expected_kind(from_, to),
        packets=row["packets"],
        lost=row["lost"],
        **{name: row[name] for name in times},
    )


def expected_kind(before: Vantage, after: Vantage) -> str:
    """The kind of a hop that no packet passed."""
    if before.role is Role.BRIDGE:
        return Hop.ORIGINATE.name.lower()
    if after.role is Role.BRIDGE:
        return Hop.DELIVER.name.lower()
    both_ports = before.master_ifindex and after.master_ifindex
    return (Hop.BRIDGE if both_ports else Hop.VETH).name.lower()


def packet_rows(
    batch: Batch, packets: pl.DataFrame, translated: Sequence[list[str]]
) -> Iterator[PacketRow]:
    """The packets (rows of ``batch.packets``), each with the frames it was seen as.

    translated: what NAT made of every packet of the batch.
    """
    frames, journeys, vantages = batch.frames, batch.journeys, batch.vantages
    ts, known = frames["ts_ns"], frames["marks"] & MARK_UNTIMED == 0
    wanted = np.zeros(len(journeys.first) + 1, np.bool_)  # the last: of frames of no packet, -1
    wanted[packets["packet"].to_numpy()] = True
    of_packets = np.flatnonzero(wanted[journeys.packet])
    owner = journeys.packet[of_packets]
    order = np.lexsort((frames["ts_ns"][of_packets], owner))
    by_packet, owner = of_packets[order], owner[order]
    for row in packets.iter_rows(named=True):
        start, stop = np.searchsorted(owner, (row["packet"], row["packet"] + 1))
        members = by_packet[start:stop]
        yield PacketRow(
            id=row["number"] + 1,
            ts_ns=row["ts_ns"] if known[row["first_frame"]] else None,
            protocol=row["protocol"],
            source=row["source"],
            destination=row["destination"],
            summary=summarise_frame(frames, row["first_frame"]),
            vantages=[vantages[v].name for v in frames["vantage"][members]],
            deltas_ns=[
                int(ts[at]) - row["ts_ns"] if known[at] and known[row["first_frame"]] else None
                for at in members
            ],
            certain=not row["likely"],
            last_seen=vantages[row["last_vantage"]].name,
            fate="dropped" if _dropped_late(row) else Status(row["status"]).name.lower(),
            reason=" at ".join(filter(None, (row.get("reason"), row.get("location")))),
            translated=translated[row["packet"]],
        )


def _dropped_late(row: Mapping[str, Any]) -> bool:
    """By the stack behind its last vantage: the topology alone would call it delivered."""
    return bool(row.get("dropped")) and row["status"] != Status.LOST
