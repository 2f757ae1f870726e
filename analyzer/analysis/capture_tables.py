"""What a report's aggregators have come to → the tables that the report is built from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl
from msgspec.structs import replace

from analyzer.analysis.capture_analysis import CaptureAnalysis
from analyzer.analysis.late_addresses import later_macs, with_late_addresses
from analyzer.analysis.loss_diagnosis import LossEvidence
from analyzer.analysis.narrowing import takes_one_direction
from analyzer.analysis.notes import count_dropped, files_not_ended, own_echoes, process_rtt
from analyzer.analysis.options import DEFAULTS
from analyzer.analysis.packet_assembly import PacketAssembly
from analyzer.analysis.reading import Reading
from analyzer.correlate.loss import GRACE_NS
from analyzer.diagnosis.looping import explain_by_loops
from analyzer.diagnosis.queueing import explain_by_queues
from analyzer.diagnosis.settings import Scene as LossScene
from analyzer.findings.catalogue import find_all
from analyzer.findings.rule import Clocks, FileOffset, FindingInputs
from analyzer.flows.arp import Arp
from analyzer.flows.arp_claims import ArpClaimVerdicts, judge_claims
from analyzer.flows.contradictions import Contradiction, count_packets, settle_losses
from analyzer.flows.endpoints import inferred_address
from analyzer.flows.errors import IcmpErrors
from analyzer.flows.icmp import Echoes
from analyzer.flows.kind import FlowContext, without_times
from analyzer.flows.live_numbers import OTHERS
from analyzer.flows.losses import name_losses, suggest_drops, summarise_losses
from analyzer.flows.multicast_streams import MulticastStreams
from analyzer.flows.registry import flow_kinds
from analyzer.flows.transport import Conversations
from analyzer.flows.verdict import judge_pairs, largest_verdicts
from analyzer.flows.ways import Scene
from analyzer.model.batch import Outlook
from analyzer.model.evidence import Evidence
from analyzer.model.payload_cuts import decode_cuts
from analyzer.model.ranks import largest_traffic
from analyzer.model.report import CaptureInfo, LeftOut, LossRow
from analyzer.report.build import Tables
from analyzer.report.paths import build_paths


def build_tables(
    analysis: CaptureAnalysis, bridge: str = DEFAULTS.bridge, top: int | None = None
) -> Tables:
    """The tables of a capture, without packets.

    bridge: of the verdict's claim. top: so many rows of each kind of flow at the most.
    """
    assembly, partials, reading = analysis.assembly, analysis.partials, analysis.reading
    evidence = assembly.evidence
    outlook = _outlook(assembly, bridge)
    vantages = with_late_addresses(outlook.vantages, outlook.lives, evidence)
    macs = later_macs(vantages, outlook.lives, evidence)
    outlook = replace(outlook, vantages=vantages, later_macs=macs)
    outcomes = partials.outcomes.table(outlook.end_ns - GRACE_NS)
    said = partials.the(Arp).claims
    segments = assembly.segments.tolist()
    claims = judge_claims(said.by_place(), segments, outlook, said.others())
    context = _flow_context(analysis, outlook, claims)
    flows = partials.flow_rows(replace(context, evidence=evidence, top=top))
    if assembly.totals.untimed:
        precise = {kind.name for kind in flow_kinds() if kind.knows_untimed}
        flows = {n: rows if n in precise else without_times(rows) for n, rows in flows.items()}
    parts = partials.the(Conversations).lost_parts(_trusted(reading))
    lost = summarise_losses(outcomes, parts)
    losses = _losses(analysis, lost, outlook, flows, evidence)
    contradictions: list[Contradiction] = []
    if not partials.outcomes.forgotten:
        losses, contradictions = settle_losses(losses, flows["icmp"], count_packets(outcomes))
    scene = Scene(outlook.bridge, outlook.vantages, outlook.fdb, outlook.complete)
    followed = outcomes.filter(pl.col("source") != OTHERS)
    hops = partials.hops.table(lost)
    inputs = _finding_inputs(analysis, outlook, (followed, hops), flows, claims)
    inputs = replace(inputs, losses=losses, contradictions=contradictions, evidence=evidence)
    paths = build_paths(followed, reading.vantages, flows["icmp"])
    findings = list(find_all(inputs))
    left_out = partials.left_out(flows, top)
    verdicts, more = largest_verdicts(judge_pairs(outcomes, scene), top)
    more += partials.outcomes.forgotten_pairs if scene.has_topology else 0
    left_out |= {"verdicts": LeftOut(more, [])} if more else {}
    told = largest_traffic(hops["packets"].to_numpy(), hops["lost"].to_numpy(), top)
    left_out |= {} if told.all() else {"hops": LeftOut(int((~told).sum()), [])}
    return Tables(
        info=_info(analysis),
        vantages=vantages,
        counters=[(n.received, n.dropped) for n in reading.notes],
        seen=assembly.totals.seen,
        hops=hops.filter(told),
        flows=flows,
        losses=losses,
        verdicts=verdicts,
        paths=paths,
        ends=assembly.endpoints.texts,
        findings=findings,
        left_out=left_out,
    )


def _flow_context(
    analysis: CaptureAnalysis, outlook: Outlook, claims: ArpClaimVerdicts
) -> FlowContext:
    assembly, reading = analysis.assembly, analysis.reading
    edges = assembly.edges
    return FlowContext(
        vantages=reading.vantages,
        endpoints=assembly.endpoints,
        outlook=outlook,
        end_ns=outlook.end_ns,
        nat=assembly.nat,
        proxies=assembly.proxies,
        settled_claims=claims.settled,
        expired_echoes=analysis.partials.the(IcmpErrors).expired_echoes(),
        receives=analysis.partials.receivers.may_receive,
        hears=analysis.partials.receivers.hears,
        settle_arp=edges.settle_arp if edges else lambda rows: None,
        process_rtt=process_rtt(reading.notes),
        own_echoes=own_echoes(reading.notes),
        one_way=bool(outlook.one_way),
        one_sided=analysis.partials.receivers.one_sided,
        trusted=_trusted(reading),
    )


def _trusted(reading: Reading) -> Callable[[int], bool]:
    """Whether all that a vantage saw was captured."""
    return [reading.is_whole(vantage) for vantage in range(len(reading.vantages))].__getitem__


def _losses(
    analysis: CaptureAnalysis,
    table: pl.DataFrame,
    outlook: Outlook,
    flows: Mapping[str, Sequence[Any]],
    evidence: Evidence,
) -> list[LossRow]:
    """The losses that the topology proves, with their reasons where those were recorded."""
    partials, reading = analysis.partials, analysis.reading
    diagnosis = partials.loss_diagnosis
    others = table["source"] == OTHERS
    together = name_losses(table.filter(others), reading.vantages, reading.sysctls)
    table = table.filter(~others)
    losses = name_losses(table, reading.vantages, reading.sysctls)
    if diagnosis.recorded:
        beside = LossEvidence(
            notes=reading.notes,
            segments=analysis.assembly.segments,
            ends=partials.outcomes.ends() | partials.the(Conversations).parts.ends(),
            echoes=partials.the(Echoes),
            end_ns=outlook.end_ns,
            arp=flows["arp"],
            nd=[row for row in flows["nd"] if row.state == "unanswered"],
            requests=partials.silent_requests(outlook.end_ns),
        )
        scene = _scene_of_losses(reading, outlook, evidence)
        losses = diagnosis.explain(losses, table, beside, scene)
    losses = explain_by_queues(losses, evidence, reading.vantages, reading.engine)
    returned = analysis.assembly.returned.rows()
    losses = [*explain_by_loops(losses, returned, reading.vantages), *together]
    return suggest_drops(losses) if diagnosis.summary() is None else losses


def _finding_inputs(
    analysis: CaptureAnalysis,
    outlook: Outlook,
    packets: tuple[pl.DataFrame, pl.DataFrame],
    flows: Mapping[str, Sequence[Any]],
    claims: ArpClaimVerdicts,
) -> FindingInputs:
    assembly, partials, reading = analysis.assembly, analysis.partials, analysis.reading
    totals = assembly.totals
    outcomes, hops = packets
    return FindingInputs(
        info=_info(analysis),
        outlook=outlook,
        flows=flows,
        forgotten=partials.forgotten(),
        not_followed=partials.the(Conversations).others(),
        outcomes=outcomes,
        outcomes_whole=not partials.outcomes.forgotten,
        conversations=partials.the(Conversations).table(),
        hops=hops,
        has_hops=len(hops) > 0,
        census=reading.census,
        engine=reading.engine,
        segments=assembly.segments.tolist(),
        nat=assembly.nat,
        clocks=Clocks(
            steps=totals.steps.count,
            largest_step_ns=totals.steps.largest_ns,
            negative_hops=partials.hops.negative,
            set_ns=reading.clocks.set_ns(reading.notes),
            offsets=[
                FileOffset(reading.paths[one.file], reading.paths[one.other], *one[2:])
                for one in reading.clocks.offsets
            ],
            disorder=totals.disorder.count,
            largest_disorder_ns=totals.disorder.largest_ns,
        ),
        inferred=sorted({inferred_address(mac) for mac in assembly.endpoints.inferred}),
        claims=claims.verdicts,
        resets=partials.resets.rows(),
        handshakes=[] if totals.untimed else partials.handshakes.rows(),
        slow_echoes=[] if totals.untimed else partials.the(Echoes).slow(),
        flooded=partials.flooding.rows(),
        tunnel_arrivals=partials.tunnels.arrivals(),
        tunnel_departures=partials.tunnels.departures(),
        router_advertisements=partials.router_advertisements.rows(),
        multicast_streams=partials.the(MulticastStreams).rows(),
        returned=assembly.returned.rows(),
        facts=partials.loss_diagnosis.facts(),
        likely_causes=partials.loss_diagnosis.likely,
        foreign_sources=partials.foreign_sources.rows(),
        untranslated=partials.untranslated.rows(),
        corrupt=partials.checksums.rows(),
        may_hear=partials.receivers.may_hear,
        checked=partials.checksums.checked[0],
        wrong_checksums=partials.checksums.checked[1],
        malformed=reading.malformed(),
        undecoded=totals.undecoded,
        malformed_frames=totals.malformed.kinds,
        twins=reading.twins,
        not_ended=files_not_ended(reading.savefiles),
        payload_cuts=decode_cuts(reading.evidence),
        unfinished=partials.checksums.unfinished,
        silent=list(partials.the(Echoes).silent(outlook.end_ns)),
        silent_requests=partials.silent_requests(outlook.end_ns),
    )


def _fdb_at_end(reading: Reading) -> Mapping[str, Sequence[tuple[str, int]]]:
    """Bridge → its table at the end of the capture, where that was told."""
    pairs = zip(reading.vantages, reading.notes, strict=True)
    return {vantage.name: notes.fdb for vantage, notes in pairs if notes.fdb}


def _is_complete(reading: Reading) -> bool:
    """Whether no ring dropped anything, as far as it is known."""
    return all(map(reading.is_whole, range(len(reading.vantages))))


def _scene_of_losses(reading: Reading, outlook: Outlook, evidence: Evidence) -> LossScene:
    fdb = _fdb_at_end(reading)
    rulesets = {moment.netns: moment.rulesets for moment in evidence.at_end()}
    return LossScene(
        outlook.vantages,
        fdb,
        (),
        reading.sysctls,
        reading.engine,
        rulesets,
        evidence.moments,
        complete=_is_complete(reading),
        events=evidence.events,
    )


def _outlook(assembly: PacketAssembly, bridge: str) -> Outlook:
    reading, fdb = assembly.reading, _fdb_at_end(assembly.reading)
    filters = {one.filter for savefile in reading.savefiles for one in savefile.interfaces}
    return Outlook(
        vantages=reading.vantages,
        end_ns=assembly.judged_until_ns,
        sysctls=reading.sysctls,
        fdb={v.name: (*v.fdb, *fdb.get(v.name, ())) for v in reading.vantages},
        complete=_is_complete(reading),
        bridge=bridge,
        one_way=frozenset(filter(takes_one_direction, filters)),
        watched_ns=[(n.start_ns, n.gone_ns) for n in reading.notes],
        lives=assembly.lives(),
    )


def _info(analysis: CaptureAnalysis) -> CaptureInfo:
    assembly, reading = analysis.assembly, analysis.reading
    totals = assembly.totals
    since_ns, until_ns = assembly.edges.wanted_ns if assembly.edges else (None, None)
    return CaptureInfo(
        files=list(reading.paths),
        frames=totals.frames,
        bytes=totals.bytes,
        start_ns=totals.start_ns,
        end_ns=totals.end_ns,
        truncated=bool(reading.errors),
        untimed=totals.untimed,
        since_ns=since_ns,
        until_ns=until_ns,
        dropped=count_dropped(reading.vantages, reading.notes),
        drops=analysis.partials.loss_diagnosis.summary(reading.vantages),
        engine=reading.engine,
        sysctls=dict(reading.sysctls),
        identity="certain and likely" if assembly.likely else "certain",
        likely_matches=assembly.likely,
    )
