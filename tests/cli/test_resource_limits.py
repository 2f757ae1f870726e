"""Where memory or descriptors are short: one line, or the report; never a traceback."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import hostile_files
import pytest


def _run(path: Path, limit: int, value: int, *words: str) -> subprocess.CompletedProcess[str]:
    def limited() -> None:
        resource.setrlimit(limit, (value, value))

    command = [sys.executable, "-m", "analyzer", *words, str(path)]
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=limited)


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "some.pcapng"
    hostile_files.write_frames(path, hostile_files.dns_names(1_000))
    return path


@pytest.mark.parametrize("command", ["report", "verify", "show"])
@pytest.mark.parametrize("megabytes", [200, 400, 1_000])
def test_too_little_address_space_is_one_line(capture: Path, command: str, megabytes: int) -> None:
    done = _run(capture, resource.RLIMIT_AS, megabytes << 20, command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "ulimit -v" in done.stderr


@pytest.mark.parametrize(("megabytes", "code"), [(1_100, 2), (1_600, 0)])
def test_a_larger_file_takes_more(tmp_path: Path, megabytes: int, code: int) -> None:
    """Polars would abort in the middle of it, without a word of ours."""
    path = tmp_path / "syns.pcapng"
    hostile_files.write_frames(path, hostile_files.syn_flows(100_000))
    done = _run(path, resource.RLIMIT_AS, megabytes << 20, "report")
    assert done.returncode == code
    assert done.stderr.count("\n") == (1 if code else 0)
    assert ("ulimit -v" in done.stderr) == bool(code)


def test_few_descriptors_are_enough(capture: Path) -> None:
    done = _run(capture, resource.RLIMIT_NOFILE, 20, "report")
    assert (done.returncode, done.stderr) == (0, "")
