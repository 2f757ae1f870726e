"""The whole analysis: files → frames → journeys → flows → Report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import polars as pl

from analyzer.analysis.analyser import Analyser
from analyzer.analysis.findings import FindingInputs, collect_findings
from analyzer.analysis.loss_diagnosis import LossDiagnosis, LossEvidence
from analyzer.analysis.notes import count_dropped
from analyzer.analysis.options import DEFAULTS, AnalysisOptions
from analyzer.analysis.packet_selection import SelectedPackets
from analyzer.analysis.partials import Partials
from analyzer.analysis.reading import Reading
from analyzer.analysis.stream import stream_files
from analyzer.analysis.window_edges import WindowEdges
from analyzer.diagnosis.settings import Scene as LossScene
from analyzer.errors import SavefileError
from analyzer.findings.flooding import find_duplicate_macs
from analyzer.flows.arp import name_arp
from analyzer.flows.arp_claims import judge_claims
from analyzer.flows.endpoints import address_text, inferred_address
from analyzer.flows.icmp import Echoes
from analyzer.flows.losses import name_losses, suggest_drops, summarise_losses
from analyzer.flows.nat import find_doubled, find_missing, find_translations
from analyzer.flows.proxied import find_proxied
from analyzer.flows.transport import name_tcp, name_udp
from analyzer.flows.verdict import PROVED, REFUTED, Scene, judge_pairs
from analyzer.model.batch import Aggregator, Outlook
from analyzer.model.report import CaptureInfo, Finding, NatRow, Report, Verdict
from analyzer.report.build import Tables, build_report
from analyzer.report.paths import build_paths
from analyzer.savefile.pipes import rereadable
from analyzer.savefile.read import CaptureFile


def report_files(
    paths: Sequence[str], options: AnalysisOptions = DEFAULTS
) -> tuple[Report, list[SavefileError]]:
    """The report on one capture in one or more files, and where files were damaged.

    Memory does not grow with the files, but for every echo that is listed. Which packets the
    kernel dropped is known when the files were gone through once: where packets are listed, files
    with recorded drops are read twice, and a pipe is copied to a temporary file first. Raises as
    `stream_files`, `rereadable` and `Choice.check`.
    """
    with ExitStack() as copies:
        files: Sequence[str | CaptureFile] = paths
        if options.lists_packets:
            files = copies.enter_context(rereadable(paths, options.progress))
        tables, errors = _listing(files, options)
    return build_report(tables, packets=options.lists_packets, echoes=options.lists_echoes), errors


def _listing(
    files: Sequence[str | CaptureFile], options: AnalysisOptions
) -> tuple[Tables, list[SavefileError]]:
    """The tables with the packets that are listed."""
    selected = SelectedPackets(options.choice)

    def selecting(reading: Reading) -> Sequence[Aggregator]:
        return [selected] if options.lists_packets and not reading.explained else []

    analysis = analyse_files(files, options, selecting if options.lists_packets else None)
    if options.lists_packets and analysis.reading.explained:
        outcomes = analysis.partials.loss_diagnosis.outcomes()
        selected = SelectedPackets(options.choice, outcomes)
        stream_files(files, replace(options, progress=None), lambda *_: [selected])
    tables = build_tables(analysis, options.bridge)
    options.choice.check(tables.vantages, tables.ends)
    return replace(tables, packets=selected.rows), analysis.reading.errors


@dataclass(frozen=True, slots=True)
class CaptureAnalysis:
    """What is known when all files were read to their ends."""

    analyser: Analyser
    partials: Partials

    @property
    def reading(self) -> Reading:
        """The files, and what they told of themselves."""
        return self.analyser.reading


def analyse_files(
    files: Sequence[str | CaptureFile],
    options: AnalysisOptions = DEFAULTS,
    more_sinks: Callable[[Reading], Sequence[Aggregator]] | None = None,
) -> CaptureAnalysis:
    """Give every packet to a report's aggregators, and to further sinks exactly once.

    Raises as `stream_files`.
    """
    partials = Partials()

    def sinks(reading: Reading, edges: WindowEdges | None) -> Sequence[Aggregator]:
        nonlocal partials
        partials = partials_for(options, reading, edges)
        return [partials, *(more_sinks(reading) if more_sinks else ())]

    analyser = stream_files(files, options, sinks, once=more_sinks is not None)
    return CaptureAnalysis(analyser, partials)


def partials_for(options: AnalysisOptions, reading: Reading, edges: WindowEdges | None) -> Partials:
    """A report's aggregators, which keep what the options ask for."""
    return Partials(
        echoes=Echoes(keep=options.lists_echoes, outside=edges),
        loss_diagnosis=LossDiagnosis(
            keep=options.lists_packets and reading.explained, expected=reading.explained
        ),
    )


