"""A TCP stream in frames of up to 64 KiB at five vantages: more than any file can take.

Each byte is captured five times, so a stream of 1 GB/s makes files of 5 GB/s, and memory can
hardly be copied so fast. Ours keeps payload once, and cuts it while its rings fill up.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from bench_lab import RECEIVER, SENDER, bench_lab
from capturers import Outcome, tcpdump, vethscope
from tables import print_table

pytestmark = [pytest.mark.root, pytest.mark.timeout(1200)]


def test_bulk(tmp_path: Path, effort: Any, conditions: str) -> None:
    rounds, mebibytes = effort.of(3, 1), effort.of(400, 2)
    found: dict[str, list[Outcome]] = {}
    with bench_lab(2) as lab:
        vantages = lab.named(SENDER, RECEIVER, inside=True)
        for _ in range(rounds):
            for options in ((), ("-s", "128")):
                ours = vethscope(lab.engine, [one.name for one in vantages], options)
                for one in (ours, tcpdump(options) if effort.full else tcpdump(options).hurried()):
                    size = 0 if options else 5 * mebibytes << 20
                    outcome = one.measure(
                        lab.places(vantages), tmp_path, lambda: lab.bulk(mebibytes), 0, size
                    )
                    found.setdefault(" ".join((one.name, *options)), []).append(outcome)
    title = f"TCP, five vantages: {rounds} × {mebibytes} MiB; {conditions}"
    heads = ("capture", "stream", "frames", "lost", "CPU/frame")
    print_table(title, heads, [_row(name, each) for name, each in found.items()])


def _row(name: str, outcomes: list[Outcome]) -> Sequence[object]:
    lost = sum(one.dropped for one in outcomes)
    lost /= max(1, lost + sum(one.frames for one in outcomes))
    return (
        name,
        f"{median(one.result for one in outcomes) / 1e9:.2f} GB/s",
        sum(one.frames for one in outcomes),
        f"{lost:.2%}" if lost else "0",
        f"{median(one.cpu_ns_per_frame for one in outcomes) / 1000:.2f} µs",
    )
