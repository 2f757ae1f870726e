"""What is recorded beside the frames of many containers: its cost at both ends, and while nothing
happens."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from bench_lab import BenchLab, bench_lab
from capturers import count_frames, vethscope
from tables import print_table

from analyzer.engines import open_engine
from analyzer.recorders.evidence.namespace import read_namespaces
from analyzer.recorders.settings.facts import facts_of, read_facts
from analyzer.tap.evidence import namespaces_of
from analyzer.topology.discover import discover
from analyzer.topology.vantages import select_vantages

pytestmark = [pytest.mark.root, pytest.mark.timeout(1200)]
_STARTED_S = 10
"""what is read at the start has been by then"""


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of CPU in this process."""
    begin, used = time.monotonic(), time.process_time()
    work()
    return time.monotonic() - begin, time.process_time() - used


def test_what_is_read_at_each_end(effort: Any, conditions: str) -> None:
    containers, rounds = effort.of(500, 10), effort.of(5, 1)
    with bench_lab(containers) as lab, open_engine(lab.engine) as engine:
        topology = discover(engine)
        vantages = select_vantages(topology, targets=["all"], uplink=False)
        spaces = namespaces_of(vantages, topology.netns_paths)
        whole = list(read_namespaces(spaces, at_start=True))
        assert [one.netns for one in whole if not one.absent.get("namespace")] == list(spaces)
        works = {
            "settings": lambda: read_facts(vantages, topology.netns_paths),
            "counters and state": lambda: list(read_namespaces(spaces, at_start=True)),
            "settings, of these": lambda: facts_of(whole, vantages),
        }
        costs = {name: [timed(work) for _ in range(rounds)] for name, work in works.items()}
    rows = [
        (name, *(f"{median(values):.2f} s" for values in zip(*each, strict=True)))
        for name, each in costs.items()
    ]
    title = f"read of {containers + 1} namespaces at each end; {conditions}"
    print_table(title, ("what", "clock", "CPU"), rows)


def test_what_a_capture_costs_while_nothing_happens(
    tmp_path: Path, effort: Any, conditions: str
) -> None:
    """IPv6 is off: a new interface solicits routers for an hour, ever more seldom (RFC 7559)."""
    containers, seconds = effort.of(500, 10), effort.of(30, 1)
    with bench_lab(containers) as lab:
        lab.inside("host", ["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"])
        time.sleep(effort.of(20, 0))
        rows = [_idle(lab, tmp_path, seconds, options) for options in ((), ("--drops",))]
    title = f"{containers} containers that do nothing, {seconds} s; {conditions}"
    print_table(title, ("", "frames", "CPU of one core", "end"), rows)


def _idle(lab: BenchLab, folder: Path, seconds: float, options: Sequence[str]) -> Sequence[object]:
    capture = vethscope(lab.engine, [], ("all", *options))
    (running,) = capture.start([], folder)
    try:
        running.wait_for(capture.ready)
        time.sleep(min(seconds, _STARTED_S))
        running.mark()
        time.sleep(seconds)
        running.mark()
        begin = time.monotonic()
        said = running.finish()
        end_s = time.monotonic() - begin
    finally:
        running.end()
    assert " 0 dropped by kernel" in said
    frames = count_frames(running.file)
    share = running.cpu_ns / (seconds * 1e9)
    return (" ".join(("capture all", *options)), frames, f"{share:.2%}", f"{end_s:.1f} s")