def verdict_code(verdicts: Sequence[Verdict]) -> int:
    """Exit code of ``verify``: 0 all proved, 1 one refuted, 3 undecided."""
    results = {verdict.result for verdict in verdicts}
    if REFUTED in results:
        return 1
    return 0 if results == {PROVED} else 3


def build_tables(analysis: CaptureAnalysis, bridge: str = DEFAULTS.bridge) -> Tables:
    """What the partials have come to. bridge: of the verdict's claim."""
    analyser, partials = analysis.analyser, analysis.partials
    reading = analysis.reading
    outlook = _outlook(analyser, bridge)
    outcomes = partials.outcomes.table()
    claims = judge_claims(partials.arp.claims.by_place(), analyser.segments.tolist(), outlook)
    nat = partials.translations.rows(reading.vantages, analyser.nat)
    arp = name_arp(partials.arp.table(claims.settled), analyser.endpoints)
    nd = partials.neighbours.rows(analyser.endpoints)
    dns = partials.dns.rows(outlook.end_ns)
    if analyser.edges:
        analyser.edges.settle_arp(arp)
    talks = partials.conversations.table()
    lost_between = partials.conversations.lost_between(reading.vantages)
    tcp, udp = name_tcp(talks, lost_between), name_udp(talks, lost_between)
    proxied = partials.proxied.rows(analyser.proxies, [*tcp, *udp])
    echoes = partials.echoes.echoes(outlook.end_ns)
    table = summarise_losses(outcomes)
    losses = name_losses(table, reading.vantages, reading.sysctls)
    loss_diagnosis, drops = partials.loss_diagnosis, partials.loss_diagnosis.summary()
    if loss_diagnosis.told:
        found = LossEvidence(
            reading.notes,
            analyser.segments,
            partials.outcomes,
            partials.echoes,
            outlook.end_ns,
            arp,
        )
        losses = loss_diagnosis.explain(losses, table, found, _scene_of_losses(reading))
    if drops is None:
        losses = suggest_drops(losses)
    icmp = _with_addresses(partials.echoes.table(outlook.end_ns))
    return Tables(
        info=replace(_info(analyser), drops=drops),
        vantages=reading.vantages,
        counters=[(n.received, n.dropped) for n in reading.notes],
        seen=analyser.totals.seen,
        hops=partials.hops.table(outcomes),
        echoes=echoes,
        icmp=icmp,
        arp=arp,
        nd=nd,
        icmp_errors=partials.errors.rows(),
        nat=nat,
        proxied=proxied,
        dns=dns,
        dhcp=partials.dhcp.rows(),
        tcp=tcp,
        udp=udp,
        losses=losses,
        verdicts=judge_pairs(outcomes, _scene(outlook)),
        paths=build_paths(outcomes, reading.vantages, icmp),
        ends=analyser.endpoints.texts,
        inferred=sorted({inferred_address(mac) for mac in analyser.endpoints.inferred}),
        own_echoes=frozenset(int(ident) for notes in reading.notes for ident in notes.process_rtt),
        process_rtt=_process_rtt(reading),
        clock=(
            analyser.totals.clock_steps,
            analyser.totals.largest_step_ns,
            partials.hops.negative,
        ),
        clock_set_ns=reading.clock_set_ns(),
        notes=[
            *_notes(analysis, nat),
            *find_proxied(proxied),
            *collect_findings(
                partials, reading, FindingInputs(outcomes, talks, arp, nd, dns, outlook), claims
            ),
        ],
    )


