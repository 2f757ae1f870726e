"""The whole analysis: files → frames → journeys → flows → Report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from analyzer.correlate.correlate import correlate
from analyzer.correlate.loss import Watch
from analyzer.errors import SavefileError
from analyzer.flows.arp import arp_packets, name_arp, summarise_arp
from analyzer.flows.endpoints import Endpoints, address_text, inferred_address
from analyzer.flows.hops import build_edges, summarise_hops
from analyzer.flows.icmp import pair_echoes, summarise_icmp
from analyzer.flows.packets import build_packets
from analyzer.flows.transport import build_conversations, name_transport
from analyzer.flows.verdict import PROVED, REFUTED, Scene, judge_pairs
from analyzer.model.journeys import Journeys
from analyzer.model.report import CaptureInfo, Report, Verdict
from analyzer.pipeline.cut import (
    cut_window,
    settle_arp,
    settle_echoes,
    settle_losses,
    watched,
    whole_packets,
)
from analyzer.pipeline.load import Loaded, load
from analyzer.pipeline.losing import find_losses
from analyzer.pipeline.window import Window
from analyzer.report.build import Tables, build_report
from analyzer.report.paths import build_paths


def report_files(
    paths: Sequence[str],
    *,
    bridge: str = "docker0",
    packets: bool = False,
    window: Window | None = None,
) -> tuple[Report, list[SavefileError]]:
    """The report on one capture in one or more files, and where files were damaged.

    packets: with every packet and every echo. window: only the frames in it. Raises as `load`
    and `cut_window`.
    """
    loaded = load(paths)
    if window:
        loaded = cut_window(loaded, window)
    return build_report(analyse(loaded, bridge=bridge), packets=packets), loaded.errors


def verdict_code(verdicts: Sequence[Verdict]) -> int:
    """Exit code of ``verify``: 0 all proved, 1 one refuted, 3 undecided."""
    results = {verdict.result for verdict in verdicts}
    if REFUTED in results:
        return 1
    return 0 if results == {PROVED} else 3


def analyse(loaded: Loaded, *, bridge: str = "docker0") -> Tables:
    """Correlate and count: everything that the report is built from."""
    frames, vantages = loaded.frames, loaded.vantages
    fdb = {v.name: n.fdb for v, n in zip(vantages, loaded.notes, strict=True) if n.fdb}
    journeys = correlate(frames, vantages, _watch(loaded), fdb)
    settle_losses(journeys, loaded)
    endpoints = Endpoints(vantages, journeys.segment, journeys.site, loaded.names)
    packets = build_packets(frames, journeys, endpoints)
    counted = packets.filter(~pl.col("stray"))
    edges = build_edges(frames, journeys)
    echoes = settle_echoes(pair_echoes(frames, counted, journeys, _end_ns(loaded)), loaded)
    arp = name_arp(summarise_arp(arp_packets(frames, counted, journeys)), endpoints)
    settle_arp(arp, loaded)
    talks = build_conversations(frames, counted, journeys)
    losses, drops = find_losses(loaded, frames, journeys, packets, echoes, arp, fdb)
    return Tables(
        info=replace(_info(loaded, journeys), drops=drops),
        vantages=vantages,
        counters=[(n.received, n.dropped) for n in loaded.notes],
        frames=frames,
        journeys=journeys,
        packets=packets,
        edges=edges,
        hops=summarise_hops(edges, packets),
        echoes=echoes,
        icmp=_with_addresses(summarise_icmp(echoes)),
        arp=arp,
        tcp=name_transport(talks, "tcp"),
        udp=name_transport(talks, "udp"),
        losses=losses,
        verdicts=judge_pairs(frames, whole_packets(counted, loaded), _scene(loaded, bridge, fdb)),
        paths=build_paths(frames, counted, journeys, vantages),
        inferred=_inferred(endpoints),
        process_rtt=_process_rtt(loaded),
    )


def _scene(loaded: Loaded, bridge: str, latest: Mapping[str, Sequence[tuple[str, int]]]) -> Scene:
    fdb = {v.name: (*v.fdb, *latest.get(v.name, ())) for v in loaded.vantages}
    return Scene(bridge, loaded.vantages, fdb, complete=not loaded.dropped())


def _span(loaded: Loaded) -> tuple[int, int] | None:
    ts = loaded.frames["ts_ns"]
    return (int(ts.min()), int(ts.max())) if len(ts) else None


def _end_ns(loaded: Loaded) -> int:
    """When the capture ended: as its statistics say, else its last frame."""
    span = _span(loaded)
    told = [n.end_ns for n in loaded.notes if n.end_ns]
    return max([*told, span[1] if span else 0])


def _watch(loaded: Loaded) -> Watch:
    """When each vantage was looked at."""
    times = np.array(watched(loaded), np.int64).reshape(-1, 2)
    return Watch(
        start_ns=times[:, 0],
        end_ns=times[:, 1],
        complete=np.array([not (n.dropped or n.ring_dropped) for n in loaded.notes], np.bool_),
    )


def _info(loaded: Loaded, journeys: Journeys) -> CaptureInfo:
    span = _span(loaded)
    likely = int(np.count_nonzero(journeys.likely))
    return CaptureInfo(
        files=list(loaded.paths),
        frames=len(loaded.frames["ts_ns"]),
        bytes=int(loaded.frames["wirelen"].sum(dtype=np.int64)),
        start_ns=span[0] if span else None,
        end_ns=span[1] if span else None,
        truncated=bool(loaded.errors),
        since_ns=loaded.cut.since_ns if loaded.cut else None,
        until_ns=loaded.cut.until_ns if loaded.cut else None,
        dropped=loaded.dropped(),
        engine=loaded.engine,
        sysctls=dict(loaded.sysctls),
        identity="certain and likely" if likely else "certain",
        likely_matches=likely,
    )


def _with_addresses(icmp: pl.DataFrame) -> pl.DataFrame:
    """Add source_ip and destination_ip as text."""

    def texts(side: str) -> pl.Series:
        pairs = icmp.select(f"{side}_hi", f"{side}_lo").iter_rows()
        return pl.Series([address_text(hi, lo) for hi, lo in pairs], dtype=pl.String)

    return icmp.with_columns(
        texts("asker").alias("source_ip"), texts("target").alias("destination_ip")
    )


def _inferred(endpoints: Endpoints) -> list[str]:
    return sorted({inferred_address(mac) for mac in endpoints.inferred})


def _process_rtt(loaded: Loaded) -> dict[tuple[int, int], int]:
    """(ICMP id, seq) → ns, as our own echo left it in the file."""
    found: dict[tuple[int, int], int] = {}
    for notes in loaded.notes:
        for ident, rtts in notes.process_rtt.items():
            found.update({(int(ident), int(seq)): ns for seq, ns in rtts.items()})
    return found
