"""The whole analysis: files → frames → journeys → flows → Report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from analyzer.analysis.cut import cut_window
from analyzer.analysis.findings import FindingInputs, collect_findings
from analyzer.analysis.load import Loaded, dropped, load
from analyzer.analysis.loss_diagnosis import LossDiagnosis, LossEvidence, with_outcomes
from analyzer.analysis.packet_choice import Choice
from analyzer.analysis.packet_selection import SelectedPackets, SelectionPartials
from analyzer.analysis.partials import Partials
from analyzer.analysis.reading import Reading, sort_own
from analyzer.analysis.stream import Analyser, Progress, analyse_files
from analyzer.analysis.tables import translated_packets
from analyzer.analysis.window import Window
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
from analyzer.model.batch import Batch, Outlook
from analyzer.model.report import CaptureInfo, Finding, NatRow, Report, Verdict
from analyzer.report.build import Tables, build_report
from analyzer.report.paths import build_paths
from analyzer.savefile.source import is_rereadable


def report_files(
    paths: Sequence[str],
    *,
    bridge: str = "docker0",
    packets: bool = False,
    window: Window | None = None,
    choice: Choice | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
) -> tuple[Report, list[SavefileError]]:
    """The report on one capture in one or more files, and where files were damaged.

    packets: with every packet and every echo. choice: with these packets; those that the kernel
    dropped are known when the file was gone through once, so that a file with recorded drops is
    read twice. window: only the frames in it. Memory does not grow with the files, but for every
    echo, and where such a file cannot be read twice. jobs: threads. Raises as `analyse_files` and
    `Choice.check`.
    """
    selected = SelectedPackets(choice.choose if choice else lambda packets: packets)
    how = (jobs, progress, window)
    if (packets or choice) and not all(map(is_rereadable, paths)):
        loaded = load(paths)
        if window:
            loaded = cut_window(loaded, window)
        tables, errors = analyse(loaded, bridge=bridge), loaded.errors
        if packets or choice:
            selected.add(tables.whole)
    elif packets or choice:
        tables, errors = _pick(paths, selected, bridge, packets, how)
    else:
        tables, errors = analyse_paths(
            paths, bridge=bridge, jobs=jobs, progress=progress, window=window
        )
    if choice:
        choice.check(tables.vantages, tables.ends)
    tables = replace(tables, packets=selected.rows)
    return build_report(tables, packets=packets or bool(choice), echoes=packets), errors


def _pick(
    paths: Sequence[str], selected: SelectedPackets, bridge: str, echoes: bool,
    how: tuple[int, Progress | None, Window | None],
) -> tuple[Tables, list[SavefileError]]:  # fmt: skip
    """The tables, and the packets that are to be shown in ``selected``."""
    jobs, progress, window = how

    def partials(reading: Reading) -> Partials:
        found = SelectionPartials(
            echoes=Echoes(keep=echoes), loss_diagnosis=LossDiagnosis(keep=reading.explained),
            selected=None if reading.explained else selected,
        )  # fmt: skip
        selected.outcomes = found.loss_diagnosis.outcomes if reading.explained else None
        return found

    found = analyse_paths(
        paths, bridge=bridge, jobs=jobs, progress=progress, partials=partials, window=window
    )
    if selected.outcomes is not None:
        known = selected.outcomes()
        selected.outcomes = lambda: known
        analyse_files(
            paths, jobs=jobs, window=window,
            partials=lambda _: SelectionPartials(selected=selected, alone=True),
        )  # fmt: skip
    return found


def analyse_paths(
    paths: Sequence[str],
    *,
    bridge: str = "docker0",
    jobs: int = 2,
    progress: Progress | None = None,
    partials: Callable[[Reading], Partials] | None = None,
    window: Window | None = None,
) -> tuple[Tables, list[SavefileError]]:
    """The tables of files of any length, and where they were damaged. Raises as `analyse_files`."""
    analyser = analyse_files(paths, jobs=jobs, progress=progress, partials=partials, window=window)
    return _tables(analyser, bridge), analyser.reading.errors


def verdict_code(verdicts: Sequence[Verdict]) -> int:
    """Exit code of ``verify``: 0 all proved, 1 one refuted, 3 undecided."""
    results = {verdict.result for verdict in verdicts}
    if REFUTED in results:
        return 1
    return 0 if results == {PROVED} else 3


def analyse(loaded: Loaded, *, bridge: str = "docker0") -> Tables:
    """Correlate and count, all at once: everything that the report is built from, and packets."""
    reading = Reading(
        loaded.paths, loaded.vantages, loaded.notes, loaded.names, loaded.engine, loaded.sysctls,
        loaded.errors, loaded.own, census=loaded.census,
    )  # fmt: skip
    partials = Partials(
        echoes=Echoes(keep=True), loss_diagnosis=LossDiagnosis(keep=True), depth=loaded.depth
    )
    analyser = Analyser(reading, partials, edges=loaded.cut)
    number = np.arange(len(loaded.frames["ts_ns"]), dtype=np.int64)
    frames = {"number": number, **loaded.frames}
    analyser.totals.add(frames, loaded.vantages)
    explaining, tracked = sort_own(loaded.own)
    analyser.learn(tracked)
    journeys, _ = analyser.correlate(frames)
    batch = replace(analyser.batch_of(frames, journeys), own=explaining)
    analyser.take(batch)
    return _tables(analyser, bridge, batch)


def _tables(analyser: Analyser, bridge: str, batch: Batch | None = None) -> Tables:
    """What the partials have come to. batch: where all frames are in memory."""
    reading, partials = analyser.reading, analyser.partials
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
    if batch:
        batch = replace(batch, packets=with_outcomes(batch.packets, loss_diagnosis.outcomes()))
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
        batch=batch,
        clock_set_ns=reading.clock_set_ns(),
        translated=translated_packets(batch).to_list() if batch else (),
        notes=[
            *_notes(analyser, nat),
            *find_proxied(proxied),
            *collect_findings(
                analyser, FindingInputs(outcomes, talks, arp, nd, dns, outlook), claims
            ),
        ],
    )


def _notes(analyser: Analyser, nat: Sequence[NatRow]) -> list[Finding]:
    """What stands out in the traffic."""
    vantages, partials = analyser.reading.vantages, analyser.partials
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
        complete=not dropped(reading.vantages, reading.notes),
        bridge=bridge,
        watched_ns=[(n.start_ns, n.gone_ns) for n in reading.notes],
    )


def _scene(outlook: Outlook) -> Scene:
    return Scene(outlook.bridge, outlook.vantages, outlook.fdb, outlook.complete)


def _info(analyser: Analyser) -> CaptureInfo:
    reading, totals = analyser.reading, analyser.totals
    since_ns, until_ns = analyser.edges.told if analyser.edges else (None, None)
    return CaptureInfo(
        files=list(reading.paths),
        frames=totals.frames,
        bytes=totals.bytes,
        start_ns=totals.start_ns,
        end_ns=totals.end_ns,
        truncated=bool(reading.errors),
        since_ns=since_ns,
        until_ns=until_ns,
        dropped=dropped(reading.vantages, reading.notes),
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
