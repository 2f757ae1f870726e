"""Columns of a table as the NamedTuple that a compiled loop takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy.typing as npt
import polars as pl

B = TypeVar("B", bound=NamedTuple)


def bundle(kind: type[B], table: pl.DataFrame | Mapping[str, npt.NDArray[Any]]) -> B:
    """The columns that are called as the fields of ``kind`` are."""
    columns = (table[name] for name in kind._fields)
    return kind._make(c.to_numpy() if isinstance(c, pl.Series) else c for c in columns)
