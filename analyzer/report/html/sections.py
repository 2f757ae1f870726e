"""The sections of the HTML page, one function a section; each yields nothing where it is empty."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import islice

from analyzer.flows.arp_rows import answer_piece, arp_size
from analyzer.formatting.numbers import (
    NONE,
    format_bytes,
    format_count,
    format_ns,
    format_plural,
)
from analyzer.model.report import Report, Verdict
from analyzer.report import view
from analyzer.report.drawn import drawn_paths
from analyzer.report.echo_words import losses_known
from analyzer.report.html.markup import Markup, join, tag
from analyzer.report.html.path import draw_path_svg
from analyzer.report.html.plots import ECHOES, draw_delays, draw_echoes, legend
from analyzer.report.html.tables import bad_number, cell, folded, folding_table, number
from analyzer.report.sheets import Sheet
from analyzer.report.shown import ROWS_ON_PAGE, findings_by_severity, shown

MOST_PACKETS = 20_000
"""rows of a page; a browser has trouble with more"""


_listed = partial(shown, most=ROWS_ON_PAGE)


def leveled(text: str, level: str) -> Markup:
    """A piece of text as good, bad or doubtful news."""
    return tag("span", text, class_=level or None)


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


def build_icmp(report: Report) -> Iterable[Markup]:
    """The echo conversations, and the wire against the pinging process."""
    if not report.icmp:
        return
    rows, known = [], losses_known(report)
    chosen, more = _listed(
        report.icmp, "conversation", lambda row: row.sent, left_out=report.more_rows("icmp")
    )
    for row in chosen:
        times = (row.rtt_min_ns, row.rtt_p50_ns, row.rtt_p99_ns, row.rtt_max_ns)
        rows.append(
            tag(
                "tr",
                cell(f"{row.source} → {row.destination}"),
                number(format_count(row.sent)),
                number(format_count(row.answered)),
                bad_number(row.lost) if known or row.lost else number(NONE),
                bad_number(row.duplicates),
                *(number(format_ns(ns)) for ns in times),
            )
        )
    numbers = ("sent", "answered", "lost", "duplicates", "min", "p50", "p99", "max")
    yield folding_table(("conversation",), numbers, rows)
    yield from _more(more)
    yield from (tag("p", text) for text in map(view.two_views, chosen) if text)


def _more(words: str) -> Iterable[Markup]:
    """How many rows are not shown."""
    if words:
        yield tag("p", words, class_="dim")


def build_arp(report: Report) -> Iterable[Markup]:
    """Who asked for whom and who answered."""
    rows = []
    chosen, more = _listed(report.arp, "pair", arp_size, left_out=report.more_rows("arp"))
    for row in chosen:
        answer = answer_piece(row)
        rows.append(
            tag(
                "tr",
                cell(row.asker),
                cell(row.target_ip),
                cell(answer.text, answer.level),
                number(format_count(row.requests)),
                number(format_count(row.replies)),
                number(format_ns(row.latency_p50_ns)),
                number(format_ns(row.latency_max_ns)),
            )
        )
    if rows:
        numbers = ("requests", "replies", "p50", "max")
        yield folding_table(("who asks", "for whom", "answer"), numbers, rows)
        yield from _more(more)


def build_sheet(sheet: Sheet, report: Report) -> Iterable[Markup]:
    """One sheet of flows."""
    words = len(sheet.words)
    rows = [
        tag(
            "tr",
            *(cell(piece.text, piece.level) for piece in row[:words]),
            *(number(piece.text, piece.level) for piece in row[words:]),
        )
        for row in sheet.rows
    ]
    yield folding_table(sheet.words, sheet.numbers, rows)
    if sheet.more:
        yield tag("p", sheet.more, class_="dim")


def build_losses(report: Report) -> Iterable[Markup]:
    """What was lost where, with reason and advice."""
    chosen, more = _listed(report.losses, "loss", lambda row: row.packets)
    for row in chosen:
        what = f"✗ {format_plural(row.packets, f'{row.protocol} packet')} "
        where = f" lost {row.location}" if row.location else ""
        ends = f"{row.source} → {row.destination}"
        yield tag("p", leveled(what + ends, "bad"), where, class_="item")
        lines = view.loss_lines(row)
        yield tag("dl", *(join(tag("dt", label), tag("dd", text)) for label, text in lines))
    yield from _more(more)


def build_verdicts(report: Report) -> Iterable[Markup]:
    """The verdicts with their evidence."""
    left_out = report.more_rows("verdicts")
    verdicts, more = _listed(report.verdicts, "pair", view.verdict_size, left_out=left_out)
    brief = view.brief_verdicts(verdicts)
    for place, verdict in enumerate(verdicts):
        yield _verdict(verdict)
        facts = [
            tag("li", leveled(view.MARKS[f.holds], view.FACT_LEVELS[f.holds]), f"  {f.fact}")
            for f in view.known_facts(verdict)
        ]
        evidence = tag("ul", *facts, class_="facts")
        if facts:
            yield folded("evidence", evidence) if place in brief else evidence
    yield from _more(more)


def _verdict(verdict: Verdict) -> Markup:
    mark, claim, packets = view.verdict_pieces(verdict)
    count = tag("span", f", {packets}", class_="dim")
    reason = tag("span", f": {verdict.reason}") if verdict.reason else None
    words = tag("strong", mark.text, class_=mark.level)
    return tag("p", words, f"  {claim}", count, reason, class_="item")


def build_findings(report: Report) -> Iterable[Markup]:
    """The findings, errors first."""
    for finding in findings_by_severity(report):
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
                cell(str(row.id)),
                cell(row.protocol),
                cell(f"{row.source} → {row.destination}"),
                cell("; NAT: ".join([row.summary + likely, *row.translated])),
                cell(deltas, "dim"),
                cell(view.packet_end(row)),
            )
        )
    if rows:
        yield folding_table(("id", "protocol", "packet", "summary", "seen at", "end"), (), rows)
    if len(report.packets) > MOST_PACKETS:
        hidden = format_plural(len(report.packets) - MOST_PACKETS, "packet")
        yield tag("p", f"and {hidden} more: see --json", class_="dim")


def build_capture(report: Report) -> Iterable[Markup]:
    """Frames and the kernel's counters per vantage."""
    capture = report.capture
    vantages, more = _listed(report.vantages, "vantage", lambda row: row.frames)
    rows = [
        tag(
            "tr",
            cell(row.name),
            cell(row.role, "dim"),
            cell(row.mac),
            number(format_count(row.frames)),
            number(format_count(row.received)),
            bad_number(row.dropped) if row.dropped is not None else number(format_count(None)),
        )
        for row in vantages
    ]
    if rows:
        yield folding_table(("vantage", "role", "MAC"), ("frames", "received", "dropped"), rows)
        yield from _more(more)
    size = f"{format_plural(capture.frames, 'frame')}, {format_bytes(capture.bytes)}"
    drops = "" if capture.dropped is None else f", {format_count(capture.dropped)} dropped"
    files = f" · {', '.join(capture.files)}" if capture.files else ""
    yield tag("p", f"{size} on all vantages{drops}{files}", class_="dim")
