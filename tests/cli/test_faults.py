"""Faults made for real, to captures as people run them: nothing that was captured is lost."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from speaking import OURS, numbers, speaking

from analyzer.analysis.frames_table import read_frames
from analyzer.engines.lab import Lab, take_down_lab
from analyzer.errors import VethscopeError
from analyzer.topology.discover import discover

pytestmark = pytest.mark.root

NAME = f"vsfault{os.getpid()}"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with suppress(VethscopeError):
        take_down_lab(NAME)
    with Lab(containers=2, name=NAME) as made:
        yield made
    take_down_lab(NAME)


@contextmanager
def capturing(*words: str, **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A capture that is ready; killed if it is still there at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "analyzer", "capture", *words, "--engine", f"lab:{NAME}"],
        **{"stderr": subprocess.PIPE, "text": True, **options},
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert line.startswith("capturing on"), line + process.stderr.read()
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def end(process: subprocess.Popen[Any]) -> tuple[int, str]:
    """SIGINT; exit code and what it told."""
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    told = process.stderr.read()
    return process.wait(timeout=30), told


def veth_of(lab: Lab, container: str) -> str:
    (found,) = [
        i.name
        for i in discover(lab).interfaces
        if i.peer and i.peer[0] == os.stat(lab.netns_path(container)).st_ino
    ]
    return found


@pytest.mark.parametrize("pause_s", [0, 0.001, 0.1], ids=["no pause", "1 ms", "100 ms"])
def test_sigkill_costs_a_quarter_of_a_second(lab: Lab, tmp_path: Path, pause_s: float) -> None:
    """At any rate. The quickest of a few counts, for the machine may be busy."""
    file = tmp_path / "x.pcapng"
    missing_s = 9.0
    for _ in range(5):
        missing_s = min(missing_s, _missing_after_sigkill(lab, file, pause_s))
        if missing_s <= 0.25:
            break
    assert missing_s <= 0.25
    done = subprocess.run(["capinfos", "-c", file], capture_output=True, text=True, check=False)
    assert "Number of packets" in done.stdout


def _missing_after_sigkill(lab: Lab, file: Path, pause_s: float) -> float:
    """How old the oldest frame is that no file has, in seconds; the others are all there."""
    sent: list[float] = []
    with (
        capturing("all", "-w", str(file), OURS) as process,
        speaking(lab.netns_path("tomcat01")) as say,
    ):
        begun = time.monotonic()
        while time.monotonic() < begun + 0.7:
            sent.append(time.monotonic())
            say(len(sent) - 1, pause_s)
        killed = time.monotonic()
        process.kill()
        process.wait()
    found = [numbers(file, vantage) for vantage in ("tomcat01:eth0", "docker0", "tomcat02:eth0")]
    for one in found:
        assert one == list(range(len(one)))
    first = min(map(len, found))
    return killed - sent[first] if first < len(sent) else 0.0


def test_an_interface_that_goes_down_and_up_ends_nothing(lab: Lab, tmp_path: Path) -> None:
    file, veth = tmp_path / "x.pcapng", veth_of(lab, "tomcat01")
    with (
        capturing("all", "-w", str(file), OURS) as process,
        speaking(lab.netns_path("tomcat01")) as say,
    ):
        for number in range(3):
            say(number)
        lab.run("host", ["ip", "link", "set", veth, "down"])
        lab.run("host", ["ip", "link", "set", veth, "up"])
        forward = ["bridge", "link", "set", "dev", veth, "state", "3"]
        give_up = time.monotonic() + 30
        while lab.run("host", forward, check=False).returncode:  # until the carrier is noticed
            assert time.monotonic() < give_up
        for number in range(3, 6):
            say(number)
        code, told = end(process)
    assert (code, "vanished" in told, "ended" in told) == (0, False, False)
    assert numbers(file, veth) == [0, 1, 2, 3, 4, 5]
    assert numbers(file) == [0, 1, 2, 3, 4, 5]


def test_a_full_disk_is_one_line_and_the_count_is_the_files(lab: Lab, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", disk], check=True)
    try:
        file = disk / "x.pcapng"
        with (
            capturing("all", "-w", str(file), OURS) as process,
            speaking(lab.netns_path("tomcat01")) as say,
        ):
            for number in range(1000):
                say(number)
            assert process.wait(timeout=30) == 1
            assert process.stderr is not None
            told = process.stderr.read()
        (line,) = told.splitlines()
        found = re.search(r"cannot write on to .*: No space left .* holds (\d+) whole frames", line)
        assert found, line
        assert len(read_frames(str(file))) == int(found[1]) > 500
        subprocess.run(["tshark", "-r", file], stdout=subprocess.DEVNULL, check=True)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_reader_that_has_enough_ends_it_quietly(lab: Lab) -> None:
    words = ("all", "-w", "-", OURS)
    with (
        capturing(*words, stdout=subprocess.PIPE) as process,
        speaking(lab.netns_path("tomcat01")) as say,
    ):
        assert process.stdout is not None
        process.stdout.buffer.read(100)
        process.stdout.close()
        process.stdout = None
        give_up = time.monotonic() + 30
        while process.poll() is None:
            assert time.monotonic() < give_up
            say(1, 0.01)
        assert process.stderr is not None
        told = process.stderr.read()
    assert process.returncode == 0
    assert "rror" not in told
    assert "Broken" not in told


def test_what_is_lost_is_told_in_the_end_and_strictly_a_failure(lab: Lab, tmp_path: Path) -> None:
    """The process is stopped while more comes than the rings hold."""
    outcomes = []
    for strict in ((), ("--strict",)):
        file = tmp_path / "x.pcapng"
        words = ("tomcat01", "-w", str(file), "--json", *strict, OURS)
        with (
            capturing(*words, stdout=subprocess.PIPE) as process,
            speaking(lab.netns_path("tomcat01"), 1500) as say,
        ):
            process.send_signal(signal.SIGSTOP)
            for number in range(60_000):
                say(number)
            process.send_signal(signal.SIGCONT)
            code, told = end(process)
            assert process.stdout is not None
            summary = json.loads(process.stdout.read())
        outcomes.append(code)
        dropped = summary["dropped"]
        assert dropped > 0
        assert f"{dropped} of {summary['received']} frames were dropped" in told
        assert summary["received"] == summary["frames"] + dropped == 3 * 60_000
        assert len(read_frames(str(file))) == summary["frames"]
    assert outcomes == [0, 1]


def test_files_follow_each_other_as_dumpcap_has_them(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "x.pcapng"
    words = ("all", "-w", str(file), "-b", "packets:100", "-b", "files:3", "-a", "files:5", OURS)
    with (
        capturing(*words, "--json", stdout=subprocess.PIPE) as process,
        speaking(lab.netns_path("tomcat01")) as say,
    ):
        for number in range(110):
            say(number)
        assert process.wait(timeout=30) == 0
        assert process.stdout is not None
        summary = json.loads(process.stdout.read())
    names = sorted(str(one) for one in tmp_path.iterdir())
    assert summary["files"] == names
    assert [re.search(r"x_(\d+)_", name)[1] for name in names] == ["00003", "00004", "00005"]  # type: ignore[index]
    assert [len(read_frames(name)) for name in names] == [100, 100, 100]
    assert (summary["frames"], summary["stopped"]) == (500, "files")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-b", "files:3", "-w", "x"], "-b files: does not say when a new file begins"),
        (["-b", "size:3", "-w", "x"], "use one of filesize:KB, duration:SECONDS, packets:N"),
        (["-b", "filesize:0", "-w", "x"], "must be more than 0"),
        (["-b", "filesize:9"], "needs a file name"),
        (["-b", "filesize:9", "-w", "-"], "needs a file name"),
        (["-a", "files:9", "-w", "x"], "add -b filesize:KB"),
        (["-a", "duration:inf", "-w", "x"], "must be more than 0"),
    ],
)
def test_a_rotation_that_cannot_be_is_one_line(lab: Lab, words: list[str], told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "analyzer", "capture", *words, "--engine", f"lab:{NAME}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert told in done.stderr


def test_the_terminal_shows_one_live_line(lab: Lab, tmp_path: Path) -> None:
    """On a pseudo-terminal; without one there is none (the tests above would have seen it)."""
    import pty

    ours, theirs = pty.openpty()
    file = tmp_path / "x.pcapng"
    words = ("capture", "all", "-w", str(file), OURS, "--engine", f"lab:{NAME}")
    shown = bytearray()

    def read() -> None:
        while True:
            try:
                shown.extend(os.read(ours, 4096))
            except OSError:
                return

    process = subprocess.Popen(
        [sys.executable, "-m", "analyzer", *words], stderr=theirs, stdout=theirs
    )
    os.close(theirs)
    reader = threading.Thread(target=read)
    reader.start()
    try:
        with speaking(lab.netns_path("tomcat01")) as say:
            give_up = time.monotonic() + 30
            while not re.search(
                r"\r\x1b\[K\d+ frames · \d+/s · 0 dropped", shown.decode(errors="replace")
            ):
                assert time.monotonic() < give_up, shown.decode(errors="replace")
                say(1, 0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(ours)
    assert "5 vantages" in shown.decode(errors="replace")
    assert "dropped by kernel" in shown.decode(errors="replace")
