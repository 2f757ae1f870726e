"""Keys that somebody chose to stand at one place of a table cost no more than others."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

from analyzer.correlate.group import group_rows
from analyzer.native.keys import KeyNumbers

COUNT = 1 << 15
_WORD = (1 << 64) - 1
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _unshifted(value: int, bits: int) -> int:
    """x of x ^ x >> bits."""
    found = value
    for _ in range(64 // bits + 1):
        found = value ^ found >> bits
    return found


def _chosen(second: int) -> npt.NDArray[np.uint64]:
    """Keys that `mix` with ``second`` sends to one place, were it known: its steps taken back."""
    keys = []
    for number in range(COUNT):
        x = _unshifted(number << 32, 31) * pow(_SECOND, -1, 1 << 64) & _WORD
        x = _unshifted(x, 27) * pow(_FIRST, -1, 1 << 64) & _WORD
        keys.append(_unshifted(x, 30) ^ (second * _GOLDEN & _WORD))
    return np.array(keys, np.uint64)


def _seconds(keys: npt.NDArray[np.uint64]) -> float:
    began = time.process_time()
    KeyNumbers().take(keys)
    group_rows(keys)
    return time.process_time() - began


def test_chosen_keys_are_spread() -> None:
    usual = np.random.default_rng(1).integers(0, 1 << 63, COUNT).astype(np.uint64)
    _seconds(usual)
    allowed = 20 * _seconds(usual) + 0.05
    for second in (0, 1):
        chosen = _chosen(second)
        assert len(np.unique(chosen)) == COUNT
        assert _seconds(chosen) < allowed  # some 10 ms; at one place each they are 1 s
