"""Distributions of delays, many of them, in bounded memory: exact while small, then histograms.

Up to EXACT values a group keeps them all. Then they go into a histogram of logarithmic buckets
(`analyzer.flows.histograms`), of which a quantile is off by less than 1 %. Count, minimum, maximum
and mean are exact always. A delay that is negative is none: the clock was set in between; it is
counted apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.histograms import Histograms
from analyzer.flows.live_numbers import new_numbers
from analyzer.model.ranks import nearest_rank
from analyzer.native.compiled import compiled

EXACT = 10_000
"""values of a group that are kept as they are"""
_FLUSH = 1 << 20
"""values kept before groups are looked for that have too many"""
_MAX = (1 << 63) - 1


class Delays:
    """The distributions of groups 0, 1, 2 …"""

    def __init__(self) -> None:
        self._state = _fresh_state(0)
        self._histograms = Histograms()
        self._kept: list[tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]] = []
        self._kept_count = 0
        self._negative = 0
        """of groups that are not kept any more"""

    @property
    def negative(self) -> int:
        """How many delays were negative, all groups together."""
        return self._negative + int(self._state[_NEGATIVE].sum())

    def add(self, groups: npt.NDArray[np.int32], values: npt.NDArray[np.int64]) -> None:
        """Take in ``values`` [n], each of the group with the number ``groups`` [n]."""
        if not len(groups):
            return
        self._make_room(int(groups.max()) + 1)
        _add(groups, values, self._state)
        large = self._state[_LARGE, groups] == 1
        if large.any():
            self._histograms.add(groups[large], values[large])
        kept = ~large & (values >= 0)
        if kept.any():
            self._kept.append((groups[kept], values[kept]))
            self._kept_count += len(self._kept[-1][0])
        if self._kept_count > _FLUSH:
            self._flush()

    def keep(self, groups: npt.NDArray[np.int64]) -> None:
        """Only these groups: they get the numbers 0, 1, 2 …, in this order."""
        self._make_room(int(groups.max(initial=-1)) + 1)
        self._flush()
        new = new_numbers(groups, self._state.shape[1])
        of_value, values = self._all_kept()
        stay = new[of_value] >= 0
        self._kept = [(new[of_value[stay]].astype(np.int32), values[stay])]
        self._histograms = self._histograms.regrouped(new)
        self._negative += int(self._state[_NEGATIVE, new < 0].sum())
        self._state = self._state[:, groups]

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
        exact = (state[_COUNT] > 0) & (state[_LARGE] == 0)
        at_rank = np.zeros(state.shape[1], np.int64)
        if state[_LARGE].any():
            middles = self._histograms.quantiles(state.shape[1], q).fill_null(0).to_numpy()
            at_rank = np.clip(middles, state[_MIN], state[_LARGEST])
        at_rank[exact] = values[(start + rank)[exact]]
        return at_rank

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
        """Move the values of groups with more than EXACT into histograms."""
        state = self._state
        state[_LARGE] = state[_COUNT] > EXACT
        groups, values = self._all_kept()
        large = state[_LARGE, groups] == 1
        if large.any():
            self._histograms.add(groups[large], values[large])
            groups, values = groups[~large], values[~large]
        self._kept = [(groups, values)]
        self._kept_count = 0


_COUNT, _TOTAL, _MIN, _LARGEST, _LARGE, _NEGATIVE = range(6)
"""rows of the state; _LARGE: 1 where the group has a histogram, 0 while its values are kept"""


def _fresh_state(groups: int) -> npt.NDArray[np.int64]:
    state = np.zeros((6, groups), np.int64)
    state[_MIN] = _MAX
    return state


@compiled
def _add(groups: Any, values: Any, state: Any) -> None:
    """Into the state."""
    for row in range(len(groups)):
        group, value = groups[row], values[row]
        if value < 0:
            state[_NEGATIVE, group] += 1
            continue
        state[_COUNT, group] += 1
        state[_TOTAL, group] += value
        state[_MIN, group] = min(state[_MIN, group], value)
        state[_LARGEST, group] = max(state[_LARGEST, group], value)
