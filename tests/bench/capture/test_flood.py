"""A sender at full speed, captured at three and at five vantages, by ours and by its peers.

The programs take turns within each round, so that whatever else the machine does falls on all
of them. Printed are medians over the rounds, and the best of CPU time, to which others' work only
adds. It is that of the capturing processes from the end of their start-up until their files have
settled; the sender's own is told beside it, because the taps on a frame's way are its work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from bench_lab import RECEIVER, SENDER, BenchLab, Flood, bench_lab
from capturers import Outcome, dumpcap, tcpdump, vethscope
from tables import print_table, ratio, thousands

pytestmark = [pytest.mark.root, pytest.mark.timeout(1200)]

HEADS = (
    "capture",
    "sent/s",
    "of none",
    "sender's CPU",
    "lost",
    "CPU/frame",
    "best",
    "of tcpdump",
    "user",
    "system",
)


@pytest.fixture(scope="module")
def pair() -> Iterator[BenchLab]:
    with bench_lab(2) as lab:
        yield lab


@dataclass(frozen=True)
class Case:
    """What is sent and who captures it."""

    title: str
    inside: bool = False
    size: int = 60
    snaplen: int = 0
    frames: int = 300_000

    @property
    def kept(self) -> int:
        """Bytes of a frame in the file."""
        return min(self.size, self.snaplen or self.size)

    def __str__(self) -> str:
        return self.title


CASES = (
    Case("60-byte frames, five vantages", inside=True),
    Case("60-byte frames, three vantages"),
    Case("1,514-byte frames, three vantages", size=1514, frames=200_000),
    Case("1,514-byte frames, five vantages", inside=True, size=1514, frames=100_000),
    Case("1,514-byte frames cut to 96, three vantages", size=1514, snaplen=96),
)


def test_flood(case: Case, pair: BenchLab, tmp_path: Path, effort: Any, conditions: str) -> None:
    vantages = pair.named(SENDER, RECEIVER, inside=case.inside)
    options = ("-s", str(case.snaplen)) if case.snaplen else ()
    ours = vethscope(pair.engine, [one.name for one in vantages], options)
    peers = [tcpdump(options), dumpcap(options)] if effort.full else [tcpdump(options).hurried()]
    frames, rounds = effort.of(case.frames, 2_000), effort.of(5, 1)
    free: list[Flood] = []
    found: dict[str, list[Outcome]] = {}
    for _ in range(rounds):
        free.append(pair.flood(frames, case.size))
        for one in (ours, *peers):
            outcome = one.measure(
                pair.places(vantages),
                tmp_path,
                lambda: pair.flood(frames, case.size),
                frames * len(vantages),
                frames * len(vantages) * (case.kept + 44),
            )
            found.setdefault(one.name, []).append(outcome)
    title = f"{case.title}: {rounds} × {frames} frames sent; {conditions}"
    print_table(title, HEADS, _rows(free, found))
    if not effort.full:
        assert [one.dropped for one in found["vethscope"]] == [0]


def _rows(free: list[Flood], found: dict[str, list[Outcome]]) -> list[Sequence[object]]:
    peer = median(one.cpu_ns_per_frame for one in found["tcpdump"])
    alone = median(one.rate for one in free)
    rows: list[Sequence[object]] = [("none", *_sent(free, alone), *[""] * 6)]
    for name, outcomes in found.items():
        lost = sum(one.dropped for one in outcomes) / sum(o.dropped + o.frames for o in outcomes)
        cpu = median(one.cpu_ns_per_frame for one in outcomes)
        rows.append(
            (
                name,
                *_sent([one.result for one in outcomes], alone),
                f"{lost:.2%}" if lost else "0",
                f"{cpu:.0f} ns",
                f"{min(one.cpu_ns_per_frame for one in outcomes):.0f} ns",
                ratio(cpu, peer),
                f"{median(one.user_ns / one.frames for one in outcomes):.0f} ns",
                f"{median(one.system_ns / one.frames for one in outcomes):.0f} ns",
            )
        )
    return rows


def _sent(floods: Sequence[Flood], alone: float) -> tuple[str, str, str]:
    rate = median(one.rate for one in floods)
    cpu = median(one.cpu_ns for one in floods)
    return thousands(rate), ratio(rate, alone), f"{cpu / 1000:.2f} µs"
