"""Tables of counts that grow with what is counted: [facts, groups], a column a group."""

from __future__ import annotations

from typing import NamedTuple

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


class Kept(NamedTuple):
    """The conversations that go on where there are too many: they get new numbers, in order."""

    conversations: npt.NDArray[np.int64]
    """[kept] the numbers that they have had"""
    flows: npt.NDArray[np.int64]
    """[2 · kept] those of their flows: 2 · conversation, + 1 for the other direction"""
    new_flow: npt.NDArray[np.int64]
    """[flows before] the number that each flow has from now on; -1: it is gone"""

    @classmethod
    def of(cls, conversations: npt.NDArray[np.int64], count: int) -> Kept:
        """conversations: those that are kept, of ``count``."""
        flows = np.stack([2 * conversations, 2 * conversations + 1], axis=1).ravel()
        new_flow = np.full(2 * count, -1, np.int64)
        new_flow[flows] = np.arange(len(flows))
        return cls(conversations, flows, new_flow)
