"""What a capture does to a ping between the containers that it watches."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from bench_lab import RECEIVER, SENDER, BenchLab, bench_lab
from capturers import tcpdump, vethscope
from tables import print_table, ratio

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]


def ping_p50_us(lab: BenchLab, count: int) -> float:
    """Median of the round trips that ping(8) tells; an echo every 2 ms."""
    address = lab.address(RECEIVER)
    said = lab.inside(SENDER, ["ping", "-i", "0.002", "-c", str(count), address])
    return median(float(one) * 1000 for one in re.findall(r"time=([\d.]+) ms", said))


def test_ping_under_capture(tmp_path: Path, effort: Any, conditions: str) -> None:
    rounds, count = effort.of(7, 1), effort.of(1500, 20)
    with bench_lab(2) as lab:
        vantages = lab.named(SENDER, RECEIVER)
        ours = vethscope(lab.engine, [one.name for one in vantages])
        found: dict[str, list[float]] = {"none": [], "vethscope": [], "tcpdump": []}
        for _ in range(rounds):
            found["none"].append(ping_p50_us(lab, count))
            for one in (ours, tcpdump().hurried()):
                outcome = one.measure(
                    lab.places(vantages), tmp_path, lambda: ping_p50_us(lab, count), 0
                )
                found[one.name].append(outcome.result)
                assert one is not ours or outcome.frames >= 6 * count
    peer = median(found["tcpdump"])
    rows = [
        (name, f"{median(each):.1f} µs", ratio(median(each), peer)) for name, each in found.items()
    ]
    title = f"ping, RTT p50, three vantages: {rounds} × {count} echoes; {conditions}"
    print_table(title, ("capture", "RTT p50", "of tcpdump"), rows)
