"""The library is of the sources that are there, and what does not fit is said, once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from analyzer.native import keys, library
from analyzer.native.building.signatures import read_signatures
from analyzer.native.calling import text_of
from analyzer.native.compiled import Loop

PACKAGE = Path(__file__).parents[2] / "analyzer"


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process that has called no loop yet."""
    caches = (library._library, library._digest)
    for one in caches:
        one.cache_clear()
    monkeypatch.setattr(keys._find, "_callers", {})
    before = list(library._said)
    library._said.clear()
    yield
    library._said[:] = before
    for one in caches:
        one.cache_clear()


def numbers_of_three_keys() -> list[int]:
    numbers = keys.KeyNumbers()
    numbers.take(np.array([7, 8], np.uint64))
    return numbers.find(np.array([8, 9, 7], np.uint64)).tolist()


def loops_of(module: str) -> set[str]:
    """Those that Python calls; one that makes arrays may be a part of others only."""
    values = vars(import_module(module)).values()
    return {one.name for one in values if isinstance(one, Loop) and not one.counted}


def test_the_library_has_every_loop_and_fits_the_sources() -> None:
    assert library.what_is_wrong() == ""
    files = [path for path in PACKAGE.rglob("*.py") if "@compiled" in path.read_text()]
    modules = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in files]
    built = {one.name for one in read_signatures()}
    assert {name for module in modules for name in loops_of(module)} - built == set()


def test_signatures_are_read_as_they_are_written() -> None:
    for one in read_signatures():
        assert ", ".join(map(text_of, one.kinds)) == one.text


@pytest.mark.usefixtures("fresh")
def test_without_a_library_loops_are_interpreted_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(library, "library_path", lambda: tmp_path / "loops-none.so")
    with caplog.at_level(logging.WARNING, "vethscope"):
        assert numbers_of_three_keys() == [1, -1, 0]
        assert numbers_of_three_keys() == [1, -1, 0]
    (record,) = caplog.records
    assert record.message.startswith("loops-none.so is missing: loops are interpreted")
    assert "make build" in record.message


@pytest.mark.usefixtures("fresh")
def test_a_library_of_another_kind_is_not_called(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(library, "INTERFACE", library.INTERFACE + 1)
    with caplog.at_level(logging.WARNING, "vethscope"):
        assert numbers_of_three_keys() == [1, -1, 0]
    assert "is of another version" in caplog.text
    assert "is of another version" in library.what_is_wrong()


@pytest.mark.usefixtures("fresh")
def test_code_of_another_source_is_not_called(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    changed = "analyzer/native/keys.py"
    monkeypatch.setattr(library, "_is_as_built", lambda file: file != changed)
    with caplog.at_level(logging.WARNING, "vethscope"):
        assert numbers_of_three_keys() == [1, -1, 0]
    assert f"was built from another {changed}" in caplog.text
    assert keys._find._callers == {}
    assert f"was built from another {changed}" in library.what_is_wrong()


@pytest.mark.usefixtures("fresh")
def test_arguments_of_another_kind_reach_no_code(caplog: pytest.LogCaptureFixture) -> None:
    """A column of every second key, as no command makes it."""
    wanted, numbers = np.array([8, 9, 7, 9], np.uint64)[::2], np.empty(2, np.int32)
    table = keys.KeyNumbers()
    table.take(np.array([7, 8], np.uint64))
    with caplog.at_level(logging.WARNING, "vethscope"):
        keys._find(wanted, table._slots, numbers)
    assert numbers.tolist() == [1, 0]
    assert "keys._find is not in loops-" in caplog.text
    assert library._said[-1].endswith("for such arguments(u8[A1], u8[C2], i4[C1])")
