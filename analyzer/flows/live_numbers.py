"""Numbers for what is kept of strangers: beyond a bound, what was seen least recently is forgotten.

Whoever sends frames can make a name, a pair or a question of each. A table whose rows are numbered
here holds no more than ``most`` of them, and what one batch adds: where there are more, the half
that was seen last stays, with new numbers, and the others are counted (`LiveNumbers.forgotten`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.native.keys import KeyNumbers

MOST = 50_000
"""names, ways and open questions that are kept at a time"""
ROWS = 20_000
"""rows of one kind of flow"""
OTHERS = "(others)"
"""the ends of what is counted together; no container is called so"""


class LiveNumbers:
    """Numbers 0, 1, 2 … for the keys that were seen last."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.forgotten = 0
        """how many keys are gone (one that came back is counted again)"""
        self._keys = KeyNumbers()
        self._used = np.zeros(0, np.int64)
        """by key, the batch that held it last"""
        self._batch = 0

    @property
    def count(self) -> int:
        return self._keys.count

    def take(
        self, keys: npt.NDArray[np.uint64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """([n] number of each key, rows at which a new number appeared, in order)."""
        numbers, fresh = self._keys.take(keys)
        more = self.count - len(self._used)
        if more:
            self._used = np.concatenate([self._used, np.zeros(more, np.int64)])
        self._batch += 1
        self._used[numbers] = self._batch
        return numbers, fresh

    def find(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
        """[n] the number of each key; -1: it has none."""
        return self._keys.find(keys)

    def shed(self, first: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.int64] | None:
        """[kept] the keys that stay where there are too many, by the numbers that they have had,
        in order; None: all of them. first: [count] those that stay rather than others."""
        kept = self.latest(first)
        if kept is not None:
            self.keep(kept)
        return kept

    def latest(self, first: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.int64] | None:
        """What `shed` would keep."""
        if self.count <= self.most:
            return None
        ranks = (self._used,) if first is None else (self._used, first)
        return np.sort(np.lexsort(ranks)[-(self.most // 2) :])

    def keep(self, kept: npt.NDArray[np.int64]) -> None:
        """Only these keys: they get the numbers 0, 1, 2 …, in this order."""
        self.forgotten += self.count - len(kept)
        self._keys.keep(kept)
        self._used = self._used[kept]


def new_numbers(kept: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """[count] the number that each of the ``count`` keys has from now on; -1: it is gone."""
    new = np.full(count, -1, np.int64)
    new[kept] = np.arange(len(kept))
    return new


def latest_rows(table: pl.DataFrame, by: str, most: int = ROWS) -> pl.DataFrame:
    """The half of ``most`` with the largest ``by``, in their order, where there are more than
    ``most``; else all."""
    if len(table) <= most:
        return table
    return table[np.sort(np.argsort(table[by].to_numpy(), kind="stable")[-(most // 2) :])]
