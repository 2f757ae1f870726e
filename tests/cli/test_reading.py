"""How ``report`` and ``verify`` read: --jobs, and a bar on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

CAPTURE = str(Path(__file__).parents[2] / "captures" / "tomcat-ping.pcapng")
WORDS = [sys.executable, "-m", "analyzer"]


@pytest.mark.parametrize("command", ["report", "verify"])
def test_the_number_of_threads_changes_nothing(command: str) -> None:
    found = {
        subprocess.run(
            [*WORDS, command, CAPTURE, "--json", "--jobs", jobs], capture_output=True, check=True
        ).stdout
        for jobs in ("1", "2", "8")
    }
    assert len(found) == 1


def test_no_thread_at_all_is_a_usage_error() -> None:
    done = subprocess.run([*WORDS, "report", CAPTURE, "-j", "0"], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def stderr_of(*options: str) -> str:
    """What the command writes on a terminal."""
    ours, theirs = pty.openpty()
    try:
        subprocess.run(
            [*WORDS, "report", CAPTURE, "--json", *options],
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            check=True,
        )
        os.set_blocking(ours, False)
        try:
            return os.read(ours, 65536).decode()
        except BlockingIOError:
            return ""
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_terminal_shows_a_bar_and_is_left_clean() -> None:
    shown = stderr_of()
    assert "█" in shown
    assert "% of" in shown
    assert shown.endswith("\r\033[K")
    assert "\n" not in shown


def test_quiet_shows_none() -> None:
    assert stderr_of("--quiet") == ""
