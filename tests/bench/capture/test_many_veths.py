"""One bridge with up to 500 veths: what a frame costs, what a start takes, what memory is held."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from bench_lab import BenchLab, bench_lab
from capturers import Capturer, settle, vethscope
from cpu_time import status_kib
from tables import print_table, ratio, thousands

pytestmark = [pytest.mark.root, pytest.mark.timeout(1200)]


def all_vantages(lab: BenchLab, *options: str) -> Capturer:
    return vethscope(lab.engine, [], options)


def packet_sockets(lab: BenchLab) -> int:
    """In the host's namespace (/proc/net/packet, one line each after the heading)."""
    return lab.inside("host", ["cat", "/proc/thread-self/net/packet"]).count("\n") - 1


def test_cost_of_many_vantages(tmp_path: Path, effort: Any, conditions: str) -> None:
    sizes = (2, 10, 100, 500) if effort.full else (3,)
    rounds, frames = effort.of(3, 1), effort.of(500_000, 2_000)
    rows: list[Sequence[object]] = []
    first = 0.0
    for size in sizes:
        with bench_lab(size) as lab:
            capture, sockets, found = all_vantages(lab, "--no-inside"), 0, []

            def work(lab: BenchLab = lab) -> float:
                nonlocal sockets
                sockets = packet_sockets(lab)
                return lab.flood(frames)

            for _ in range(rounds):
                found.append(capture.measure([], tmp_path, work, 3 * frames))
        assert sockets == 1
        cpu = median(one.cpu_ns_per_frame for one in found)
        first = first or cpu
        rows.append((
            f"{size + 1}", sockets, thousands(median(one.result for one in found)),
            sum(one.dropped for one in found), f"{cpu:.0f} ns", ratio(cpu, first),
        ))  # fmt: skip
    title = f"vantages of one bridge, 60-byte frames between two of them; {conditions}"
    print_table(title, ("vantages", "sockets", "sent/s", "lost", "CPU/frame", "of first"), rows)


def test_start_with_many_containers(tmp_path: Path, effort: Any, conditions: str) -> None:
    containers, rounds = effort.of(500, 10), effort.of(5, 1)
    rows: list[Sequence[object]] = []
    with bench_lab(containers) as lab:
        for name, options in (("host side", ("--no-inside",)), ("inside too", ())):
            capture = all_vantages(lab, *options)
            seconds, rss, locked, said = [], 0, 0, ""
            for _ in range(rounds):
                begin = time.monotonic()
                (running,) = capture.start([], tmp_path)
                try:
                    running.wait_for(capture.ready)
                    seconds.append(time.monotonic() - begin)
                    settle([running.file])
                    rss = status_kib(running.process.pid, "VmRSS")
                    locked = status_kib(running.process.pid, "RssShmem")
                    said = running.finish()
                finally:
                    running.end()
            assert " 0 dropped by kernel" in said
            rows.append((name, f"{median(seconds):.2f} s", f"{rss >> 10} MiB", f"{locked} KiB"))
    title = f"start of capture with {containers} containers, topology included; {conditions}"
    print_table(title, ("vantages", "start", "RSS", "RssShmem"), rows)
