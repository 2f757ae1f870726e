"""Interpreted, every loop computes what its machine code does."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from analyzer.app.warm import run_all
from analyzer.correlate import doubt
from analyzer.native.building.signatures import read_signatures
from analyzer.native.compiled import Loop, compiled, piece
from analyzer.native.interpreted import call_interpreted

_COMPILED_CALL = Loop.__call__


def _arrays(argument: Any) -> list[np.ndarray]:
    if isinstance(argument, tuple):
        return [array for member in argument for array in _arrays(member)]
    return [argument] if isinstance(argument, np.ndarray) else []


def test_all_loops_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """By everything that a command does, on a capture of a few frames of every kind."""
    differences, called = [], set()

    def call_both(loop: Loop, *arguments: Any) -> Any:
        copies = deepcopy(arguments)
        result = _COMPILED_CALL(loop, *arguments)
        again = call_interpreted(loop.interpreted, copies)
        pairs = zip(_arrays(arguments), _arrays(copies), strict=True)
        same = all(one.tobytes() == other.tobytes() for one, other in pairs)
        if not same or again != result:
            differences.append((loop.name, result, again))
        called.add(loop.name)
        return result

    monkeypatch.setattr(Loop, "__call__", call_both)
    run_all()
    keys, stamps = np.array([5, 6], np.uint64), np.array([0, 9])
    some, others = doubt._Sightings(keys, keys, stamps), doubt._Sightings(keys, keys[::-1], stamps)
    assert doubt._has_twin(some, others, (0, 10)).all()
    assert differences == []
    assert {one.name for one in read_signatures()} - called == set()


@piece
def _doubled(value: Any) -> Any:
    return value << 1


@compiled
def _arithmetic(narrow: Any, wide: Any, signed: Any, out: Any) -> Any:
    out[0] = _doubled(narrow[0])
    out[1] = np.int64(wide[0] * wide[1] >> np.uint64(60))
    out[2] = np.uint16(signed[0])
    narrow[1] = signed[0]
    signed[1] = narrow[0] << 24
    return narrow[0] + narrow[2], signed[0] // 2, wide[0] > wide[1]


def test_numbers_are_as_wide_as_in_compiled_code() -> None:
    """NumPy's own scalars would lose the bits of a byte that is shifted."""
    narrow, signed = np.array([200, 0, 100], np.uint8), np.array([-3, 0], np.int32)
    wide, out = np.array([1 << 63, 3], np.uint64), np.zeros(3, np.int64)
    assert _arithmetic(narrow, wide, signed, out) == (300, -2, True)
    assert out.tolist() == [400, 8, 65533]
    assert narrow.tolist() == [200, 253, 100]
    assert signed.tolist() == [-3, (200 << 24) - (1 << 32)]
