"""What is counted of all frames, whatever packet is theirs; and whether the clock went back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.model.batch import Columns
from analyzer.model.frames import MARK_UNTIMED
from analyzer.model.vantage import Vantage
from analyzer.native.compiled import compiled

STEP_NS = 100_000_000
"""frames of one ring are in the kernel's order: a stamp this much older than one before it means
that the clock was set back (a frame keeps the stamp of its arrival, hence some milliseconds)"""
_NO_RING = -1


@dataclass(slots=True)
class Totals:
    """Counts, chunk by chunk."""

    frames: int = 0
    bytes: int = 0
    """on the wire"""
    start_ns: int | None = None
    end_ns: int | None = None
    untimed: int = 0
    """frames of which the file tells no time"""
    seen: list[int] = field(default_factory=list)
    """frames by vantage"""
    clock_steps: int = 0
    """how often a ring's clock went back"""
    largest_step_ns: int = 0
    _latest: dict[int, int] = field(default_factory=dict)

    def add(self, frames: Columns, vantages: Sequence[Vantage]) -> None:
        """Count a chunk's frames."""
        ts = frames["ts_ns"]
        if not len(ts):
            return
        self.frames += len(ts)
        self.bytes += int(frames["wirelen"].sum(dtype=np.int64))
        timed = ts[frames["marks"] & MARK_UNTIMED == 0]
        self.untimed += len(ts) - len(timed)
        self._watch_times(timed)
        counts = np.bincount(frames["vantage"], minlength=len(self.seen))
        counts[: len(self.seen)] += np.array(self.seen, np.int64)
        self.seen = counts.tolist()
        self._watch_clock(frames, vantages)

    def _watch_times(self, ts: npt.NDArray[np.int64]) -> None:
        if not len(ts):
            return
        low, high = int(ts.min()), int(ts.max())
        self.start_ns = low if self.start_ns is None else min(low, self.start_ns)
        self.end_ns = high if self.end_ns is None else max(high, self.end_ns)

    def _watch_clock(self, frames: Columns, vantages: Sequence[Vantage]) -> None:
        """Look for steps; only of rings that we know to be such."""
        rings = sorted({v.ring for v in vantages if v.ifindex})
        place = {ring: at for at, ring in enumerate(rings)}
        of_vantage = [place[v.ring] if v.ifindex else _NO_RING for v in vantages]
        never = -(1 << 62)
        latest = np.array([self._latest.get(ring, never) for ring in rings], np.int64)
        steps, largest = _find_steps(
            frames["vantage"], frames["ts_ns"], np.array(of_vantage, np.int64), latest
        )
        self._latest = dict(zip(rings, latest.tolist(), strict=True))
        self.clock_steps += steps
        self.largest_step_ns = max(self.largest_step_ns, largest)


@compiled
def _find_steps(
    vantage: Any, ts: Any, ring: npt.NDArray[np.int64], latest: npt.NDArray[np.int64]
) -> Any:
    """(steps back, the largest in ns); latest: [rings] stamp so far, goes on being so."""
    steps, largest = 0, np.int64(0)
    for i in range(len(ts)):
        r = ring[vantage[i]]
        if r < 0:
            continue
        if ts[i] < latest[r] - STEP_NS:
            steps += 1
            largest = max(largest, latest[r] - ts[i])
            latest[r] = ts[i]
        else:
            latest[r] = max(latest[r], ts[i])
    return steps, largest
