"""The padding behind attributes and options ends at whole words, in Python and in loops alike."""

from __future__ import annotations

import numpy as np

from analyzer.native.compiled import compiled
from analyzer.native.padding import padded_in_loop
from analyzer.native.words import padded


@compiled
def _fill(lengths: np.ndarray) -> None:
    for row in range(len(lengths)):
        lengths[row] = padded_in_loop(lengths[row])


def test_both_say_the_same() -> None:
    lengths = np.arange(9)
    _fill(lengths)
    assert lengths.tolist() == [padded(n) for n in range(9)] == [0, 4, 4, 4, 4, 8, 8, 8, 8]
