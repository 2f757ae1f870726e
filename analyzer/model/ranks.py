"""Quantiles of values: the one definition, the value nearest to the rank."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

R = TypeVar("R")


def nearest_rank(counts: npt.NDArray[np.int64], quantile: float) -> npt.NDArray[np.int64]:
    """Places of a quantile in so many values in order: the nearest, as Polars counts it."""
    return np.floor(np.maximum(counts - 1, 0) * quantile + 0.5).astype(np.int64)


def median(values: npt.NDArray[np.int64]) -> int:
    """The value in the middle of at least one."""
    return int(np.sort(values)[nearest_rank(np.array(len(values)), 0.5)])


def percentile(values: Sequence[int], quantile: float) -> int | None:
    """The value nearest to the rank, None of no values."""
    place = int(nearest_rank(np.array([len(values)]), quantile)[0])
    return sorted(values)[place] if values else None


def largest(rows: Sequence[R], most: int, size: Callable[[R], Any] | None = None) -> list[R]:
    """The largest rows, in their order; without ``size`` the first."""
    places = list(range(len(rows)))
    if size and len(rows) > most:
        sizes = [size(row) for row in rows]
        places = heapq.nlargest(most, places, key=lambda place: sizes[place])
    return [rows[place] for place in sorted(places[:most])]


def largest_traffic(
    packets: npt.NDArray[np.int64], lost: npt.NDArray[np.int64], most: int | None
) -> npt.NDArray[np.bool_]:
    """[n] the rows that stay: those that lost packets rather than others, then those of most
    packets. most: None: all."""
    chosen = np.full(len(packets), most is None or len(packets) <= most)
    if not chosen.any():
        chosen[np.lexsort((-packets, lost == 0))[:most]] = True
    return chosen
