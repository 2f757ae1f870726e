"""Files that are larger or smaller than they should be cost one line, and no more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hostile_files
import pytest

from analyzer.savefile import pcapng
from analyzer.savefile.read import open_savefile

_READ_CUT = """
import os, sys
from analyzer.savefile.read import open_savefile
chunks = open_savefile(sys.argv[1]).chunks(1000)
next(chunks)
os.truncate(sys.argv[1], 4096)
for _ in chunks: pass
"""


@pytest.mark.parametrize("name", ["write_interfaces", "write_sections", "write_statistics"])
def test_too_many_blocks_are_refused_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pcapng, "MOST_INTERFACES", 500)
    monkeypatch.setattr(pcapng, "MOST_TOLD", 500)
    path = tmp_path / "many.pcapng"
    getattr(hostile_files, name)(path, 2_000)
    savefile = open_savefile(path)
    frames = sum(len(chunk.ts_ns) for chunk in savefile.chunks())
    assert "more than 500 interfaces" in str(savefile.error) or "too many" in str(savefile.error)
    assert len(savefile.interfaces) <= 500
    assert frames <= 500


def test_a_file_cut_while_it_is_read_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "cut.pcapng"
    hostile_files.write_frames(path, hostile_files.one_flow(200_000))
    done = subprocess.run(
        [sys.executable, "-c", _READ_CUT, path], capture_output=True, text=True, env=os.environ
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "vethscope: error: a capture file was cut short while it was read\n"


def test_too_little_memory_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "small.pcapng"
    hostile_files.write_frames(path, hostile_files.one_flow(10))
    code = (
        "from analyzer import cli\n"
        "def out(*_, **__): raise MemoryError\n"
        "cli.cli.main = out\n"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "not enough memory" in done.stderr
