"""However a capture ends, its statistics are in the file, and it ends in time."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from prestarted import run_prestarted
from speaking import OURS, speaking
from test_faults import capturing, lab

from analyzer.analysis.notes import VantageNotes
from analyzer.analysis.reading import Reading
from analyzer.app.signals import PATIENCE_S
from analyzer.engines.lab import Lab

__all__ = ["lab"]  # a fixture

pytestmark = pytest.mark.root
IN_TIME_S = 10
"""where the machine has much to do beside; tests of waiting for ever wait no shorter"""
INT, TERM, QUIT, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP


def notes_of(file: Path) -> list[VantageNotes]:
    reading = Reading.open([str(file)])
    reading.foresee(thorough=True)
    assert reading.foreseen is not None
    return reading.foreseen


def told(process: subprocess.Popen[Any]) -> str:
    assert process.stderr is not None
    return str(process.stderr.read())


@pytest.mark.parametrize(
    ("signals", "pause_s"),
    [((INT, INT, TERM, INT), 0), ((TERM, INT, QUIT, HUP), 0.02), ((QUIT, *[INT] * 30), 0.005)],
    ids=["at once", "one of each", "many"],
)
def test_no_signal_more_interrupts_the_finishing(
    lab: Lab, tmp_path: Path, signals: tuple[signal.Signals, ...], pause_s: float
) -> None:
    file = tmp_path / "x.pcapng"
    with capturing("all", "-w", str(file), OURS) as process:
        with speaking(lab.netns_path("tomcat01")) as say:
            say(1)
        for number in signals:
            if process.poll() is None:
                process.send_signal(number)
            time.sleep(pause_s)
        closing = told(process)
        assert process.wait(timeout=IN_TIME_S) == 0, closing
    notes = notes_of(file)
    assert len(notes) == 5
    assert all(one.ended and one.dropped == 0 for one in notes)
    assert "5 frames captured, 5 received by filter, 0 dropped by kernel" in closing


def test_a_ping_is_reported_whatever_signals_come(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "x.pcapng"
    words = ("tomcat01", "tomcat02", "-c", "60000", "-i", "0.01", "-w", str(file))
    process = subprocess.Popen(
        [sys.executable, "-m", "analyzer", "ping", *words, "--engine", f"lab:{lab.lab_name}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 3 * IN_TIME_S
    while not (file.exists() and file.stat().st_size > 20_000):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    for _ in range(5):
        process.send_signal(INT)
        time.sleep(0.002)
    assert process.wait(timeout=IN_TIME_S) in (0, 130)  # the latter: within the report
    assert all(one.ended for one in notes_of(file))


def test_nohup_is_honoured(lab: Lab, tmp_path: Path) -> None:
    words = ("all", "-w", str(tmp_path / "x"), OURS)
    ignoring = {"preexec_fn": lambda: signal.signal(HUP, signal.SIG_IGN)}
    with capturing(*words, **ignoring) as process:
        process.send_signal(HUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.3)
        process.send_signal(INT)
        assert process.wait(timeout=IN_TIME_S) == 0


@pytest.mark.parametrize("kind", ["pipe", "socket", "named pipe"])
def test_a_stuck_reader_is_given_up_on_the_second_signal(
    lab: Lab, tmp_path: Path, kind: str
) -> None:
    name, ours, theirs = "-", -1, -1
    if kind == "pipe":
        ours, theirs = os.pipe()
    elif kind == "socket":
        ours, theirs = (one.detach() for one in socket.socketpair())
    else:
        name = str(tmp_path / "pipe")
        os.mkfifo(name)
        ours = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    out = theirs if theirs >= 0 else subprocess.DEVNULL
    with capturing("all", "-w", name, OURS, stdout=out) as process:
        with speaking(lab.netns_path("tomcat01"), 1400) as say:
            for number in range(400):
                say(number)
        process.send_signal(INT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        begun = time.monotonic()
        process.send_signal(INT)
        assert process.wait(timeout=IN_TIME_S) == 1
        assert time.monotonic() - begun >= PATIENCE_S / 2
        (line,) = told(process).splitlines()
        assert "its reader does not read" in line
    for fd in (ours, theirs):
        if fd >= 0:
            os.close(fd)


def test_a_reader_that_is_slow_gets_all(lab: Lab) -> None:
    with capturing("all", "-w", "-", "--payload", "all", OURS, stdout=subprocess.PIPE) as process:
        with speaking(lab.netns_path("tomcat01"), 1400) as say:
            for number in range(400):
                say(number)
        process.send_signal(INT)
        assert process.stdout is not None
        time.sleep(0.3)
        size = 0
        while piece := process.stdout.buffer.read(4096):
            size += len(piece)
        assert process.wait(timeout=IN_TIME_S) == 0
        assert "2000 frames captured" in told(process)
    assert size > 2000 * 1400


def test_a_file_that_is_deleted_meanwhile_is_told(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "x.pcapng"
    with capturing("all", "-w", str(file), OURS) as process:
        file.unlink()
        assert process.wait(timeout=IN_TIME_S) == 1
        (line,) = told(process).splitlines()
        assert f"{file} was deleted while it was written" in line
    with capturing("all", "-w", str(file), OURS) as process:
        process.send_signal(signal.SIGSTOP)
        file.unlink()
        process.send_signal(INT)
        process.send_signal(signal.SIGCONT)
        assert process.wait(timeout=IN_TIME_S) == 1


def test_the_report_of_a_killed_capture_says_so(lab: Lab, tmp_path: Path) -> None:
    files = [tmp_path / "killed", tmp_path / "ended"]
    for file, number in zip(files, (signal.SIGKILL, INT), strict=True):
        with capturing("all", "-w", str(file), OURS) as process:
            with speaking(lab.netns_path("tomcat01")) as say:
                say(1)
            time.sleep(0.3)
            process.send_signal(number)
            process.wait(timeout=IN_TIME_S)
    found = [
        json.loads(run_prestarted("report", str(f), "--json").stdout)["findings"] for f in files
    ]
    codes = [{finding["code"] for finding in one} for one in found]
    assert "not-ended" in codes[0]
    assert "not-ended" not in codes[1]
