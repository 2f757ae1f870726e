"""The flows as sheets: titles, columns and cells that both renderers show alike.

The rows are the report's own, the largest first, and no more than a screen holds: all of them are
in the JSON. What is shown of each kind stands in its descriptor (`analyzer.flows.registry`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from analyzer.flows.kind import SheetForm
from analyzer.flows.registry import flow_kinds
from analyzer.formatting.numbers import format_plural
from analyzer.formatting.pieces import Piece
from analyzer.model.ranks import largest
from analyzer.model.report import LeftOut, Report
from analyzer.report.echo_words import losses_known

LOST = "lost"
UNKNOWN = "–"
ROWS = 15
"""of a sheet; more are counted"""


class Sheet(Struct, frozen=True):
    """A table as it is shown."""

    title: str
    note: str
    words: tuple[str, ...]
    """titles of the columns of words, which come first"""
    numbers: tuple[str, ...]
    rows: list[tuple[Piece, ...]]
    more: str
    """what was left out, in words; empty where nothing was"""


def flow_sheets(report: Report) -> list[Sheet]:
    """Those that have rows, in the order in which they are shown."""
    known = losses_known(report)
    made = [
        (kind.sheet.place, _sheet(kind.sheet, rows, known, report.more_rows(kind.name)))
        for kind in flow_kinds()
        if kind.sheet and (rows := report.flows.get(kind.name))
    ]
    return [sheet for _, sheet in sorted(made, key=lambda one: one[0])]


def cut_sheets(report: Report) -> Report:
    """The report with no more rows of the kinds that are shown as sheets than are shown."""
    flows, left_out = dict(report.flows), dict(report.left_out)
    for kind in flow_kinds():
        rows = flows.get(kind.name, ())
        if kind.sheet and len(rows) > ROWS:
            flows[kind.name] = largest(rows, ROWS, kind.sheet.size)
            more = len(rows) - ROWS + report.more_rows(kind.name)
            left_out[kind.name] = LeftOut(more, [])
    return replace(report, flows=flows, left_out=left_out)


def _sheet(form: SheetForm, rows: Sequence[Any], known: bool = True, left_out: int = 0) -> Sheet:
    """known: the topology tells where packets have to come to; else none can be missed. left_out:
    rows that the report does not have."""
    hidden = len(rows) - ROWS + left_out
    ordered = sorted(rows, key=form.size, reverse=True) if form.size else rows
    return Sheet(
        title=form.title,
        note=form.note,
        words=form.words,
        numbers=form.numbers,
        rows=[_cells(form, row, known) for row in ordered[:ROWS]],
        more=f"and {format_plural(hidden, f'more {form.noun}')}: see --json" if hidden > 0 else "",
    )


def _cells(form: SheetForm, row: Any, known: bool) -> tuple[Piece, ...]:
    cells = tuple(form.cells(row))
    if known or LOST not in form.numbers:
        return cells
    at = len(form.words) + form.numbers.index(LOST)
    return (*cells[:at], Piece(UNKNOWN), *cells[at + 1 :])
