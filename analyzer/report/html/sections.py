"""The sections of the HTML page, one function a section; each yields nothing where it is empty."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from analyzer.flows.arp import answer_piece
from analyzer.formatting.numbers import (
    format_bytes,
    format_count,
    format_ns,
    format_plural,
    format_us_exact,
)
from analyzer.model.report import HopRow, Report, Verdict
from analyzer.report import view
from analyzer.report.drawn import drawn_paths
from analyzer.report.html.markup import Markup, join, tag
from analyzer.report.html.path import draw_path_svg
from analyzer.report.html.plots import ECHOES, draw_delays, draw_echoes, legend
from analyzer.report.sheets import Sheet

MOST_PACKETS = 20_000
"""rows of a page; a browser has trouble with more"""
ROWS = 60
"""of a table that are shown at once; the rest is folded away"""
_FEW = 10
"""rows more are not worth folding"""


def leveled(text: str, level: str) -> Markup:
    """A piece of text as good, bad or doubtful news."""
    return tag("span", text, class_=level or None)


def _cell(value: str | Markup, class_: str = "") -> Markup:
    return tag("td", value, class_=class_ or None)


def _number(text: str, class_: str = "") -> Markup:
    return _cell(text, f"n {class_}".strip())


def _bad(count: int) -> Markup:
    """A count that should be 0."""
    return _number(format_count(count), "bad" if count else "")


def _tables(words: Sequence[str], numbers: Sequence[str], rows: Sequence[Markup]) -> Markup:
    """A table; of a long one all but the first rows are folded away."""
    first, rest = rows[:ROWS], rows[ROWS:]
    if len(rest) < _FEW:
        return _table(words, numbers, rows)
    more = _folded(f"{format_count(len(rest))} more", _table(words, numbers, rest))
    return join(_table(words, numbers, first), more)


def _folded(words: str, *content: Markup) -> Markup:
    return tag("details", tag("summary", words), *content)


def _table(words: Sequence[str], numbers: Sequence[str], rows: Iterable[Markup]) -> Markup:
    head = [tag("th", w, scope="col", class_="kind" if w == "kind" else None) for w in words]
    head += [tag("th", n, scope="col", class_="n") for n in numbers]
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *rows))
    return tag("div", table, class_="scroll", tabindex=0)


def build_paths(report: Report) -> Iterable[Markup]:
    """The drawn paths."""
    drawn, left_out = drawn_paths(report)
    for path in drawn:
        if len(drawn) > 1:
            protocol = tag("span", f"  {path.protocol}", class_="dim")
            yield tag("p", f"{path.source} → {path.destination} ", protocol, class_="group")
        yield draw_path_svg(path)
    if left_out:
        yield tag("p", f"and {format_plural(left_out, 'more path')}: see --json", class_="dim")


def build_echoes(report: Report) -> Iterable[Markup]:
    """The echoes of the main conversation: RTT stacked by hop."""
    for row in filter(None, [view.main_conversation(report)]):
        plot = draw_echoes(row)
        if plot:
            yield tag("div", plot, class_="scroll")
            yield _legend(legend(row))
        if len(row.echoes) > ECHOES:
            yield tag("p", f"The first {format_plural(ECHOES, 'echo')} are shown.", class_="dim")


def build_delays(report: Report) -> Iterable[Markup]:
    """The delay of each hop of the main conversation."""
    main = view.main_conversation(report)
    ends = (main.source, main.destination) if main else None
    for section in view.hop_sections(report):
        if not section.echoes or (section.source, section.destination) != ends:
            continue
        echoes = section.icmp.echoes if section.icmp else []
        strips = draw_delays(section, echoes)
        if strips:
            yield tag("div", strips, class_="scroll")
            hint = "line: min to max, bar: p50 to p90, large dot: p50, small dots: single echoes"
            yield tag("p", hint, class_="dim")


def _legend(entries: Sequence[tuple[str, str]]) -> Markup:
    swatch = {
        kind: tag(
            "svg",
            tag("rect", width=10, height=10, rx=2, class_=kind),
            viewBox="0 0 10 10",
            aria_hidden="true",
        )
        for kind, _ in entries
    }
    return tag("ul", *(tag("li", swatch[k], words) for k, words in entries), class_="legend")


def build_hops(report: Report) -> Iterable[Markup]:
    """The hop table, what has to be known to read it, and one echo that adds up."""
    sections = view.hop_sections(report)
    if not sections:
        return
    first: list[Markup] = []
    rest: list[Markup] = []
    hidden = 0
    for section in sections:
        if len(first) < ROWS:
            first += _hop_rows(section)
        else:
            rest += _hop_rows(section)
            hidden += len(section.there) + len(section.back)
    yield _hop_table(first)
    if rest:
        yield _folded(format_plural(hidden, "more hop"), _hop_table(rest))
    yield from (tag("p", note, class_="dim") for note in view.footnotes(report))
    for echo in filter(None, [view.example_echo(view.main_conversation(report))]):
        total = tag("strong", f" = {format_us_exact(echo.rtt_ns or 0)} µs")
        terms = f"seq {echo.seq}: {view.echo_terms(echo)}"
        yield tag("p", view.NOTE_PERCENTILES, " ", tag("span", terms), total)


def _hop_table(rows: Sequence[Markup]) -> Markup:
    return _table(("hop", "kind"), ("packets", "lost", "p50", "p99", "max"), rows)


def _hop_rows(section: view.HopSection) -> Iterable[Markup]:
    icmp, ends = section.icmp, (section.source, section.destination)
    for rows, (source, destination) in ((section.there, ends), (section.back, ends[::-1])):
        if rows:
            protocol = tag("span", f"  {section.protocol}", class_="dim")
            yield tag(
                "tr", tag("td", f"{source} → {destination} ", protocol, class_="group", colspan=7)
            )
        yield from (_hop_row(row) for row in rows)
        if rows is section.there and icmp and icmp.turnaround_p50_ns is not None:
            turn = _number(format_ns(icmp.turnaround_p50_ns))
            yield tag(
                "tr",
                _cell(view.turnaround_words(icmp)),
                _blank(1, "kind"),
                _blank(2),
                turn,
                _blank(2),
            )
    if icmp and icmp.rtt_p50_ns is not None:
        times = (icmp.rtt_p50_ns, icmp.rtt_p99_ns, icmp.rtt_max_ns)
        yield tag(
            "tr",
            _cell(f"RTT at {icmp.measured_at}".removesuffix(" at "), "sum"),
            _cell("", "kind"),
            _number(format_count(icmp.answered)),
            _bad(icmp.lost),
            *(_number(format_ns(ns), "sum") for ns in times),
        )


def _blank(span: int, class_: str | None = None) -> Markup:
    return tag("td", colspan=span, class_=class_)


def _hop_row(row: HopRow) -> Markup:
    times = (row.p50_ns, row.p99_ns, row.max_ns)
    return tag(
        "tr",
        _cell(f"{row.from_} → {row.to}"),
        _cell(row.kind, "dim kind"),
        _number(format_count(row.packets)),
        _bad(row.lost),
        *(_number(format_ns(ns)) for ns in times),
    )


def build_icmp(report: Report) -> Iterable[Markup]:
    """The echo conversations, and the wire against the pinging process."""
    if not report.icmp:
        return
    rows = []
    for row in report.icmp:
        times = (row.rtt_min_ns, row.rtt_p50_ns, row.rtt_p99_ns, row.rtt_max_ns)
        rows.append(
            tag(
                "tr",
                _cell(f"{row.source} → {row.destination}"),
                _number(format_count(row.sent)),
                _number(format_count(row.answered)),
                _bad(row.lost),
                _bad(row.duplicates),
                *(_number(format_ns(ns)) for ns in times),
            )
        )
    numbers = ("sent", "answered", "lost", "duplicates", "min", "p50", "p99", "max")
    yield _tables(("conversation",), numbers, rows)
    yield from (tag("p", text) for text in map(view.two_views, report.icmp) if text)


def build_arp(report: Report) -> Iterable[Markup]:
    """Who asked for whom and who answered."""
    rows = []
    for row in report.arp:
        answer = answer_piece(row)
        rows.append(
            tag(
                "tr",
                _cell(row.asker),
                _cell(row.target_ip),
                _cell(answer.text, answer.level),
                _number(format_count(row.requests)),
                _number(format_count(row.replies)),
                _number(format_ns(row.latency_p50_ns)),
                _number(format_ns(row.latency_max_ns)),
            )
        )
    if rows:
        numbers = ("requests", "replies", "p50", "max")
        yield _tables(("who asks", "for whom", "answer"), numbers, rows)


def build_sheet(sheet: Sheet, report: Report) -> Iterable[Markup]:
    """One sheet of flows."""
    words = len(sheet.words)
    rows = [
        tag(
            "tr",
            *(_cell(piece.text, piece.level) for piece in row[:words]),
            *(_number(piece.text, piece.level) for piece in row[words:]),
        )
        for row in sheet.rows
    ]
    yield _tables(sheet.words, sheet.numbers, rows)
    if sheet.more:
        yield tag("p", sheet.more, class_="dim")


def build_losses(report: Report) -> Iterable[Markup]:
    """What was lost where, with reason and advice."""
    for row in report.losses:
        what = f"✗ {format_plural(row.packets, f'{row.protocol} packet')} "
        where = f" lost {row.location}" if row.location else ""
        ends = f"{row.source} → {row.destination}"
        yield tag("p", leveled(what + ends, "bad"), where, class_="item")
        lines = view.loss_lines(row)
        yield tag("dl", *(join(tag("dt", label), tag("dd", text)) for label, text in lines))


def build_verdicts(report: Report) -> Iterable[Markup]:
    """The verdicts with their evidence."""
    brief = view.brief_verdicts(report)
    for number, verdict in enumerate(report.verdicts):
        yield _verdict(verdict)
        facts = [
            tag("li", leveled(view.MARKS[f.holds], view.FACT_LEVELS[f.holds]), f"  {f.fact}")
            for f in view.known_facts(verdict)
        ]
        evidence = tag("ul", *facts, class_="facts")
        if facts:
            yield _folded("evidence", evidence) if number in brief else evidence


def _verdict(verdict: Verdict) -> Markup:
    words = f"{view.RESULT_MARKS[verdict.result]} {verdict.result}"
    level = view.RESULT_LEVELS[verdict.result]
    claim = f"  {verdict.claim}: {verdict.source} → {verdict.destination}"
    count = tag("span", f", {format_plural(verdict.packets, 'packet')}", class_="dim")
    reason = tag("span", f": {verdict.reason}") if verdict.reason else None
    return tag("p", tag("strong", words, class_=level), claim, count, reason, class_="item")


def build_findings(report: Report) -> Iterable[Markup]:
    """The findings, errors first."""
    for finding in view.findings_by_severity(report):
        level = view.SEVERITY_LEVELS.get(finding.severity, "")
        mark = f"{view.SEVERITY_MARKS.get(finding.severity, 'i')} "
        code = tag("span", f"  [{finding.code}]", class_="dim")
        yield tag("p", leveled(mark, level), finding.text, code, class_="item")


def build_packets(report: Report) -> Iterable[Markup]:
    """Every packet with its journey."""
    rows = []
    for row in islice(report.packets, MOST_PACKETS):
        way = zip(row.vantages, row.deltas_ns, strict=True)
        deltas = ", ".join(f"{name} +{format_ns(ns)}" for name, ns in way)
        likely = "" if row.certain else " (likely)"
        rows.append(
            tag(
                "tr",
                _cell(str(row.id)),
                _cell(row.protocol),
                _cell(f"{row.source} → {row.destination}"),
                _cell("; NAT: ".join([row.summary + likely, *row.translated])),
                _cell(deltas, "dim"),
                _cell(view.packet_end(row)),
            )
        )
    if rows:
        yield _tables(("id", "protocol", "packet", "summary", "seen at", "end"), (), rows)
    if len(report.packets) > MOST_PACKETS:
        hidden = format_plural(len(report.packets) - MOST_PACKETS, "packet")
        yield tag("p", f"and {hidden} more: see --json", class_="dim")


def build_capture(report: Report) -> Iterable[Markup]:
    """Frames and the kernel's counters per vantage."""
    capture = report.capture
    rows = [
        tag(
            "tr",
            _cell(row.name),
            _cell(row.role, "dim"),
            _cell(row.mac),
            _number(format_count(row.frames)),
            _number(format_count(row.received)),
            _bad(row.dropped) if row.dropped is not None else _number(format_count(None)),
        )
        for row in report.vantages
    ]
    if rows:
        yield _tables(("vantage", "role", "MAC"), ("frames", "received", "dropped"), rows)
    size = f"{format_plural(capture.frames, 'frame')}, {format_bytes(capture.bytes)}"
    told = "" if capture.dropped is None else f", {format_count(capture.dropped)} dropped"
    files = f" · {', '.join(capture.files)}" if capture.files else ""
    yield tag("p", f"{size} on all vantages{told}{files}", class_="dim")
