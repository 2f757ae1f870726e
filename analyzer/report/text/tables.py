"""Tables and lists of the report on a terminal, in one look."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from analyzer.formatting.numbers import format_count
from analyzer.report.text.path import LEVELS


def new_table(words: Sequence[str], numbers: Sequence[str]) -> Table:
    """A table of our look: columns of words may fold, numbers stand to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in words:
        table.add_column(column, overflow="fold")
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def bad_count(count: int) -> Text:
    """A count that should be 0."""
    return Text(format_count(count), LEVELS["bad"]) if count else Text("0")


def pair_title(source: str, destination: str, protocol: str) -> Text:
    """Whose packets: ``tomcat01 → tomcat02  icmp``."""
    way = Text.assemble(source, (" → ", "dim"), destination, (f"  {protocol}", "dim"))
    way.stylize("bold", 0, len(source) + len(destination) + 3)
    return way


def listed(rows: Sequence[tuple[Text, ...]], indent: int) -> RenderableType:
    """Rows below each other, without a head."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    for row in rows:
        grid.add_row(*row)
    return Padding(grid, (0, 0, 0, indent))
