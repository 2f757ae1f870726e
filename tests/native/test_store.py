"""Who shares an installation keeps the others' code, and says where nothing can be kept."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyzer.native import compiled, store
from analyzer.native.linking import Code
from analyzer.native.store import Store
from analyzer.native.trusted_folder import NotTrusted

CODE = Code("symbol", "l", [], b"object")


@pytest.fixture
def kept(tmp_path: Path) -> Store:
    (tmp_path / "loop.py").write_text("")
    return Store(tmp_path / "loop.py", "loop")


def test_two_processors_share_an_installation(
    kept: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for processor in ("a", "b"):
        monkeypatch.setattr(store, "_processor", lambda name=processor: name)
        kept.write("kinds", CODE)
    assert len(os.listdir(tmp_path / "__pycache__")) == 2
    monkeypatch.setattr(store, "_digest", lambda folder: "newer")
    kept.write("kinds", CODE)
    names = sorted(os.listdir(tmp_path / "__pycache__"))
    assert len(names) == 2
    assert "-a-" in names[0]
    assert "-b-newer-" in names[1]


def test_what_is_not_trusted_is_not_read(kept: Store, tmp_path: Path) -> None:
    kept.write("kinds", CODE)
    assert kept.read("kinds") == CODE
    (tmp_path / "__pycache__").chmod(0o777)
    assert kept.read("kinds") is None


def test_where_nothing_can_be_kept_one_line_says_so(
    kept: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @contextlib.contextmanager
    def refused(*_: object) -> Iterator[None]:
        raise NotTrusted("not here")
        yield

    monkeypatch.setattr(store, "open_beside", refused)
    monkeypatch.setattr(store, "open_own", refused)
    store._say_that_nothing_is_kept.cache_clear()
    with caplog.at_level(logging.WARNING, "vethscope"):
        kept.write("kinds", CODE)
        kept.write("others", CODE)
    assert len(caplog.records) == 1
    assert "compiled code cannot be kept" in caplog.text
    store._say_that_nothing_is_kept.cache_clear()


@compiled.compiled
def _double(numbers, out):  # type: ignore[no-untyped-def]
    for i in range(len(numbers)):
        out[i] = 2 * numbers[i]
    return len(numbers)


def test_a_wrong_known_answer_leads_back_to_numba(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import numpy as np

    monkeypatch.setattr(compiled, "_ANSWER", 0)
    compiled.convention_holds.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, "vethscope"):
            for count in (3, 4):
                out = np.zeros(count, np.int64)
                assert _double(np.arange(count), out) == count
                assert out.tolist() == [2 * n for n in range(count)]
        assert [record.message.startswith("this numba is") for record in caplog.records] == [True]
        assert _double._callers == {}
    finally:
        compiled.convention_holds.cache_clear()


def test_the_convention_of_this_numba_is_the_one_that_we_know() -> None:
    assert compiled.convention_holds()
