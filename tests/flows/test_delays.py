"""Percentiles: exact while few, within 1 % in histograms, whatever comes in which batch."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st

from analyzer.flows.delays import EXACT, Delays

QUANTILES = (0.5, 0.9, 0.99)


def delays_of(values: np.ndarray, batches: int = 1) -> dict[str, float]:
    delays = Delays()
    for part in np.array_split(values.astype(np.int64), batches):
        delays.add(np.zeros(len(part), np.int32), part)
    return delays.table(QUANTILES).row(0, named=True)


@drawn(50)
@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=50), st.integers(1, 5))
def test_few_are_exact(values: list[int], batches: int) -> None:
    found = delays_of(np.array(values), batches)
    series = pl.Series(values)
    assert found["timed"] == len(values)
    assert (found["min_ns"], found["max_ns"]) == (min(values), max(values))
    assert found["mean_ns"] == pytest.approx(series.mean())
    for q in QUANTILES:
        assert found[f"p{q * 100:g}_ns"] == series.quantile(q, "nearest")


def test_exact_up_to_ten_thousand_and_within_a_percent_above() -> None:
    draw = np.random.default_rng(5)
    for count in (EXACT, EXACT + 1, 300_000):
        for sigma in (0.1, 1.0, 3.0):
            values = (draw.lognormal(9, sigma, count)).astype(np.int64)
            found = delays_of(values, 7)
            assert found["min_ns"] == values.min()
            assert found["max_ns"] == values.max()
            assert found["mean_ns"] == pytest.approx(values.mean(), rel=1e-12)
            for q in QUANTILES:
                true = pl.Series(values).quantile(q, "nearest")
                error = abs(found[f"p{q * 100:g}_ns"] - true)
                assert error <= (0 if count == EXACT else 0.01 * true)


def test_groups_are_apart_and_batches_add_up() -> None:
    draw = np.random.default_rng(6)
    groups = draw.integers(0, 40, 200_000).astype(np.int32)
    groups[:150_000] %= 3
    values = draw.integers(0, 10**6, 200_000) * (groups + 1)
    delays = Delays()
    for start in range(0, len(groups), 12_345):
        delays.add(groups[start : start + 12_345], values[start : start + 12_345])
    table = delays.table((0.5,))
    for row in table.iter_rows(named=True):
        mine = values[groups == row["group"]]
        assert (row["timed"], row["min_ns"], row["max_ns"]) == (len(mine), mine.min(), mine.max())
        true = pl.Series(mine).quantile(0.5, "nearest")
        assert abs(row["p50_ns"] - true) <= (0.01 * true if len(mine) > EXACT else 0)


def test_a_negative_delay_is_none() -> None:
    delays = Delays()
    delays.add(np.zeros(3, np.int32), np.array([-5, 7, 9]))
    assert delays.negative == 1
    row = delays.table((0.5,)).row(0, named=True)
    assert (row["timed"], row["min_ns"], row["max_ns"]) == (2, 7, 9)


def test_a_group_without_values_has_no_percentiles() -> None:
    delays = Delays()
    delays.add(np.array([2], np.int32), np.array([4]))
    table = delays.table((0.5,)).head(3)
    assert table["p50_ns"].to_list() == [None, None, 4]
    assert table["mean_ns"].to_list() == [None, None, 4.0]
