"""Captures analysed by ours and by its peers, in the same run on the same file.

``make bench`` prints the tables; the small iteration checks that all of it still runs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from big_captures import UNIFORM, mixed, write_capture
from peers import DECODE, PEERS, Outcome, Program, analysis, report

pytestmark = pytest.mark.timeout(3600)

HEADS = ("", "frames", "seconds", "frames/s", "CPU ns/frame", "MB", "ours is")
_LENGTHS = (100_000, 1_000_000, 10_000_000, 30_000_000)
_FIVE_GB = 7_200_000
"""frames of the mix with all their bytes"""


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """All of it (``make bench``), or one small iteration."""
    return bool(request.config.getoption("--bench", default=False))


def show(title: str, rows: Sequence[Outcome], ours: Outcome | None = None) -> None:
    """A table of outcomes; ours: the one that the others are compared with."""
    texts = [list(HEADS), *(_row(one, ours) for one in rows)]
    widths = [max(len(row[n]) for row in texts) for n in range(len(HEADS))]
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"\n{title}; {os.cpu_count()} CPUs, load {load}")
    for row in texts:
        cells = [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
        print("  " + "  ".join(cells))


def _row(one: Outcome, ours: Outcome | None) -> list[str]:
    times = f"{ours.per_second / one.per_second:.0f} ×" if ours and one is not ours else ""
    return [
        one.name,
        f"{one.frames:,}",
        f"{one.seconds:.2f}",
        f"{one.per_second:,.0f}",
        f"{one.cpu_seconds / one.frames * 1e9:,.0f}",
        "" if ours else f"{one.memory_mb:.0f}",
        times,
    ]


@pytest.mark.parametrize("name", ["uniform", "mixed"])
def test_report_against_its_peers(name: str, full: bool, tmp_path: Path) -> None:
    path, small = tmp_path / f"{name}.pcapng", tmp_path / "small.pcapng"
    templates = UNIFORM if name == "uniform" else mixed()
    frames = write_capture(path, 3_000_000 if full else 600, templates, snaplen=96)
    write_capture(small, 300, templates, snaplen=96)
    ours = analysis(2, small).run(path, frames)
    rows = [report(2).run(path, frames), ours, analysis(1, small).run(path, frames)]
    rows.append(DECODE.run(path, frames))
    rows += [peer.run(path, frames if full else 100) for peer in PEERS]
    show(f"{name} capture of {frames:,} frames at three vantages", rows, ours)
    assert ours.frames == rows[3].frames == frames
    assert all(one.frames > 0 for one in rows)


def test_cost_is_linear_and_memory_does_not_grow(full: bool, tmp_path: Path) -> None:
    small = tmp_path / "small.pcapng"
    write_capture(small, 300, mixed(), snaplen=96)
    rows = []
    for length in _LENGTHS if full else (300, 600):
        path = tmp_path / "long.pcapng"
        frames = write_capture(path, length, mixed(), snaplen=96)
        rows.append(analysis(2, small).run(path, frames))
        path.unlink()
        assert rows[-1].frames == frames
    show("mixed captures of growing length", rows)
    if full:
        assert rows[-1].memory_mb < 1.25 * rows[1].memory_mb


def test_a_capture_of_five_gigabytes_fits(full: bool, tmp_path: Path) -> None:
    path, small = tmp_path / "large.pcapng", tmp_path / "small.pcapng"
    write_capture(small, 300, mixed())
    frames = write_capture(path, _FIVE_GB if full else 600, mixed())
    outcome: Outcome = analysis(2, small).run(path, frames)
    show(f"{path.stat().st_size / 1e9:.2f} GB, all bytes of every frame", [outcome])
    assert outcome.memory_mb <= 700


def test_every_program_is_told_what_it_counted(tmp_path: Path) -> None:
    path = tmp_path / "tiny.pcapng"
    write_capture(path, 90, mixed(), snaplen=96)
    programs: Sequence[Program] = (DECODE, *PEERS)
    assert {one.name: one.run(path, 60).frames >= 60 for one in programs} == {
        one.name: True for one in programs
    }
