"""Machine code is kept, found again without numba, and made anew when its sources have changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HELPER = "from analyzer.native.compiled import piece\n\n@piece\ndef helped(x):\n    return x + {}\n"
LOOP = """
from analyzer.native.compiled import compiled
from helper import helped

@compiled
def loop(x):
    return helped(x)

print(loop(1), loop.compilations)
"""


KINDS = """
from typing import NamedTuple

import numpy as np

from analyzer.native.compiled import allocating


class Pair(NamedTuple):
    left: np.ndarray
    right: np.ndarray


@allocating
def sums(pair, start, half, flags):
    doubled = pair.left[start:] * 2
    for i in range(len(doubled)):
        pair.right[i] = doubled[i]
    return doubled.sum(), half / 2, flags[0, 1], len(pair.right)


pair = Pair(np.arange(5, dtype=np.int32)[::2], np.zeros(8, np.uint16))
ones = np.ones((2, 3), np.bool_)
found = sums(pair, 1, 0.5, ones), sums(pair, np.uint8(2), 0.25, ones.T)
print(found, pair.right[:3].tolist(), sums.compilations)
"""


def run(folder: Path) -> str:
    # the package's own root: a script's folder would be all that Python looks into
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, folder / "loop.py"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": root, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return done.stdout.strip()


def test_a_change_in_another_file_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(LOOP)
    (tmp_path / "helper.py").write_text(HELPER.format(1))
    assert run(tmp_path) == "2 1"
    assert run(tmp_path) == "2 0"
    (tmp_path / "helper.py").write_text(HELPER.format(5))
    assert run(tmp_path) == "6 1"


def test_arguments_of_all_kinds_arrive(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(KINDS)
    expected = "((12, 0.25, True, 8), (8, 0.125, True, 8)) [8, 8, 0]"
    assert run(tmp_path) == f"{expected} 2"
    assert run(tmp_path) == f"{expected} 0"


def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(LOOP)
    (tmp_path / "helper.py").write_text(HELPER.format(1))
    assert run(tmp_path) == "2 1"
    (kept,) = (tmp_path / "__pycache__").glob("loop.loop.*.o")
    for content in (b"", kept.read_bytes()[:-100], b"{}\n"):
        kept.write_bytes(content)
        assert run(tmp_path) == "2 1"
    assert run(tmp_path) == "2 0"


def test_what_older_sources_made_is_removed(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(LOOP)
    for value in (1, 2):
        (tmp_path / "helper.py").write_text(HELPER.format(value))
        run(tmp_path)
    assert len(list((tmp_path / "__pycache__").glob("loop.loop.*.o"))) == 1


def test_a_report_needs_no_numba() -> None:
    code = (
        "import sys; from analyzer.analysis.analyse import report_files; "
        "report_files(['captures/tomcat-ping.pcapng']); print('numba' in sys.modules)"
    )
    for _ in range(2):  # the first may have to compile
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        )
    assert done.stdout.strip() == "False"
