"""The report on a terminal or in a pipe: rich renderables, plain where the console is plain.

Readable in 80 columns. Nothing captured is ever parsed as rich markup: the report is sanitized
as a whole at the entrance, and every piece of text is a `rich.text.Text`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from analyzer.flows.arp_rows import answer_piece, arp_size
from analyzer.formatting.numbers import (
    NONE,
    format_bytes,
    format_count,
    format_ns,
    format_plural,
    format_time,
)
from analyzer.formatting.sanitize import sanitized
from analyzer.model.report import Report, Verdict
from analyzer.report import view
from analyzer.report.drawn import drawn_paths
from analyzer.report.echo_words import losses_known, rtt_note
from analyzer.report.sheets import Sheet, cut_sheets, flow_sheets
from analyzer.report.shown import findings_by_severity, shown
from analyzer.report.text.hops import hop_parts
from analyzer.report.text.path import LEVELS, draw_path
from analyzer.report.text.tables import bad_count, listed, new_table, pair_title


def render_text(report: Report, console: Console) -> None:
    """Print the report; sections without content are left out. Colours are the console's matter."""
    report = sanitized(cut_sheets(report))
    _print(console, _headline(report))
    for title, note, build in (*_talks(report), *_flows(report), *_SECTIONS):
        body = list(build(report))
        if body:
            for part in (Text(), _title(title, note), *body):
                _print(console, part)


def render_verdicts(report: Report, console: Console) -> None:
    """Print only the verdicts with their evidence, or that there is nothing to judge."""
    body = list(_verdicts(sanitized(report)))
    if body and (line := view.refuted_line(sanitized(report))):
        body += [Text(), Text(line)]
    for part in body or [Text("? undecided  the file holds no unicast IP traffic to judge")]:
        _print(console, part)


def _print(console: Console, part: RenderableType) -> None:
    """Print without the blanks that rich pads its lines with: they would stay in pipes."""
    for segments in console.render_lines(part, pad=False):
        line = Text.assemble(*((segment.text, segment.style or "") for segment in segments))
        line.rstrip()
        console.print(line, soft_wrap=True)


def _headline(report: Report) -> RenderableType:
    line = Text()
    for number, piece in enumerate(view.headline(report)):
        line.append(piece.text, LEVELS[piece.level] or "bold")
        if number == 0 and report.icmp:
            line.append("  ")
    capture = report.capture
    if capture.start_ns is None:
        return line
    when = Text(f"{format_time(capture.start_ns)}", "dim")
    if capture.engine:
        when.append(f" · engine {capture.engine}")
    return Group(line, when)


def _title(title: str, note: str) -> Text:
    return Text.assemble((title, "bold underline"), (f"  {note}" if note else "", "dim"))


def _paths(report: Report) -> Iterable[RenderableType]:
    drawn, left_out = drawn_paths(report)
    for number, path in enumerate(drawn):
        if len(drawn) > 1:
            title = pair_title(path.source, path.destination, path.protocol)
            yield Padding(title, (min(number, 1), 0, 0, 0))
        yield draw_path(path)
    if left_out:
        yield Text(f"and {format_plural(left_out, 'more path')}: see --json", "dim")


def _icmp(report: Report) -> Iterable[RenderableType]:
    if not report.icmp:
        return
    table = new_table(("",), ("sent", "ans", "lost", "dup", "min", "p50", "p99", "max"))
    known = losses_known(report)
    left_out = report.more_rows("icmp")
    chosen, more = shown(report.icmp, "conversation", lambda row: row.sent, left_out=left_out)
    for row in chosen:
        times = (row.rtt_min_ns, row.rtt_p50_ns, row.rtt_p99_ns, row.rtt_max_ns)
        table.add_row(
            Text.assemble(row.source, (" → ", "dim"), row.destination),
            Text(format_count(row.sent)),
            Text(format_count(row.answered), "green" if row.answered == row.sent else ""),
            bad_count(row.lost) if known or row.lost else Text(NONE),
            bad_count(row.duplicates),
            *(Text(format_ns(ns)) for ns in times),
        )
    yield table
    yield from _more(more)
    sentences = (view.two_views(row) for row in chosen)
    yield from (Text(sentence) for sentence in sentences if sentence)


def _arp(report: Report) -> Iterable[RenderableType]:
    if not report.arp:
        return
    table = new_table(("who asks", "for whom", "answer"), ("req", "repl", "p50", "max"))
    chosen, more = shown(report.arp, "pair", arp_size, left_out=report.more_rows("arp"))
    for row in chosen:
        answer = answer_piece(row)
        table.add_row(
            Text(row.asker),
            Text(row.target_ip),
            Text(answer.text, LEVELS[answer.level]),
            Text(format_count(row.requests)),
            Text(format_count(row.replies)),
            Text(format_ns(row.latency_p50_ns)),
            Text(format_ns(row.latency_max_ns)),
        )
    yield table
    yield from _more(more)


def _more(words: str) -> Iterable[RenderableType]:
    """The line that says how many rows are not shown."""
    if words:
        yield Text(words, "dim")


