"""Distributions of delays, many of them, in bounded memory: exact while small, then histograms.

Up to EXACT values a group keeps them all. Then they go into a histogram of logarithmic buckets
(64 for each power of two, those below 128 ns one each), of which a quantile is off by less than
1 %. Count, minimum, maximum and mean are exact always. A delay that is negative is none: the
clock was set in between; it is counted apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.native.compiled import compiled, piece

EXACT = 10_000
"""values of a group that are kept as they are"""
_SUB_BITS = 6
_EXACT_BELOW = 1 << (_SUB_BITS + 1)
BUCKETS = (64 - _SUB_BITS) << _SUB_BITS
_FLUSH = 1 << 20
"""values kept before groups are looked for that have too many"""
_MAX = (1 << 63) - 1


def nearest_rank(counts: npt.NDArray[np.int64], quantile: float) -> npt.NDArray[np.int64]:
    """Places of a quantile in so many values in order: the nearest, as Polars counts it."""
    return np.floor(np.maximum(counts - 1, 0) * quantile + 0.5).astype(np.int64)


def percentile(values: Sequence[int], quantile: float) -> int | None:
    """The value nearest to the rank, as `Delays.table` has it; None of no values."""
    place = int(nearest_rank(np.array([len(values)]), quantile)[0])
    return sorted(values)[place] if values else None


class Delays:
    """The distributions of groups 0, 1, 2 …"""

    def __init__(self) -> None:
        self._state = _fresh_state(0)
        self._histogram = np.zeros((0, BUCKETS), np.uint32)
        self._kept: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]] = []
        self._kept_count = 0

    @property
    def negative(self) -> int:
        """How many delays were negative, all groups together."""
        return int(self._state[_NEGATIVE].sum())

    def add(self, groups: npt.NDArray[np.int32], values: npt.NDArray[np.int64]) -> None:
        """Take in ``values`` [n], each of the group with the number ``groups`` [n]."""
        if not len(groups):
            return
        self._make_room(int(groups.max()) + 1)
        rest = np.empty(len(groups), np.int32), np.empty(len(groups), np.int64)
        count = _add(groups, values, self._state, self._histogram, *rest)
        if count:
            self._kept.append((rest[0][:count].copy(), rest[1][:count].copy()))
            self._kept_count += count
        if self._kept_count > _FLUSH:
            self._flush()

    def table(self, quantiles: Sequence[float]) -> pl.DataFrame:
        """One row a group: group, timed (values), min_ns, max_ns, mean_ns, p50_ns …; null: none."""
        self._flush()
        state, some = self._state, self._state[_COUNT] > 0
        columns = {
            "min_ns": pl.Series(state[_MIN]),
            "max_ns": pl.Series(state[_LARGEST]),
            "mean_ns": pl.Series(state[_TOTAL] / np.maximum(state[_COUNT], 1)),
            **{f"p{q * 100:g}_ns": pl.Series(self._quantile(q)) for q in quantiles},
        }
        return pl.DataFrame(
            {
                "group": np.arange(state.shape[1], dtype=np.int32),
                "timed": state[_COUNT],
                **{name: column.set(pl.Series(~some), None) for name, column in columns.items()},
            }
        )

    def _quantile(self, q: float) -> npt.NDArray[np.int64]:
        """[groups] the value nearest to the rank."""
        state = self._state
        rank = nearest_rank(state[_COUNT], q)
        groups, values = self._sorted()
        start = np.searchsorted(groups, np.arange(state.shape[1]))
        found = np.zeros(state.shape[1], np.int64)
        exact = (state[_COUNT] > 0) & (state[_SLOT] < 0)
        found[exact] = values[(start + rank)[exact]]
        for group in np.flatnonzero(state[_SLOT] >= 0):
            below = np.cumsum(self._histogram[state[_SLOT, group]], dtype=np.int64)
            bucket = int(np.searchsorted(below, rank[group], side="right"))
            low, high = state[_MIN, group], state[_LARGEST, group]
            found[group] = min(max(middle_of(bucket), low), high)
        return found

    def _sorted(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """What is kept, by group and value."""
        groups, values = self._all_kept()
        order = np.lexsort((values, groups))
        self._kept = [(groups[order], values[order])]
        return self._kept[0]

    def _all_kept(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        if not self._kept:
            return np.empty(0, np.int32), np.empty(0, np.int64)
        if len(self._kept) == 1:
            return self._kept[0]
        groups, values = zip(*self._kept, strict=True)
        return np.concatenate(groups), np.concatenate(values)

    def _make_room(self, groups: int) -> None:
        have = self._state.shape[1]
        if groups > have:
            state = _fresh_state(max(groups, 2 * have))
            state[:, :have] = self._state
            self._state = state

    def _flush(self) -> None:
        """Give a histogram to every group with more than EXACT values, and its values to it."""
        state = self._state
        large = np.flatnonzero((state[_COUNT] > EXACT) & (state[_SLOT] < 0))
        if len(large):
            have = len(self._histogram)
            state[_SLOT, large] = np.arange(have, have + len(large))
            more = np.zeros((len(large), BUCKETS), np.uint32)
            self._histogram = np.concatenate([self._histogram, more])
        groups, values = self._all_kept()
        into = state[_SLOT, groups] >= 0
        _count(state[_SLOT, groups[into]], values[into], self._histogram)
        self._kept = [(groups[~into], values[~into])]
        self._kept_count = 0


_COUNT, _TOTAL, _MIN, _LARGEST, _SLOT, _NEGATIVE = range(6)
"""rows of the state; _SLOT: the group's histogram, -1 while its values are kept"""


def _fresh_state(groups: int) -> npt.NDArray[np.int64]:
    state = np.zeros((6, groups), np.int64)
    state[_MIN], state[_SLOT] = _MAX, -1
    return state


@piece
def bucket_of(value: Any) -> Any:
    """Number of the value's bucket: its highest bits, after their place."""
    shift = np.int64(0)
    rest = value
    while rest >= _EXACT_BELOW:
        rest >>= 1
        shift += 1
    return (shift << _SUB_BITS) + rest


def middle_of(bucket: int) -> int:
    """The value in the middle of a bucket."""
    if bucket < _EXACT_BELOW:
        return bucket
    shift = (bucket >> _SUB_BITS) - 1
    low = (bucket - (shift << _SUB_BITS)) << shift
    return low + (1 << shift) // 2


@compiled
def _add(
    groups: Any, values: Any, state: Any, histogram: Any, rest_groups: Any, rest_values: Any
) -> Any:
    """Into the state and the histograms; what belongs to none goes to ``rest_…``: how many."""
    rest = 0
    for row in range(len(groups)):
        group, value = groups[row], values[row]
        if value < 0:
            state[_NEGATIVE, group] += 1
            continue
        state[_COUNT, group] += 1
        state[_TOTAL, group] += value
        state[_MIN, group] = min(state[_MIN, group], value)
        state[_LARGEST, group] = max(state[_LARGEST, group], value)
        slot = state[_SLOT, group]
        if slot >= 0:
            histogram[slot, bucket_of(value)] += 1
        else:
            rest_groups[rest], rest_values[rest] = group, value
            rest += 1
    return rest


@compiled
def _count(slots: Any, values: Any, histogram: Any) -> None:
    for row in range(len(slots)):
        histogram[slots[row], bucket_of(values[row])] += 1
