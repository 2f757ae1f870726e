"""Break a lab, send through it, and read what is said of it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from drawn import LONG

from analyzer.analysis import reading
from analyzer.analysis.analyse import report_files
from analyzer.app.ping import PingPlan, PingResult, ping
from analyzer.capture.options import MAX_SNAPLEN, CaptureOptions
from analyzer.engines.lab import Lab
from analyzer.model.report import LossRow, Report
from analyzer.tap.options import TapOptions
from analyzer.tap.tap import Tap
from analyzer.topology.discover import discover
from analyzer.topology.vantages import select_vantages

MOST_PIECES = 30 if LONG else 8
"""that a file is read in a second time: a piece costs the same, however few its frames are"""


class Bench:
    """Break a lab, send through it, and read what is said of it."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.file = str(folder / "drops.pcapng")

    def host(self, command: str) -> str:
        return self.lab.run("host", ["sh", "-ec", command]).stdout

    def inside(self, container: str, command: str, *, check: bool = True) -> str:
        return self.lab.run(container, ["sh", "-ec", command], check=check).stdout

    def veth(self, container: str) -> str:
        """Its host veth, as `ip link` tells it."""
        inside = json.loads(self.inside(container, "ip -j link show eth0"))[0]
        links = json.loads(self.host("ip -j link"))
        return next(link["ifname"] for link in links if link["ifindex"] == inside["link_index"])

    def mac(self, container: str) -> str:
        return str(json.loads(self.inside(container, "ip -j link show eth0"))[0]["address"])

    def bridge_netfilter(self) -> None:
        self.host("sysctl -qw net.bridge.bridge-nf-call-iptables=1")

    def ping(
        self, source: str = "tomcat01", destination: str = "tomcat02", **options: Any
    ) -> PingResult:
        on_echo = options.pop("on_echo", None)
        plan = {"count": 5, "interval_s": 0.01, "wait_s": 0.3, "drops": True, **options}
        found = ping(self.lab, PingPlan(source, destination, output=self.file, **plan), on_echo)
        self.expect_the_same_in_pieces(report_files([self.file])[0])
        return found

    def capture(
        self,
        targets: list[str],
        act: Callable[[], object],
        *,
        filter_text: str = "",
        snaplen: int = MAX_SNAPLEN,
        promiscuous: bool = True,
        uplink: bool = False,
        warned: Sequence[str] = (),
    ) -> Report:
        """Capture around ``act``, and report on the file."""
        topology = discover(self.lab)
        vantages = select_vantages(topology, targets=targets, uplink=uplink)
        options = CaptureOptions(filter=filter_text, snaplen=snaplen, promiscuous=promiscuous)
        tap = Tap(topology, vantages, self.file, TapOptions(options, drops=True))
        running = threading.Thread(target=tap.run)
        with tap:
            running.start()
            try:
                act()
            finally:
                tap.stop()
                running.join()
        assert tap.warnings == list(warned)
        report, errors = report_files([self.file])
        assert errors == []
        self.expect_the_same_in_pieces(report)
        return report

    @contextmanager
    def serving(self, container: str, code: str) -> Iterator[None]:
        """While a Python program runs in a container, which has said ``ready``."""
        words = [sys.executable, "-c", code]
        with self.lab.start(container, words, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout.readline() == "ready\n"
                yield
            finally:
                server.kill()

    def expect_the_same_in_pieces(self, report: Report) -> None:
        """Read a few frames at a time, the file tells what it told in one piece."""
        whole, size = report.to_json(), reading.CHUNK_FRAMES
        reading.CHUNK_FRAMES = max(5, report.capture.frames // MOST_PIECES)
        try:
            pieces = report_files([self.file])[0].to_json()
        finally:
            reading.CHUNK_FRAMES = size
        for key in whole:
            assert pieces[key] == whole[key], _differences(key, pieces[key], whole[key])


def _differences(key: str, some: Any, others: Any) -> tuple[str, list[Any], list[Any]]:
    if not isinstance(some, list):
        return key, [some], [others]
    left, right = (
        [row for row in one if row not in two] for one, two in ((some, others), (others, some))
    )
    return key, left, right


def the_loss(report: Report, protocol: str = "icmp") -> LossRow:
    """The one loss of this protocol."""
    (row,) = [row for row in report.losses if row.protocol == protocol]
    LOSSES.append(row)
    return row


LOSSES: list[LossRow] = []
"""that a test has looked at"""
