"""Logarithmic histograms of times, very many of them, by which a quantile is off by less than 1 %.

64 buckets for each power of two, those below 128 ns one each. A bucket is there only once something
falls into it: most groups are small.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.model.ranks import nearest_rank
from analyzer.native.compiled import compiled, piece
from analyzer.native.keys import KeyNumbers

_SUB_BITS = 6
_EXACT_BELOW = 1 << (_SUB_BITS + 1)
_BUCKET_BITS = 16
_BUCKET = np.uint64((1 << _BUCKET_BITS) - 1)


class Histograms:
    """Those of groups 0, 1, 2 …"""

    def __init__(self) -> None:
        self._numbers = KeyNumbers()
        self._keys: list[npt.NDArray[np.uint64]] = []
        self._counts = np.zeros(0, np.int64)

    def add(self, groups: npt.NDArray[Any], values: npt.NDArray[np.int64]) -> None:
        """Take in ``values`` [n], each of the group with the number ``groups`` [n]; negative ones
        are none."""
        keys = np.empty(len(groups), np.uint64)
        keys = keys[: _bucket_keys(groups.astype(np.int64, copy=False), values, keys)]
        numbers, fresh = self._numbers.take(keys)
        self._keys.append(keys[fresh])
        self._counts = np.concatenate([self._counts, np.zeros(len(fresh), np.int64)])
        self._counts += np.bincount(numbers, minlength=len(self._counts))

    def regrouped(self, of_group: npt.NDArray[np.int64]) -> Histograms:
        """Those of other groups. of_group: [groups] the number of each one's new group; negative:
        it is left out."""
        keys = np.concatenate([np.empty(0, np.uint64), *self._keys])
        group = of_group[(keys >> np.uint64(_BUCKET_BITS)).astype(np.intp)]
        kept, made = group >= 0, Histograms()
        new = group[kept].astype(np.uint64) << np.uint64(_BUCKET_BITS) | keys[kept] & _BUCKET
        numbers, fresh = made._numbers.take(new)
        made._keys = [new[fresh]]
        made._counts = np.zeros(len(fresh), np.int64)
        np.add.at(made._counts, numbers, self._counts[kept])
        return made

    def quantiles(self, groups: int, quantile: float) -> pl.Series:
        """[groups] the middle of the bucket nearest to the rank; null: no values."""
        keys = np.concatenate([np.empty(0, np.uint64), *self._keys])
        order = np.argsort(keys, kind="stable")
        group = (keys[order] >> np.uint64(_BUCKET_BITS)).astype(np.int64)
        start = np.searchsorted(group, np.arange(groups + 1))
        below = np.concatenate([[0], np.cumsum(self._counts[order])])
        total = below[start[1:]] - below[start[:-1]]
        rank = nearest_rank(total, quantile)
        place = np.searchsorted(below, below[start[:-1]] + rank, side="right") - 1
        buckets = (keys[order] & _BUCKET).tolist()
        middles = np.array([*map(_middle_of, buckets), 0], np.int64)
        times = pl.Series(middles[np.minimum(place, len(buckets))])
        return times.set(pl.Series(total == 0), None)


@piece
def _bucket_of(value: Any) -> Any:
    """Number of the value's bucket: its highest bits, after their place."""
    shift = np.int64(0)
    rest = value
    while rest >= _EXACT_BELOW:
        rest >>= 1
        shift += 1
    return (shift << _SUB_BITS) + rest


def _middle_of(bucket: int) -> int:
    """The value in the middle of a bucket."""
    if bucket < _EXACT_BELOW:
        return bucket
    shift = (bucket >> _SUB_BITS) - 1
    low = (bucket - (shift << _SUB_BITS)) << shift
    return low + (1 << shift) // 2


@compiled
def _bucket_keys(groups: Any, values: Any, keys: Any) -> Any:
    """Fill ``keys`` with group << 16 | bucket of the values that are not negative; how many."""
    count = 0
    for row in range(len(groups)):
        if values[row] >= 0:
            bucket = np.uint64(_bucket_of(values[row]))
            keys[count] = np.uint64(groups[row]) << np.uint64(_BUCKET_BITS) | bucket
            count += 1
    return count