def _notes(analysis: CaptureAnalysis, nat: Sequence[NatRow]) -> list[Finding]:
    """What stands out in the traffic."""
    analyser, partials = analysis.analyser, analysis.partials
    vantages = analyser.reading.vantages
    return [
        *find_translations(nat),
        *find_doubled(nat, vantages, analyser.reading.sysctls),
        *find_missing(analyser.nat),
        *partials.flooding.findings(vantages),
        *find_duplicate_macs(analyser.segments, vantages),
        *partials.echoes.findings(vantages),
    ]


def _scene_of_losses(reading: Reading) -> LossScene:
    fdb = {v.name: n.fdb for v, n in zip(reading.vantages, reading.notes, strict=True) if n.fdb}
    return LossScene(reading.vantages, fdb, (), reading.sysctls, reading.engine)


def _outlook(analyser: Analyser, bridge: str) -> Outlook:
    reading = analyser.reading
    found = {v.name: n.fdb for v, n in zip(reading.vantages, reading.notes, strict=True) if n.fdb}
    told = [n.end_ns for n in reading.notes if n.end_ns]
    end_ns = max([*told, analyser.totals.end_ns or 0])
    if analyser.edges:
        end_ns = min(end_ns, analyser.edges.until_ns)
    return Outlook(
        vantages=reading.vantages,
        end_ns=end_ns,
        sysctls=reading.sysctls,
        fdb={v.name: (*v.fdb, *found.get(v.name, ())) for v in reading.vantages},
        complete=not count_dropped(reading.vantages, reading.notes),
        bridge=bridge,
        watched_ns=[(n.start_ns, n.gone_ns) for n in reading.notes],
    )


def _scene(outlook: Outlook) -> Scene:
    return Scene(outlook.bridge, outlook.vantages, outlook.fdb, outlook.complete)


def _info(analyser: Analyser) -> CaptureInfo:
    reading, totals = analyser.reading, analyser.totals
    since_ns, until_ns = analyser.edges.wanted_ns if analyser.edges else (None, None)
    return CaptureInfo(
        files=list(reading.paths),
        frames=totals.frames,
        bytes=totals.bytes,
        start_ns=totals.start_ns,
        end_ns=totals.end_ns,
        truncated=bool(reading.errors),
        since_ns=since_ns,
        until_ns=until_ns,
        dropped=count_dropped(reading.vantages, reading.notes),
        engine=reading.engine,
        sysctls=dict(reading.sysctls),
        identity="certain and likely" if analyser.likely else "certain",
        likely_matches=analyser.likely,
    )


def _with_addresses(icmp: pl.DataFrame) -> pl.DataFrame:
    """Add source_ip and destination_ip as text."""

    def texts(side: str) -> pl.Series:
        pairs = icmp.select(f"{side}_hi", f"{side}_lo").iter_rows()
        return pl.Series([address_text(hi, lo) for hi, lo in pairs], dtype=pl.String)

    return icmp.with_columns(
        texts("asker").alias("source_ip"), texts("target").alias("destination_ip")
    )


def _process_rtt(reading: Reading) -> dict[tuple[int, int], int]:
    """(ICMP id, seq) → ns, as our own echo left it in the file."""
    found: dict[tuple[int, int], int] = {}
    for notes in reading.notes:
        for ident, rtts in notes.process_rtt.items():
            found.update({(int(ident), int(seq)): ns for seq, ns in rtts.items()})
    return found
