"""However a capture ends, nothing is lost that no counter of the kernel calls lost.

Traffic that loses nothing, part of it through a queue, is captured: stopped at random moments and
after a random number of frames, killed, rotated. Files are cut where SIGKILL may cut them (they are
written block by block), and files of a rotation are read alone, and with others missing in between.
Truth: the queue dropped nothing by its own counter.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from drawn import LONG
from test_faults import capturing, lab

from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.analysis.stream import stream_files
from analyzer.capture.options import CaptureOptions, Limits
from analyzer.capture.ring import Ring
from analyzer.capture.series import Rotation
from analyzer.capture.source import Source
from analyzer.engines.lab import Lab
from analyzer.model.batch import Batch
from analyzer.model.journeys import Status
from analyzer.model.report import Report
from analyzer.model.topology import Topology
from analyzer.tap.options import TapOptions
from analyzer.tap.tap import Tap
from analyzer.topology.discover import discover
from analyzer.topology.vantages import select_vantages

__all__ = ["lab"]  # a fixture

pytestmark = pytest.mark.root
TIMES = 10 if LONG else 1
_READY = "import socket,time\ns=socket.socket(2,2)\nprint('ready',flush=True)\n"
_SINK = (
    "import socket\ns=socket.socket(2,2)\ns.bind(('',9999))\ns.setsockopt(1,8,1<<22)\n"
    "print('ready',flush=True)\nwhile 1: s.recv(2000)"
)
_BURSTS = _READY + (
    "while 1:\n for _ in range(15): s.sendto(bytes(1000),('172.17.0.3',9999))\n time.sleep(0.1)"
)
"""1.2 Mbit/s into a queue that lets 2 Mbit/s go: most of the time something waits in it"""
_PACED = _READY + "while 1:\n s.sendto(bytes(100),('172.17.0.2',9999))\n time.sleep(0.005)"


@dataclass
class Healthy:
    """A lab whose traffic loses nothing."""

    lab: Lab
    port: str
    """host veth with a queue"""
    topology: Topology
    folder: Path
    dice: random.Random

    def dropped(self) -> int:
        """By the queue."""
        shown = self.lab.run("host", ["tc", "-s", "-j", "qdisc", "show", "dev", self.port]).stdout
        return sum(int(one["drops"]) for one in json.loads(shown))

    def capture(
        self, seconds: float | None, frames: int | None = None, rotation: Rotation | None = None
    ) -> list[Path]:
        """The files. seconds: None: until so many frames were captured."""
        options = TapOptions(CaptureOptions(limits=Limits(frames), rotation=rotation))
        tap = Tap(
            self.topology, select_vantages(self.topology), str(self.folder / "x.pcapng"), options
        )
        running = threading.Thread(target=tap.run)
        with tap:
            running.start()
            running.join(seconds)
            tap.stop()
            running.join()
        assert tap.stats is not None
        assert tap.stats.dropped == 0
        return [Path(name) for name in tap.stats.files]

    def check(self, files: Sequence[Path]) -> Report:
        """Nothing may be lost."""
        report, _ = report_files([str(file) for file in files])
        assert not report.losses
        assert not any(row.lost for row in report.icmp)
        return report


class _Lost:
    """A sink that counts what is called lost."""

    count = 0

    def add(self, batch: Batch) -> None:
        self.count += int((batch.journeys.status == Status.LOST).sum())


def packets_lost(file: Path) -> int:
    """By the journeys alone: much quicker than a report."""
    sink = _Lost()
    stream_files([str(file)], AnalysisOptions(), lambda reading, edges: [sink])
    return sink.count


@pytest.fixture
def healthy(lab: Lab, tmp_path: Path) -> Iterator[Healthy]:
    inside = json.loads(lab.run("tomcat02", ["ip", "-j", "link", "show", "eth0"]).stdout)[0]
    links = json.loads(lab.run("host", ["ip", "-j", "link"]).stdout)
    port = next(link["ifname"] for link in links if link["ifindex"] == inside["link_index"])
    queue = ["tbf", "rate", "2mbit", "burst", "2000", "limit", "1000000"]
    lab.run("host", ["tc", "qdisc", "replace", "dev", port, "root", *queue])
    with ExitStack() as stack:
        speakers = [
            ("tomcat01", _SINK),
            ("tomcat02", _SINK),
            ("tomcat01", _BURSTS),
            ("host", _PACED),
        ]
        for name, code in speakers:
            words = [sys.executable, "-c", code]
            one = stack.enter_context(lab.start(name, words, stdout=subprocess.PIPE, text=True))
            stack.callback(one.kill)
            assert one.stdout.readline() == "ready\n"
        ping = ["ping", "-q", "-i", "0.01", "172.17.0.3"]
        asking = stack.enter_context(lab.start("tomcat01", ping, stdout=subprocess.DEVNULL))
        stack.callback(asking.kill)
        found = Healthy(lab, port, discover(lab), tmp_path, random.Random(7 if not LONG else None))
        yield found
        assert found.dropped() == 0


def test_stopped_at_random_moments(healthy: Healthy) -> None:
    for _ in range(10 * TIMES):
        healthy.check(healthy.capture(healthy.dice.uniform(0, 0.3)))
    for _ in range(6 * TIMES):
        frames = healthy.dice.randrange(20, 400)
        report = healthy.check(healthy.capture(None, frames))
        assert report.capture.frames == frames


def test_rings_that_begin_one_after_the_other(
    healthy: Healthy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And end so: what one of them hears alone is not lost to the others."""
    start, hush = Ring.start, Source.hush

    def start_late(ring: Ring) -> None:
        start(ring)
        time.sleep(0.03)

    def hush_late(source: Source) -> None:
        hush(source)
        time.sleep(0.03)

    monkeypatch.setattr(Ring, "start", start_late)
    monkeypatch.setattr(Source, "hush", hush_late)
    for _ in range(2 * TIMES):
        assert healthy.check(healthy.capture(0.1)).capture.frames


