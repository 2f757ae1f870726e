"""Tables of the HTML page: their cells, and how long ones are folded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from analyzer.formatting.numbers import format_count
from analyzer.report.html.markup import Markup, join, tag

ROWS = 60
"""of a table that are shown at once; the rest is folded away"""
_FEW = 10
"""rows more are not worth folding"""


def cell(value: str | Markup, class_: str = "") -> Markup:
    """A cell of words."""
    return tag("td", value, class_=class_ or None)


def number(text: str, class_: str = "") -> Markup:
    """A cell that stands to the right."""
    return cell(text, f"n {class_}".strip())


def bad_number(count: int) -> Markup:
    """A count that should be 0."""
    return number(format_count(count), "bad" if count else "")


def folding_table(words: Sequence[str], numbers: Sequence[str], rows: Sequence[Markup]) -> Markup:
    """A table; of a long one all but the first rows are folded away."""
    first, rest = rows[:ROWS], rows[ROWS:]
    if len(rest) < _FEW:
        return table(words, numbers, rows)
    more = folded(f"{format_count(len(rest))} more", table(words, numbers, rest))
    return join(table(words, numbers, first), more)


def folded(words: str, *content: Markup) -> Markup:
    """What is seen once it is asked for."""
    return tag("details", tag("summary", words), *content)


def table(words: Sequence[str], numbers: Sequence[str], rows: Iterable[Markup]) -> Markup:
    """A table: columns of words, then of numbers."""
    head = [tag("th", w, scope="col", class_="kind" if w == "kind" else None) for w in words]
    head += [tag("th", n, scope="col", class_="n") for n in numbers]
    element = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *rows))
    return tag("div", element, class_="scroll", tabindex=0)


def blank(span: int, class_: str | None = None) -> Markup:
    """Cells without content."""
    return tag("td", colspan=span, class_=class_)
