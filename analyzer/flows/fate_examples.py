"""The first packet of each fate: the way that it took, and where it was seen.

Kept in columns: floods with forged addresses make a fate of each packet.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.packets import path_matrix
from analyzer.model.batch import Batch
from analyzer.model.frames import EXAMPLE
from analyzer.model.journeys import Hop, Journeys, Status

_NOWHERE = -1 << 30
"""no vantage and no hop: what a row of places does not have"""
_PARTS = 64
"""tables that are kept before they are made one"""


class FateExamples:
    """By the numbers of fates."""

    def __init__(self) -> None:
        self._rows: list[pl.DataFrame] = []
        """later ones are right"""
        self._ends: dict[int, tuple[int, dict[str, int]]] = {}

    def ends(self) -> dict[int, dict[str, int]]:
        """By the number of a lost fate's first packet: EXAMPLE of the last frame of it."""
        return dict(self._ends.values())

    def table(self) -> pl.DataFrame:
        """One row a fate, in order: ts_ns, path, hops, seen."""
        return self._latest().drop("fate")

    def renumber(self, new: npt.NDArray[np.int64]) -> None:
        """Give fates their new numbers; those that are gone have -1."""
        if self._rows:
            rows = self._latest()
            rows = rows.with_columns(pl.Series("fate", new[rows["fate"].to_numpy()]))
            self._rows = [rows.filter(pl.col("fate") >= 0)]
        self._ends = {int(new[old]): end for old, end in self._ends.items() if new[old] >= 0}

    def _latest(self) -> pl.DataFrame:
        return pl.concat(self._rows).unique("fate", keep="last").sort("fate")

    def keep(self, batch: Batch, fates: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> None:
        """The ways of the packets that are the first of their fate."""
        packets = batch.packets[rows]
        last = packets["last_frame"].to_numpy().astype(np.intp)
        paths = path_matrix(last, batch.journeys.parent)
        vantage, hop = batch.frames["vantage"], batch.journeys.hop
        lost = np.flatnonzero(packets["status"].to_numpy() == Status.LOST)
        places = np.where(paths >= 0, vantage[paths], _NOWHERE)
        hops = np.where(paths[:, 1:] >= 0, hop[paths[:, 1:]].astype(np.int32), _NOWHERE)
        seen = np.full((len(fates), 2 * paths.shape[1]), _NOWHERE)
        if len(lost):
            seen[lost] = _seen(paths[lost], batch.journeys, vantage)
        columns = {"path": places, "hops": hops, "seen": seen}
        self._rows.append(
            pl.DataFrame(
                {
                    "fate": fates,
                    "ts_ns": packets["ts_ns"],
                    **{name: _lists(matrix) for name, matrix in columns.items()},
                }
            )
        )
        if len(self._rows) > _PARTS:
            self._rows = [self._latest()]
        numbers = packets["number"].to_numpy()[lost].tolist()
        told = zip(*(batch.frames[name][last[lost]].tolist() for name in EXAMPLE), strict=True)
        for fate, number, values in zip(fates[lost].tolist(), numbers, told, strict=True):
            self._ends[fate] = number, dict(zip(EXAMPLE, values, strict=True))


def _lists(matrix: npt.NDArray[Any]) -> pl.Series:
    """[rows] the values of each row, without _NOWHERE: those of one length are made together."""
    kept = matrix != _NOWHERE
    lengths = kept.sum(axis=1)
    parts, order = [], []
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        order.append(rows)
        values = matrix[rows][kept[rows]].reshape(len(rows), length).astype(np.int64)
        of_part = pl.Series(values).arr.to_list() if length else pl.Series([[]] * len(rows))
        parts.append(of_part.cast(pl.List(pl.Int64)))
    return pl.concat(parts).gather(np.argsort(np.concatenate(order)))


def _seen(
    paths: npt.NDArray[np.int32], journeys: Journeys, vantage: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """[packets, places] vantages along lost packets' paths, the bridge's copy after its ingress
    port; _NOWHERE beside them."""
    copy = np.full(len(journeys.parent), -1, np.int32)
    copies = np.flatnonzero(journeys.hop == Hop.COPY)
    copy[journeys.parent[copies]] = copies
    frames = np.stack([paths, np.where(paths >= 0, copy[paths], -1)], axis=2)
    frames = frames.reshape(len(paths), -1)
    seen: npt.NDArray[np.int32] = np.where(frames >= 0, vantage[frames], _NOWHERE)
    return seen
