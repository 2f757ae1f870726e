"""Tables → Report: the one place where numbers become the report's rows. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from analyzer.findings.of_flows import find_in_flows
from analyzer.formatting.numbers import format_ns, format_plural
from analyzer.model.batch import Batch
from analyzer.model.journeys import HOP_NAMES, Hop, Status
from analyzer.model.report import (
    CaptureInfo,
    Finding,
    HopRow,
    LossRow,
    PacketRow,
    Path,
    Report,
    VantageRow,
    Verdict,
)
from analyzer.model.vantage import Role, Vantage
from analyzer.report.summary import summarise_frame

SET_NS = 1_000_000
"""a clock that is less off was not set: two clocks cannot be read at once"""


@dataclass(slots=True)
class Tables:
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
    inferred: Sequence[str] = ()
    """addresses that were guessed from MACs of Docker's old scheme"""
    notes: Sequence[Finding] = ()
    """what stands out in the traffic, found by the stages"""
    clock: tuple[int, int, int] = (0, 0, 0)
    """times that it was set back, by how much at most (ns), hops that end before their start"""
    packets: Sequence[PacketRow] = ()
    """those that are listed, in order of time"""
    clock_set_ns: int = 0
    """by how much the time of day was set, by another clock's witness; forward if positive"""


def build_report(tables: Tables, *, packets: bool = False) -> Report:
    """The report; packets: with those that are listed."""
    report = Report(
        capture=tables.info,
        vantages=_vantage_rows(tables),
        paths=tables.paths,
        hops=_hop_rows(tables),
        flows=tables.flows,
        losses=tables.losses,
        verdicts=tables.verdicts,
        packets=tables.packets if packets else [],
    )
    report.findings = find(report, tables)
    return report


def _vantage_rows(tables: Tables) -> list[VantageRow]:
    counts = [*tables.seen, *[0] * (len(tables.vantages) - len(tables.seen))]
    return [
        VantageRow(
            name=v.name,
            interface=v.interface,
            role=v.role.value,
            container=v.container,
            netns=v.netns,
            ifindex=v.ifindex,
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
    wanted = np.zeros(len(journeys.first) + 1, np.bool_)  # the last: of frames of no packet, -1
    wanted[packets["packet"].to_numpy()] = True
    mine = np.flatnonzero(wanted[journeys.packet])
    owner = journeys.packet[mine]
    order = np.lexsort((frames["ts_ns"][mine], owner))
    by_packet, owner = mine[order], owner[order]
    for row in packets.iter_rows(named=True):
        start, stop = np.searchsorted(owner, (row["packet"], row["packet"] + 1))
        members = by_packet[start:stop]
        yield PacketRow(
            id=row["number"] + 1,
            ts_ns=row["ts_ns"],
            protocol=row["protocol"],
            source=row["source"],
            destination=row["destination"],
            summary=summarise_frame(frames, row["first_frame"]),
            vantages=[vantages[v].name for v in frames["vantage"][members]],
            deltas_ns=[int(t) - row["ts_ns"] for t in frames["ts_ns"][members]],
            certain=not row["likely"],
            last_seen=vantages[row["last_vantage"]].name,
            fate="dropped" if _dropped_late(row) else Status(row["status"]).name.lower(),
            reason=" at ".join(filter(None, (row.get("reason"), row.get("location")))),
            translated=translated[row["packet"]],
        )


def _dropped_late(row: Mapping[str, Any]) -> bool:
    """By the stack behind its last vantage: the topology alone would call it delivered."""
    return bool(row.get("dropped")) and row["status"] != Status.LOST


def find(report: Report, tables: Tables) -> list[Finding]:
    """What a person should know before believing the numbers, and what stands out."""
    return [*_about_capture(report, tables), *find_in_flows(report), *tables.notes]


def _about_capture(report: Report, tables: Tables) -> list[Finding]:
    info, found = report.capture, []

    def add(when: object, severity: str, code: str, text: str) -> None:
        if when:
            found.append(Finding(severity, code, text))

    add(
        info.truncated,
        "warning",
        "truncated",
        "the file is damaged or cut short: only what is readable was analysed",
    )
    add(
        (info.since_ns, info.until_ns) != (None, None),
        "info",
        "window",
        "only a time window of the capture: what its edges cut is unmatched, never lost",
    )
    add(
        info.dropped,
        "warning",
        "dropped",
        f"the kernel dropped {info.dropped} frames for want of room: "
        "what is missing is not called lost",
    )
    steps, largest_ns, negative = tables.clock
    add(
        steps,
        "warning",
        "clock-step",
        f"the clock was set back during the capture ({steps}×, by {format_ns(largest_ns)} at "
        "most): delays and losses around that time mean nothing",
    )
    add(
        tables.clock_set_ns > SET_NS or (tables.clock_set_ns < -SET_NS and not steps),
        "warning",
        "clock-set",
        f"the clock was set {'forward' if tables.clock_set_ns > 0 else 'back'} by "
        f"{format_ns(abs(tables.clock_set_ns))} in all during the capture, though not when: of a "
        "silence or a delay of that length nobody can say that it was one",
    )
    add(
        negative,
        "warning",
        "negative-delay",
        f"{format_plural(negative, 'hop')} would end before they begin (the clock was adjusted): "
        "counted, but without a delay",
    )
    for v in tables.vantages:
        add(
            v.role is Role.BRIDGE and not v.promiscuous,
            "warning",
            "not-promiscuous",
            f"{v.name} was not in promiscuous mode: it shows no bridged unicast, "
            "only broadcasts and the host's own",
        )
    for name in dict.fromkeys(v.container for v in tables.vantages if v.paused):
        add(
            True,
            "warning",
            "paused",
            f"{name} was paused: the kernel answers pings and accepts connections for it, its "
            f"processes do not answer: docker unpause {name}",
        )
    deaf = info.drops.get("partly_untied_s", 0) if info.drops else 0
    add(
        deaf,
        "info",
        "drops-busy",
        f"for {deaf:.1f} s there were too many frames to tie every drop to its frame: reasons are "
        "told for a part of the losses then",
    )
    add(
        info.drops and info.drops["lost"],
        "info",
        "drops-lost",
        f"{info.drops['lost'] if info.drops else 0} of the kernel's events found no room: some "
        "drops have no reason here",
    )
    add(
        info.likely_matches,
        "info",
        "likely",
        f"{info.likely_matches} matches are likely, not certain: "
        "identical packets were in flight at the same time",
    )
    add(
        tables.inferred,
        "info",
        "inferred",
        f"no topology in the file: {', '.join(tables.inferred)} inferred from "
        "Docker's old MAC scheme 02:42:ac:11:…",
    )
    add(
        report.hops and info.sysctls.get("net.core.netdev_tstamp_prequeue") == "1",
        "info",
        "prequeue",
        "receive stamps are taken at enqueue (net.core.netdev_tstamp_prequeue=1): "
        "the bridge hop includes the wait for the softirq",
    )
    return found
