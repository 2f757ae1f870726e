"""A byte of a file costs a bounded time, whatever strangers wrote; nothing ends in a traceback.

Each kind of file that strangers can make is analysed and reported in the same process as a plain
one with as many frames, so that a busy or slow machine makes no difference.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import hostile_files
import pytest
from rich.console import Console

from analyzer.analysis.analyse import report_files
from analyzer.errors import SavefileError
from analyzer.report.text.report import render_text

FRAMES = 3_000
MOST_TIMES = 150
"""as much CPU time for a megabyte as a plain file of one flow takes; SECURITY.md says it"""
Writer = Callable[[Path, int], None]


def _cost(path: Path) -> float:
    """Seconds of CPU time for a megabyte. A file may be refused, in an error of ours."""
    began = time.process_time()
    try:
        report, _ = report_files([str(path)])
    except SavefileError:
        pass
    else:
        render_text(report, Console(file=io.StringIO(), width=80))
        json.dumps(report.to_json())
    return (time.process_time() - began) / (path.stat().st_size / 1e6)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> float:
    path = tmp_path_factory.mktemp("plain") / "plain.pcapng"
    hostile_files.write_frames(path, hostile_files.one_flow(FRAMES))
    _cost(path)
    return min(_cost(path) for _ in range(3))


@pytest.mark.parametrize("make", hostile_files.FRAMES, ids=lambda make: str(make.__name__))
def test_a_megabyte_of_frames(
    make: Callable[[int], hostile_files.Frames], plain: float, tmp_path: Path
) -> None:
    path = tmp_path / "hostile.pcapng"
    hostile_files.write_frames(path, make(100))
    _cost(path)  # what is compiled or imported for this kind
    hostile_files.write_frames(path, make(FRAMES))
    assert any(_cost(path) < MOST_TIMES * plain for _ in range(2))


@pytest.mark.parametrize("write", hostile_files.BLOCKS, ids=lambda write: str(write.__name__))
def test_a_megabyte_of_blocks(write: Writer, plain: float, tmp_path: Path) -> None:
    path = tmp_path / "hostile.pcapng"
    write(path, 100)
    _cost(path)
    write(path, FRAMES)
    assert any(_cost(path) < MOST_TIMES * plain for _ in range(2))
