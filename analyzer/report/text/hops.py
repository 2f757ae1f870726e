"""The hop table of the report on a terminal, and one echo that adds up."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from analyzer.formatting.numbers import format_count, format_ns, format_plural, format_us_exact
from analyzer.model.echo_rows import Echo
from analyzer.model.report import HopRow, Report
from analyzer.report import view
from analyzer.report.echo_words import turnaround_words
from analyzer.report.text.tables import bad_count, new_table, pair_title

HOP_ROWS = 60
"""so many rows of the hop table are printed; the rest is in the JSON"""


def hop_parts(report: Report) -> Iterable[RenderableType]:
    """The hop table, what has to be known to read it, and one echo that adds up."""
    sections = view.hop_sections(report)
    if not sections:
        return
    table = new_table(("", ""), ("pkts", "lost", "p50", "p99", "max"))
    hidden = report.more_rows("hops")
    for section in sections:
        if table.row_count >= HOP_ROWS:
            hidden += len(section.there) + len(section.back)
            continue
        _add_section(table, section)
        hidden += sum(max(len(rows) - HOP_ROWS, 0) for rows in (section.there, section.back))
    yield table
    if hidden:
        yield Text(f"and {format_plural(hidden, 'more hop')}: see --json", "dim")
    yield from (Text(note, "dim") for note in view.footnotes(report))
    example = view.example_echo(view.main_conversation(report))
    if example:
        yield Text()
        yield Text(view.NOTE_PERCENTILES, "dim")
        yield _example(example)


def _add_section(table: Table, section: view.HopSection) -> None:
    """Request, turnaround, reply, RTT."""
    if table.row_count:
        table.add_row()
    icmp = section.icmp
    ends = (section.source, section.destination)
    for rows, (source, destination) in ((section.there, ends), (section.back, ends[::-1])):
        if rows:
            table.add_row(pair_title(source, destination, section.protocol))
        for row in rows[:HOP_ROWS]:
            table.add_row(*_hop_cells(row))
        if rows is section.there and icmp and icmp.turnaround_p50_ns is not None:
            table.add_row(
                Text(f"  {turnaround_words(icmp)}"),
                "",
                "",
                "",
                Text(format_ns(icmp.turnaround_p50_ns)),
            )
    if icmp and icmp.rtt_p50_ns is not None:
        rtt = (icmp.rtt_p50_ns, icmp.rtt_p99_ns, icmp.rtt_max_ns)
        where = f" at {icmp.measured_at}" if icmp.measured_at else ""
        table.add_row(
            Text(f"RTT{where}", "bold"),
            "",
            Text(format_count(icmp.answered)),
            bad_count(icmp.lost),
            *(Text(format_ns(ns), "bold") for ns in rtt),
        )


def _hop_cells(row: HopRow) -> list[RenderableType]:
    style = "green" if row.kind == "bridge" else ""
    return [
        Padding(Text.assemble(row.from_, (" → ", "dim"), row.to), (0, 0, 0, 2)),
        Text(row.kind, "dim"),
        Text(format_count(row.packets)),
        bad_count(row.lost),
        *(Text(format_ns(ns), style) for ns in (row.p50_ns, row.p99_ns, row.max_ns)),
    ]


def _example(echo: Echo) -> RenderableType:
    """One echo, its pieces and their sum, in microseconds with all digits."""
    line = Text.assemble((f"seq {echo.seq}: ", "dim"), view.echo_terms(echo))
    line.append(f" = {format_us_exact(echo.rtt_ns or 0)} µs", "bold")
    return Padding(line, (0, 0, 0, 2))
