"""A capture that lasts: what it costs when nothing comes, and what memory it has at the end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from bench_lab import RECEIVER, SENDER, bench_lab
from capturers import settle, vethscope
from cpu_time import cpu_ns, status_kib
from tables import print_table

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]


def test_a_long_capture(tmp_path: Path, effort: Any, conditions: str) -> None:
    """With five vantages: quiet for a while, then floods one after the other."""
    quiet_s, floods, frames = effort.of(20, 1), effort.of(15, 2), effort.of(500_000, 2_000)
    with bench_lab(2) as lab:
        names = [one.name for one in lab.named(SENDER, RECEIVER, inside=True)]
        capture = vethscope(lab.engine, names)
        (running,) = capture.start([], tmp_path)
        try:
            running.wait_for(capture.ready)
            settle([running.file])
            pid, before = running.process.pid, cpu_ns(running.process.pid)
            time.sleep(quiet_s)
            idle = (cpu_ns(pid) - before) / 1e9 / quiet_s
            sizes = []
            for _ in range(floods):
                lab.flood(frames)
                sizes.append(status_kib(pid, "RssAnon") + status_kib(pid, "RssFile") >> 10)
            running.finish()
            written = running.file.stat().st_size
        finally:
            running.end()
    half = sizes[len(sizes) // 2]
    row = (
        f"{idle:.2%}",
        f"{sizes[0]} MiB",
        f"{half} MiB",
        f"{sizes[-1]} MiB",
        f"{written >> 20} MiB",
    )
    title = f"five vantages, {quiet_s} s quiet, then {floods} × {frames} frames sent; {conditions}"
    print_table(title, ("CPU when quiet", "RSS first", "RSS half-way", "RSS last", "file"), [row])
    assert sizes[-1] <= half + 32
