"""Tables that grow keep what they have, and new columns begin as they are asked to."""

from __future__ import annotations

import numpy as np
import polars as pl

from analyzer.flows.growing import padded, widened


def test_new_columns_are_filled_and_old_ones_stay() -> None:
    table = widened(np.array([[1, 2], [3, 4]]), 3, -1)
    assert table.tolist() == [[1, 2, -1], [3, 4, -1]]
    assert widened(table, 2) is table


def test_spare_room_is_twice_what_was_there() -> None:
    table = widened(np.zeros((1, 8), np.int64), 9, -1, spare=True)
    assert table.tolist() == [[0] * 8 + [-1] * 8]


def test_groups_without_values_are_null() -> None:
    assert padded(pl.Series([1, 2]), 3).to_list() == [1, 2, None]
    assert padded(pl.Series([1, 2, 3]), 2).to_list() == [1, 2]
