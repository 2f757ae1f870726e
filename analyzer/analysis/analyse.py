"""The whole analysis: files → frames → packets → flows → Report.

Every step has its module: `reading` (files → decoded frames), `packet_assembly` (→ packets that are
closed), `stream` (→ sinks, chunk by chunk), `partials` (the aggregators of a report), and
`capture_tables` (→ the tables that a report is built from).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from analyzer.analysis.capture_analysis import CaptureAnalysis, analyse_files
from analyzer.analysis.capture_tables import build_tables
from analyzer.analysis.options import DEFAULTS, AnalysisOptions
from analyzer.analysis.packet_selection import SelectedPackets
from analyzer.analysis.stream import stream_files
from analyzer.errors import SavefileError
from analyzer.flows.verdict import PROVED, REFUTED
from analyzer.model.report import PacketRow, Report, Verdict
from analyzer.report.build import build_report
from analyzer.savefile.pipes import rereadable
from analyzer.savefile.read import CaptureFile


def report_files(
    paths: Sequence[str], options: AnalysisOptions = DEFAULTS
) -> tuple[Report, list[SavefileError]]:
    """The report on one capture in one or more files, and where files were damaged.

    Memory does not grow with the files, but for every echo that is listed. Raises as
    `stream_files`, `rereadable` and `Choice.check`.
    """
    rows: Sequence[PacketRow] = ()
    if options.lists_packets:
        with rereadable(paths, options.progress) as files:
            analysis, rows = _list_packets(files, options)
    else:
        analysis = analyse_files(paths, options)
    tables = replace(build_tables(analysis, options.bridge, options.top), packets=rows)
    options.choice.check(tables.vantages, tables.ends)
    report = build_report(tables, packets=options.lists_packets)
    return report, analysis.reading.errors


def _list_packets(
    files: Sequence[CaptureFile], options: AnalysisOptions
) -> tuple[CaptureAnalysis, Sequence[PacketRow]]:
    """The analysis, and the packets that are listed.

    Which packets the kernel dropped is known when the files were gone through once, so that files
    with recorded drops are read twice.
    """
    selected = SelectedPackets(options.choice)
    analysis = analyse_files(
        files, options, lambda reading: [] if reading.explained else [selected], once=True
    )
    if analysis.reading.explained:
        outcomes = analysis.partials.loss_diagnosis.outcomes()
        selected = SelectedPackets(options.choice, outcomes)
        stream_files(files, replace(options, progress=None), lambda *_: [selected])
    return analysis, selected.rows


def verdict_code(verdicts: Sequence[Verdict]) -> int:
    """Exit code of ``verify``: 0 all proved, 1 one refuted, 3 undecided."""
    results = {verdict.result for verdict in verdicts}
    if REFUTED in results:
        return 1
    return 0 if results == {PROVED} else 3
