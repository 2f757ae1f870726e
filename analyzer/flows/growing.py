"""Tables of counts that grow with what is counted: [facts, groups], a column a group."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl


def widened(
    table: npt.NDArray[np.int64], groups: int, fill: int = 0, *, spare: bool = False
) -> npt.NDArray[np.int64]:
    """The table with at least ``groups`` columns, new ones with ``fill`` in every row.

    spare: twice the room at a time, for tables of which columns that nobody has yet do no harm.
    """
    have = table.shape[1]
    if groups <= have:
        return table
    new = max(groups, 2 * have) - have if spare else groups - have
    return np.concatenate([table, np.full((len(table), new), fill, np.int64)], axis=1)


def padded(values: pl.Series, groups: int) -> pl.Series:
    """The values of all groups: null for those that have none."""
    missing = groups - len(values)
    return values.extend_constant(None, missing) if missing > 0 else values.head(groups)
