"""Quantiles are the value nearest to the rank, as Polars counts it."""

from __future__ import annotations

import numpy as np
import polars as pl
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st

from analyzer.model.ranks import median, percentile


@drawn(50)
@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=50), st.sampled_from((0.5, 0.9, 0.99)))
def test_a_percentile_is_polars_nearest(values: list[int], quantile: float) -> None:
    assert percentile(values, quantile) == pl.Series(values).quantile(quantile, "nearest")


@drawn(50)
@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=50))
def test_the_median_is_the_upper_of_two(values: list[int]) -> None:
    assert median(np.array(values)) == sorted(values)[len(values) // 2]


def test_no_values_have_no_percentile() -> None:
    assert percentile([], 0.5) is None