def test_rotated(healthy: Healthy) -> None:
    dice = healthy.dice
    rotations = [
        lambda: Rotation(max_kilobytes=dice.randrange(60, 120)),
        lambda: Rotation(max_packets=dice.randrange(100, 300)),
        lambda: Rotation(max_seconds=dice.uniform(0.1, 0.3)),
    ]
    for _ in range(TIMES):
        for rotation in rotations:
            files = healthy.capture(dice.uniform(0.6, 1), rotation=rotation())
            assert len(files) > 1
            for some in (*([file] for file in files[:4]), files, files[::2], files[::3]):
                healthy.check(some)


def test_a_backlog_of_many_seconds_at_the_end(healthy: Healthy) -> None:
    """What has waited for longer than other queues hold a packet is not lost either."""
    shape = ["tbf", "rate", "256kbit", "burst", "2000", "limit", "10000000"]
    healthy.lab.run("host", ["tc", "qdisc", "replace", "dev", healthy.port, "root", *shape])
    report, _ = report_files([str(file) for file in healthy.capture(7)])
    assert not healthy.dropped()
    healthy.lab.run("host", ["tc", "qdisc", "del", "dev", healthy.port, "root"])
    assert not report.losses
    waits = [hop.max_ns for hop in report.hops if hop.kind == "bridge" and hop.packets]
    assert max(filter(None, waits)) > 5_000_000_000


def test_killed(healthy: Healthy) -> None:
    for number in range(2 * TIMES):
        file = healthy.folder / f"{number}.pcapng"
        with capturing("all", "-w", str(file)) as process:
            time.sleep(healthy.dice.uniform(0.3, 0.6))
            process.send_signal(signal.SIGKILL)
            process.wait()
        healthy.check([file])


def test_cut_anywhere(healthy: Healthy) -> None:
    """What SIGKILL leaves, and a full disk: whole blocks, or the start of one."""
    (whole,) = healthy.capture(1.5)
    data, cut = whole.read_bytes(), healthy.folder / "cut.pcapng"
    for number in range(150 * TIMES):
        cut.write_bytes(data[: healthy.dice.randrange(len(data) // 10, len(data))])
        if number % 15:
            assert not packets_lost(cut)
        else:
            healthy.check([cut])
