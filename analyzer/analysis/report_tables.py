"""The rows of a report as tables, named and typed alike whether there are rows or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from msgspec import Struct
from msgspec.structs import asdict

from analyzer.flows.registry import flow_kinds
from analyzer.model.fields import field_annotations
from analyzer.model.report import HopRow, LossRow, Report, VantageRow

_TYPES = {
    "str": pl.String(),
    "bool": pl.Boolean(),
    "int": pl.Int64(),
    "int | None": pl.Int64(),
    "bool | None": pl.Boolean(),
    "float | None": pl.Float64(),
    "list[str]": pl.List(pl.String()),
}
"""Polars types of the report's fields, by their annotations"""


def report_tables(report: Report) -> dict[str, pl.DataFrame]:
    """Table by name: hops, each kind of flow, losses, vantages."""
    return {
        "hops": _table(report.hops, HopRow),
        **{
            kind.name: _table(report.flows.get(kind.name, ()), kind.row, *kind.nested)
            for kind in flow_kinds()
        },
        "losses": _table(report.losses, LossRow),
        "vantages": _table(report.vantages, VantageRow),
    }


def _table(rows: Sequence[Any], kind: type[Struct], *left_out: str) -> pl.DataFrame:
    """The report's rows of one kind, the columns named as in its JSON; typed without rows, too."""
    written = field_annotations(kind)
    schema = {name: _TYPES[text] for name, text in written.items() if name not in left_out}
    table = pl.DataFrame([asdict(row) for row in rows], schema=schema)
    return table.rename({name: name.rstrip("_") for name in schema})
