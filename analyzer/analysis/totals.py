"""What is counted of all frames, whatever packet is theirs; and whether the clock went back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from analyzer.analysis.malformed_frames import MalformedFrames
from analyzer.model.batch import Columns
from analyzer.model.frames import MARK_UNTIMED
from analyzer.model.vantage import Vantage
from analyzer.native.compiled import compiled
from analyzer.net.link_types import DECODED

STEP_NS = 100_000_000
"""frames of one ring are in the kernel's order: a stamp this much older than one before it means
that the clock was set back (a frame keeps the stamp of its arrival, hence some milliseconds). Those
of an interface that came while capturing may stand late in the file, until somebody told what it
is: so the stamp has to be older than the interface's own before it, too"""
FAR_NS = 1_000_000_000
"""the same of other tools' files, whose frames may have been written in some other order"""
_NO_RING = -1
_NEVER = -(1 << 62)


class Steps(Struct):
    """How often, and by how much, stamps went back in lanes that should be in order."""

    limit_ns: int
    """less is no step"""
    count: int = 0
    largest_ns: int = 0
    _latest: dict[int, int] = field(default_factory=dict)
    _own: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """[vantages] stamp so far"""

    def add(self, frames: Columns, lanes: Sequence[int | None]) -> None:
        """Look for steps. lanes: of each vantage; None where nothing tells its order."""
        numbers = sorted({lane for lane in lanes if lane is not None})
        if not numbers:
            return
        place = {lane: at for at, lane in enumerate(numbers)}
        of_vantage = [_NO_RING if lane is None else place[lane] for lane in lanes]
        more = np.full(max(len(lanes) - len(self._own), 0), _NEVER, np.int64)
        self._own = np.concatenate([self._own, more])
        latest = np.array([self._latest.get(lane, _NEVER) for lane in numbers], np.int64)
        steps, largest = _find_steps(
            frames["vantage"],
            frames["ts_ns"],
            np.array(of_vantage, np.int64),
            latest,
            self._own,
            self.limit_ns,
        )
        self._latest = dict(zip(numbers, latest.tolist(), strict=True))
        self.count += steps
        self.largest_ns = max(self.largest_ns, largest)


class Totals(Struct):
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
    undecoded: Counter[int] = field(default_factory=Counter)
    """link type that is not decoded → frames"""
    malformed: MalformedFrames = field(default_factory=MalformedFrames)
    steps: Steps = field(default_factory=lambda: Steps(STEP_NS))
    """times that a ring's clock went back"""
    disorder: Steps = field(default_factory=lambda: Steps(FAR_NS))
    """the same of interfaces of other tools' files, which need not be in order"""

    def add(self, frames: Columns, vantages: Sequence[Vantage]) -> None:
        """Count a chunk's frames."""
        ts = frames["ts_ns"]
        if not len(ts):
            return
        self.frames += len(ts)
        self.bytes += int(frames["wirelen"].sum(dtype=np.int64))
        self.malformed.add(frames)
        self._count_undecoded(frames)
        timed = ts[frames["marks"] & MARK_UNTIMED == 0]
        self.untimed += len(ts) - len(timed)
        self._watch_times(timed)
        counts = np.bincount(frames["vantage"], minlength=len(self.seen))
        counts[: len(self.seen)] += np.array(self.seen, np.int64)
        self.seen = counts.tolist()
        self.steps.add(frames, [v.ring if v.ifindex else None for v in vantages])
        lanes = [None if v.ifindex else v.ring or at for at, v in enumerate(vantages, 1)]
        self.disorder.add(frames, lanes)

    def _count_undecoded(self, frames: Columns) -> None:
        linktypes, counts = np.unique(frames["linktype"], return_counts=True)
        for linktype, count in zip(linktypes.tolist(), counts.tolist(), strict=True):
            if linktype not in DECODED:
                self.undecoded[linktype] += count

    def _watch_times(self, ts: npt.NDArray[np.int64]) -> None:
        if not len(ts):
            return
        low, high = int(ts.min()), int(ts.max())
        self.start_ns = low if self.start_ns is None else min(low, self.start_ns)
        self.end_ns = high if self.end_ns is None else max(high, self.end_ns)


@compiled
def _find_steps(
    vantage: Any,
    ts: Any,
    ring: npt.NDArray[np.int64],
    latest: npt.NDArray[np.int64],
    own: npt.NDArray[np.int64],
    limit_ns: Any,
) -> Any:
    """(steps back, the largest in ns); latest: [rings] stamp so far, own: [vantages];
    both go on being so."""
    steps, largest = 0, np.int64(0)
    for i in range(len(ts)):
        v = vantage[i]
        r = ring[v]
        if r < 0:
            continue
        if ts[i] < min(latest[r], own[v]) - limit_ns:
            steps += 1
            largest = max(largest, latest[r] - ts[i])
            latest[r], own[v] = ts[i], ts[i]
        else:
            latest[r], own[v] = max(latest[r], ts[i]), max(own[v], ts[i])
    return steps, largest
