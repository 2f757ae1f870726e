"""One bridge with up to 500 veths: what a frame costs, what a start takes, what memory is held."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from bench_lab import BenchLab, bench_lab
from capturers import Outcome, settle, vethscope
from cpu_time import status_kib
from tables import print_table, ratio, thousands

pytestmark = [pytest.mark.root, pytest.mark.timeout(1200)]


def packet_sockets(lab: BenchLab, pid: int) -> int:
    """How many of the host's packet sockets (/proc/net/packet) are the process's."""
    own = {os.readlink(one) for one in Path(f"/proc/{pid}/fd").iterdir()}
    lines = lab.inside("host", ["cat", "/proc/thread-self/net/packet"]).splitlines()[1:]
    return sum(f"socket:[{line.split()[-1]}]" in own for line in lines)


def mapped_kib(pid: int) -> int:
    """Memory of its rings: mappings of packet sockets in /proc/PID/smaps."""
    ring, total = False, 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name = line.split(" ", 1)[0]
        if not name.endswith(":"):
            ring = "socket:[" in line
        elif ring and name == "Size:":
            total += int(line.split()[1])
    return total


def test_cost_of_many_vantages(tmp_path: Path, effort: Any, conditions: str) -> None:
    """The labs stand side by side and take turns."""
    sizes = (2, 10, 100, 500) if effort.full else (3,)
    rounds, frames = effort.of(5, 1), effort.of(300_000, 2_000)
    found: dict[int, list[Outcome]] = {size: [] for size in sizes}
    with ExitStack() as stack:
        labs = {size: stack.enter_context(bench_lab(size)) for size in sizes}
        for _ in range(rounds):
            for size, lab in labs.items():
                capture = vethscope(lab.engine, [], ("--no-inside",))
                work = partial(lab.flood, frames)
                found[size].append(capture.measure([], tmp_path, work, 3 * frames))
    first = min(one.cpu_ns_per_frame for one in found[sizes[0]])
    rows = [_row(size, each, first) for size, each in found.items()]
    title = f"vantages of one bridge, {rounds} × {frames} 60-byte frames between two; {conditions}"
    heads = ("vantages", "sent/s", "lost", "CPU/frame", "best", "of first")
    print_table(title, heads, rows)


def _row(size: int, outcomes: list[Outcome], first: float) -> Sequence[object]:
    """The best is compared: what others do on the machine only adds to it."""
    best = min(one.cpu_ns_per_frame for one in outcomes)
    return (
        f"{size + 1}",
        thousands(median(one.result.rate for one in outcomes)),
        sum(one.dropped for one in outcomes),
        f"{median(one.cpu_ns_per_frame for one in outcomes):.0f} ns",
        f"{best:.0f} ns",
        ratio(best, first),
    )


def test_start_with_many_containers(tmp_path: Path, effort: Any, conditions: str) -> None:
    containers, rounds = effort.of(500, 10), effort.of(5, 1)
    rows: list[Sequence[object]] = []
    with bench_lab(containers) as lab:
        for name, options in (("host side", ("--no-inside",)), ("inside too", ())):
            capture = vethscope(lab.engine, [], options)
            seconds: list[float] = []
            rss = rings = sockets = 0
            said = ""
            for _ in range(rounds):
                begin = time.monotonic()
                (running,) = capture.start([], tmp_path)
                try:
                    running.wait_for(capture.ready)
                    seconds.append(time.monotonic() - begin)
                    settle([running.file])
                    rss = status_kib(running.process.pid, "VmRSS")
                    sockets = packet_sockets(lab, running.process.pid)
                    rings = mapped_kib(running.process.pid) >> 10
                    said = running.finish()
                finally:
                    running.end()
            assert " 0 dropped by kernel" in said
            assert sockets == 1
            rows.append(
                (name, f"{median(seconds):.2f} s", sockets, f"{rss >> 10} MiB", f"{rings} MiB")
            )
    title = f"start of capture with {containers} containers, topology included; {conditions}"
    print_table(title, ("vantages", "start", "sockets on the host", "RSS", "rings"), rows)
