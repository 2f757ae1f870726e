"""Numbers for keys, in order of appearance, over batches."""

from __future__ import annotations

import numpy as np
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st

from analyzer.native.keys import KeyNumbers, mixed

some_keys = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 5), max_size=50)


@drawn(50)
@given(st.lists(some_keys, max_size=5))
def test_numbers_are_those_of_a_dictionary(batches: list[list[int]]) -> None:
    numbers, expected = KeyNumbers(), {}
    for batch in batches:
        before = len(expected)
        wanted = [expected.setdefault(key, len(expected)) for key in batch]
        found, fresh = numbers.take(np.array(batch, np.uint64))
        assert found.tolist() == wanted
        assert [batch[row] for row in fresh] == list(expected)[before:]
    assert numbers.count == len(expected)


def test_the_table_grows() -> None:
    numbers = KeyNumbers()
    keys = np.arange(100_000, dtype=np.uint64)[::-1].copy()
    found, fresh = numbers.take(keys)
    assert (found == np.arange(100_000)).all()
    assert len(fresh) == 100_000
    assert (numbers.take(keys)[0] == found).all()


def test_mixed_keys_differ_where_a_column_does() -> None:
    a, b = np.meshgrid(np.arange(300), np.arange(300))
    keys = mixed(a.ravel().astype(np.int32), b.ravel().astype(np.uint8), a.ravel() * 0)
    assert len(np.unique(keys)) == len(set(zip(a.ravel() % 300, b.ravel() % 256, strict=True)))
