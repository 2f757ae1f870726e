"""The hop table of the HTML page, and one echo that adds up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analyzer.formatting.numbers import format_count, format_ns, format_plural, format_us_exact
from analyzer.model.report import HopRow, Report
from analyzer.report import view
from analyzer.report.echo_words import turnaround_words
from analyzer.report.html.markup import Markup, tag
from analyzer.report.html.tables import ROWS, bad_number, blank, cell, folded, number, table


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
        yield folded(format_plural(hidden, "more hop"), _hop_table(rest))
    if left_out := report.more_rows("hops"):
        yield tag("p", f"and {format_plural(left_out, 'more hop')}: see --json", class_="dim")
    yield from (tag("p", note, class_="dim") for note in view.footnotes(report))
    for echo in filter(None, [view.example_echo(view.main_conversation(report))]):
        total = tag("strong", f" = {format_us_exact(echo.rtt_ns or 0)} µs")
        terms = f"seq {echo.seq}: {view.echo_terms(echo)}"
        yield tag("p", view.NOTE_PERCENTILES, " ", tag("span", terms), total)


def _hop_table(rows: Sequence[Markup]) -> Markup:
    return table(("hop", "kind"), ("packets", "lost", "p50", "p99", "max"), rows)


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
            turn = number(format_ns(icmp.turnaround_p50_ns))
            yield tag(
                "tr",
                cell(turnaround_words(icmp)),
                blank(1, "kind"),
                blank(2),
                turn,
                blank(2),
            )
    if icmp and icmp.rtt_p50_ns is not None:
        times = (icmp.rtt_p50_ns, icmp.rtt_p99_ns, icmp.rtt_max_ns)
        yield tag(
            "tr",
            cell(f"RTT at {icmp.measured_at}".removesuffix(" at "), "sum"),
            cell("", "kind"),
            number(format_count(icmp.answered)),
            bad_number(icmp.lost),
            *(number(format_ns(ns), "sum") for ns in times),
        )


def _hop_row(row: HopRow) -> Markup:
    times = (row.p50_ns, row.p99_ns, row.max_ns)
    return tag(
        "tr",
        cell(f"{row.from_} → {row.to}"),
        cell(row.kind, "dim kind"),
        number(format_count(row.packets)),
        bad_number(row.lost),
        *(number(format_ns(ns)) for ns in times),
    )
