"""Loops become code that fits our own interface; what changes code changes its recipe."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from analyzer.native.building import build, numba_side
from analyzer.native.building.ingredients import Ingredients
from analyzer.native.building.memory import SOURCE
from analyzer.native.calling import caller, take_apart
from analyzer.native.compiled import Loop, allocating, compiled
from analyzer.native.interpreted import call_interpreted


class Pair(NamedTuple):
    left: np.ndarray
    right: np.ndarray


@allocating
def _sums(pair, start, half, flags, big):  # type: ignore[no-untyped-def]
    doubled = pair.left[start:] * 2
    for i in range(len(doubled)):
        pair.right[i] = doubled[i]
    return doubled.sum(), half / 2, flags[0, 1], len(pair.right), big + np.uint64(1)


@compiled
def _quotient(numbers, by):  # type: ignore[no-untyped-def]
    numbers[0] //= by


@allocating
def _flat(table):  # type: ignore[no-untyped-def]
    return np.flatnonzero(table)[0]


def built(loop: Loop, arguments: tuple[Any, ...], folder: Path) -> Callable[..., Any]:
    """The loop, compiled for these arguments and linked, as `Loop` calls it."""
    kinds = tuple(take_apart(argument, []) for argument in arguments)
    made = numba_side.compile_loop(loop, kinds, "entry")
    objects = {"loop": made.content, "memory": numba_side.text_object(SOURCE)}
    for name, content in objects.items():
        (folder / f"{name}.o").write_bytes(content)
    library = folder / "library.so"
    build.run_linker([folder / f"{name}.o" for name in objects], library)
    address = ctypes.cast(ctypes.CDLL(str(library))["entry"], ctypes.c_void_p).value
    call = caller(address or 0, kinds, made.results, loop.name)

    def as_loop(*given: Any) -> Any:
        words: list[Any] = []
        for argument in given:
            take_apart(argument, words)
        return call(words)

    return as_loop


def test_arguments_and_results_of_all_kinds_arrive(tmp_path: Path) -> None:
    pair = Pair(np.arange(5, dtype=np.int32)[::2], np.zeros(8, np.uint16))
    flags = np.array([[False, True, False], [False, False, False]])
    arguments = (pair, 1, 0.5, flags.T.copy().T, np.uint64((1 << 64) - 3))
    expected = (12, 0.25, True, 8, (1 << 64) - 2)
    assert built(_sums, arguments, tmp_path)(*arguments) == expected
    assert pair.right[:3].tolist() == [4, 8, 0]
    assert call_interpreted(_sums.interpreted, arguments) == expected


def test_what_is_raised_in_a_loop_is_raised_by_its_call(tmp_path: Path) -> None:
    arguments = (np.array([7]), 0)
    with pytest.raises(RuntimeError, match=r"the compiled loop .*_quotient failed"):
        built(_quotient, arguments, tmp_path)(*arguments)


def test_code_that_would_need_numba_is_not_made() -> None:
    with pytest.raises(numba_side.NotAlone, match="numba_attempt_nocopy_reshape"):
        numba_side.compile_loop(_flat, (take_apart(np.zeros(4), []),), "entry")


SHARED = "WIDTH = 2\n"
PAIR = "import collections\nPair = collections.namedtuple('Pair', 'left right')\n"
LOOPS = '''
from analyzer.native.compiled import compiled, piece
from analyzer.{shared} import WIDTH

@piece
def widened(value):
    return value * WIDTH

@compiled
def loop(numbers):
    """Doc."""
    # comment
    numbers[0] = widened(numbers[0])
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], ModuleType]:
    """Makes the module of a loop, and the one that its constant comes from."""

    def make(shared: str, loops: str) -> ModuleType:
        for name, text in (("shared_for_test", shared), ("loops_for_test", loops)):
            path = tmp_path / f"{name}.py"
            path.write_text(text.replace("{shared}", "shared_for_test"))
            # what Python keeps of it is told from the next one by seconds and size alone
            Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
            spec = importlib.util.spec_from_file_location(f"analyzer.{name}", path)
            assert spec
            assert spec.loader
            one = importlib.util.module_from_spec(spec)
            monkeypatch.setitem(sys.modules, f"analyzer.{name}", one)
            monkeypatch.setattr("analyzer.native.building.ingredients.PACKAGE", tmp_path)
            spec.loader.exec_module(one)
        import linecache

        linecache.clearcache()
        for cached in ("_text", "_origins", "_imports"):
            getattr(sys.modules[Ingredients.__module__], cached).cache_clear()
        return one

    return make


def test_a_recipe_changes_with_what_makes_code(
    module: Callable[[str, str], ModuleType], tmp_path: Path
) -> None:
    first = Ingredients(module(SHARED, LOOPS).loop)
    assert {Path(file).name for file in first.files} == {"shared_for_test.py", "loops_for_test.py"}
    described = LOOPS.replace("Doc.", "Another.").replace("# comment", "# other\n")
    assert Ingredients(module("# new\n" + SHARED, described).loop).recipe == first.recipe
    module(SHARED + PAIR, LOOPS)
    pair = sys.modules["analyzer.shared_for_test"].Pair
    numbers = np.dtype(np.int64), 1, "C", True
    of_pair = Ingredients(module(SHARED, LOOPS).loop, ((pair, (numbers, numbers)),))
    assert of_pair.recipe[-1].endswith("Pair ('left', 'right')")
    for shared, loops in (
        (SHARED.replace("2", "3"), LOOPS),
        (SHARED, LOOPS.replace("value * WIDTH", "value + WIDTH")),
        (SHARED, LOOPS.replace("numbers[0] =", "numbers[1] =")),
    ):
        assert Ingredients(module(shared, loops).loop).recipe != first.recipe


def test_without_a_linker_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(build.NoTools, match="apt-get install binutils"):
        build.build()