def _flows(report: Report) -> Iterable[_Section]:
    """A section a sheet."""
    return [(sheet.title, sheet.note, partial(_sheet, sheet)) for sheet in flow_sheets(report)]


def _sheet(sheet: Sheet, report: Report) -> Iterable[RenderableType]:
    table = new_table(sheet.words, sheet.numbers)
    for row in sheet.rows:
        table.add_row(*(Text(piece.text, LEVELS[piece.level]) for piece in row))
    yield table
    if sheet.more:
        yield Text(sheet.more, "dim")


def _losses(report: Report) -> Iterable[RenderableType]:
    chosen, more = shown(report.losses, "loss", size=lambda row: row.packets)
    for row in chosen:
        what = format_plural(row.packets, f"{row.protocol} packet")
        line = Text(f"✗ {what} {row.source} → {row.destination}", LEVELS["bad"])
        yield line.append(f" lost {row.location}" if row.location else "", "")
        yield listed([(Text(label, "dim"), Text(text)) for label, text in view.loss_lines(row)], 4)
    yield from _more(more)


def _verdicts(report: Report) -> Iterable[RenderableType]:
    left_out = report.more_rows("verdicts")
    verdicts, more = shown(report.verdicts, "pair", view.verdict_size, left_out=left_out)
    brief = view.brief_verdicts(verdicts)
    for number, verdict in enumerate(verdicts):
        yield _verdict_line(verdict)
        if verdict.reason:
            yield Padding(Text(verdict.reason), (0, 0, 0, 4))
        evidence = [] if number in brief else view.known_facts(verdict)
        facts = [
            (Text(view.MARKS[f.holds], LEVELS[view.FACT_LEVELS[f.holds]]), Text(f.fact))
            for f in evidence
        ]
        if facts:
            yield listed(facts, 4)
    yield from _more(more)


def _verdict_line(verdict: Verdict) -> Text:
    mark, claim, packets = view.verdict_pieces(verdict)
    line = Text.assemble((mark.text, f"bold {LEVELS[mark.level]}".strip()))
    return line.append(f"  {claim}").append(f"  {packets}", "dim")


def _findings(report: Report) -> Iterable[RenderableType]:
    rows = []
    for finding in findings_by_severity(report):
        style = LEVELS[view.SEVERITY_LEVELS.get(finding.severity, "")]
        mark = view.SEVERITY_MARKS.get(finding.severity, "i")
        text = Text.assemble(finding.text, (f"  [{finding.code}]", "dim"))
        rows.append((Text(mark, style), text))
    if rows:
        yield listed(rows, 0)


def _packets(report: Report) -> Iterable[RenderableType]:
    for row in report.packets:
        line = Text.assemble(
            (f"{row.id:>6}  ", "dim"),
            f"{row.protocol}  {row.source} → {row.destination}  ",
            row.summary,
            ("" if row.certain else "  (likely)", LEVELS["warn"]),
        )
        way = [
            f"{name} +{format_ns(delta)}"
            for name, delta in zip(row.vantages, row.deltas_ns, strict=True)
        ]
        yield line
        yield Padding(Text(", ".join(way), "dim"), (0, 0, 0, 8))
        for translation in row.translated:
            yield Padding(Text(f"NAT: {translation}", "dim"), (0, 0, 0, 8))
        if row.fate in ("lost", "dropped"):
            yield Padding(Text(view.packet_end(row), LEVELS["bad"]), (0, 0, 0, 8))


def _capture(report: Report) -> Iterable[RenderableType]:
    table = new_table(("", "role"), ("frames", "received", "dropped"))
    vantages, more = shown(report.vantages, "vantage", size=lambda row: row.frames)
    for row in vantages:
        dropped = Text(NONE) if row.dropped is None else bad_count(row.dropped)
        table.add_row(
            Text(row.name),
            Text(row.role, "dim"),
            Text(format_count(row.frames)),
            Text(format_count(row.received)),
            dropped,
        )
    if report.vantages:
        yield table
        yield from _more(more)
    capture = report.capture
    size = f"{format_plural(capture.frames, 'frame')}, {format_bytes(capture.bytes)}"
    drops = "" if capture.dropped is None else f", {format_count(capture.dropped)} dropped"
    files = f"  {', '.join(capture.files)}" if capture.files else ""
    yield Text(f"{size} on all vantages{drops}{files}")


_Section = tuple[str, str, Callable[[Report], Iterable[RenderableType]]]


def _talks(report: Report) -> Iterable[_Section]:
    """The flows' sheets come behind them."""
    yield "Path", "p50 of each hop, → there, ← back", _paths
    yield "Hops", "", hop_parts
    yield "ICMP echo", rtt_note(report), _icmp
    yield "ARP", "", _arp


_SECTIONS: tuple[_Section, ...] = (
    ("Losses", "", _losses),
    ("Verdicts", "", _verdicts),
    ("Findings", "", _findings),
    ("Packets", "time since the packet's first frame", _packets),
    ("Capture", "", _capture),
)
