"""What goes wrong under a capture: interfaces that vanish, full rings and disks, SIGKILL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sessions import OURS, numbers, open_sockets, running, wait_for

from analyzer.analysis.analyse import report_files
from analyzer.analysis.reading import Reading
from analyzer.capture.options import CaptureOptions
from analyzer.capture.ring_settings import KIB, RingSettings
from analyzer.capture.session import CaptureSession
from analyzer.errors import CaptureError

pytestmark = pytest.mark.root


def test_a_veth_that_vanishes_ends_its_vantages_and_nothing_else(
    lab: Any, tmp_path: Path, reading: Any
) -> None:
    session = CaptureSession(lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS))
    before = len(open_sockets())
    with running(session):
        opened = len(open_sockets())
        assert opened - before == 5  # three rings and the host's netlink, to hear and to ask
        lab.send(lab.numbered(300))
        last = _swapped(lab.frame(1000))
        deleted_ns = time.time_ns()
        lab.run("host", "ip link delete veA")
        wait_for(lambda: len(open_sockets()) == opened - 1)
        with lab.socket("b") as sender:
            sender.send(last)
        assert session.stats().stopped == ""
    found = reading(tmp_path / "a")
    for name in ("a:eth0", "veA"):
        assert numbers(found.at(name)) == list(range(300))
        assert deleted_ns < found.statistics[name]["ended_ns"] < time.time_ns()
    assert numbers(found.at("b:eth0")) == [*range(300), 1000]
    assert "ended_ns" not in found.statistics["veB"]
    stats = session.close()
    assert [one.ended_ns is None for one in stats.vantages] == [True, False, True, False, True]
    assert len(open_sockets()) == before


def _swapped(frame: bytes) -> bytes:
    """The other way: from b to an address that the bridge floods."""
    return b"\x02\x00\x00\x00\x00\x01" + frame[:6] + frame[12:]


def test_when_all_are_gone_it_ends_by_itself(lab: Any, tmp_path: Path, reading: Any) -> None:
    session = CaptureSession(
        lab.vantages("veA", "a:eth0"), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS)
    )
    with running(session) as future:
        lab.send(lab.numbered(30))
        lab.run("host", "ip link delete veA")
        stats = future.result(timeout=60)
    assert stats.stopped == "gone"
    assert stats.warnings == ("all captured interfaces are gone: the capture ended by itself",)
    assert len(reading(tmp_path / "a").frames) == 60


def test_drops_are_counted_to_the_frame(lab: Any, tmp_path: Path, reading: Any) -> None:
    """A ring of two blocks that nobody empties: written + dropped = what the interface sent."""
    count = 20_000
    session = CaptureSession(
        lab.vantages("veA", "veB", "a:eth0"),
        lab.paths,
        tmp_path / "a",
        CaptureOptions(filter=OURS, ring=RingSettings(128 * KIB, 2, inside_bytes=0)),
    )
    before = _sent(lab)
    session.open()
    lab.send(lab.numbered(count))
    stats = session.close()
    by_name = {one.vantage.name: one for one in stats.vantages}
    inside = by_name["a:eth0"]
    assert _sent(lab) - before == count
    assert inside.dropped is not None
    assert inside.dropped > 0
    assert inside.received == inside.frames + inside.dropped == count
    assert by_name["veA"].dropped is by_name["veB"].received is None
    host = stats.rings[0]
    assert host.received == 2 * count
    assert host.dropped == 2 * count - by_name["veA"].frames - by_name["veB"].frames
    found = reading(tmp_path / "a")
    assert found.statistics["a:eth0"]["osdrop"] == inside.dropped
    assert "osdrop" not in found.statistics["veA"]
    assert found.statistics["veA"]["ring_dropped"] == host.dropped
    assert numbers(found.at("a:eth0")) == list(range(inside.frames))


def test_drops_that_no_frame_follows_are_told_before_we_are_killed(
    lab: Any, tmp_path: Path
) -> None:
    """A file that ends anywhere says which rings lacked frames."""
    session = CaptureSession(
        lab.vantages("veA", "a:eth0"),
        lab.paths,
        tmp_path / "a",
        CaptureOptions(filter=OURS, ring=RingSettings(128 * KIB, 2, inside_bytes=0)),
    )
    with session:
        lab.send(lab.numbered(20_000))
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(session.run)
            wait_for(lambda: b'"so_far"' in (tmp_path / "a").read_bytes())
            (tmp_path / "killed").write_bytes((tmp_path / "a").read_bytes())
            session.stop()
            future.result(timeout=60)
    stats = session.close()
    for name, ended in (("killed", False), ("a", True)):
        found = Reading.open([str(tmp_path / name)])
        found.foresee()
        assert found.foreseen is not None
        assert [one.ended for one in found.foreseen] == [ended] * 2
        dropped = [stats.rings[one.ring].dropped for one in session.vantages]
        assert [one.ring_dropped for one in found.foreseen] == dropped
        assert min(dropped) > 0
        report, _ = report_files([str(tmp_path / name)])
        assert ("not-ended" in {one.code for one in report.findings}) is not ended


def test_drops_stand_where_they_happened(lab: Any, tmp_path: Path) -> None:
    """The numbers of the frames tell where some are missing; tshark reads the count there."""
    session = CaptureSession(
        lab.vantages("a:eth0"),
        lab.paths,
        tmp_path / "a",
        CaptureOptions(filter=OURS, ring=RingSettings(128 * KIB, 4, inside_bytes=0)),
    )
    with session:
        lab.send(lab.numbered(10_000))
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(session.run)
            wait_for(lambda: session.stats().frames + session.stats().dropped == 10_000)
            lab.send([lab.frame(n) for n in range(20_000, 20_010)])
            session.stop()
            future.result(timeout=60)
    stats = session.close()
    fields = ("data.data", "frame.drop_count")
    told = subprocess.run(
        ["tshark", "-nr", str(tmp_path / "a"), "-T", "fields", *(f"-e{name}" for name in fields)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    rows = [(int(data[:8], 16), int(count or 0)) for data, count in (r.split("\t") for r in told)]
    gaps = [(n, n - before - 1) for (before, _), (n, _) in pairwise(rows)]
    assert [(n, count) for n, count in rows if count] == [
        (n, gap - 10_000) for n, gap in gaps if gap
    ]
    assert sum(count for _, count in rows) == stats.dropped > 0


def _sent(lab: Any) -> int:
    shown = json.loads(lab.run("a", "ip -s -j link show eth0"))
    return int(shown[0]["stats64"]["tx"]["packets"])


def test_a_full_disk_is_one_line_with_what_the_file_holds(
    lab: Any, tmp_path: Path, reading: Any
) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], check=True)
    try:
        session = CaptureSession(
            lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS)
        )
        session.open()
        lab.send(lab.numbered(2000))
        with pytest.raises(CaptureError, match="No space left on device") as raised:
            session.run()
        stats = session.close()
        found = reading(tmp_path / "a")
        size = (tmp_path / "a").stat().st_size
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert f"it holds {len(found.frames)} whole frames ({size} bytes)" in str(raised.value)
    assert stats.frames == len(found.frames) > 1000
    assert (stats.stopped, stats.file_bytes) == ("error", size)
    for one in stats.vantages:
        assert one.frames == len(found.at(one.vantage.name))


def test_a_reader_that_goes_away_ends_it_quietly(lab: Any) -> None:
    reading_end, writing_end = os.pipe()
    with os.fdopen(writing_end, "wb") as stream:
        session = CaptureSession(lab.vantages(), lab.paths, stream, CaptureOptions(filter=OURS))
        with running(session) as future:
            os.close(reading_end)
            lab.send(lab.numbered(3))
            assert future.result(timeout=60).stopped == "pipe"
    assert session.close().frames == 0


def test_any_prefix_of_a_killed_capture_is_readable(lab: Any, tmp_path: Path, reading: Any) -> None:
    path = tmp_path / "a"
    lines = (
        "import sys",
        "from analyzer.model.vantage import Vantage",
        "from analyzer.capture.options import CaptureOptions",
        "from analyzer.capture.session import CaptureSession",
        "ifindex, inode, fd = map(int, sys.argv[2:])",
        "vantage = Vantage('veA', 'veA', netns=inode, ifindex=ifindex)",
        "paths = {inode: f'/proc/self/fd/{fd}'}",
        "with CaptureSession([vantage], paths, sys.argv[1], CaptureOptions()) as session:",
        "    print('ready', flush=True)",
        "    session.run()",
    )
    host = lab.fds["host"]
    numbers_ = [str(n) for n in (lab.index("host", "veA"), lab.inodes["host"], host)]
    command = [sys.executable, "-c", "\n".join(lines), str(path), *numbers_]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[host]) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        lab.send(lab.numbered(500))
        wait_for(lambda: len(numbers(reading(path).frames)) == 500)
        child.kill()
    found = reading(path)
    assert numbers(found.frames) == list(range(500))
    assert found.statistics == {}
    shown = subprocess.run(["tshark", "-r", path], capture_output=True, text=True, check=True)
    assert len(shown.stdout.splitlines()) == len(found.frames)
    half = numbers(reading(path.read_bytes()[: path.stat().st_size // 2 + 7]).frames)
    assert half == list(range(len(half)))
    assert len(half) > 200
