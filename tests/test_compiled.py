"""Machine code is cached, and made anew when a file it was made from has changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HELPER = "from analyzer.compiled import piece\n\n@piece\ndef helped(x):\n    return x + {}\n"
LOOP = """
from analyzer.compiled import compiled
from helper import helped

@compiled
def loop(x):
    return helped(x)

print(loop(1), sum(loop.stats.cache_hits.values()))
"""


def run(folder: Path) -> str:
    # the package's own root: a script's folder would be all that Python looks into
    root = str(Path(__file__).parents[1])
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
    assert run(tmp_path) == "2 0"
    assert run(tmp_path) == "2 1"
    (tmp_path / "helper.py").write_text(HELPER.format(5))
    assert run(tmp_path) == "6 0"
