"""Times of which files are missing: of files that follow each other (-b), only some are read.

A packet that was on its way when a file ended goes on in the next one. Where that is not read,
nothing tells that the packet was lost, nor that an echo was not answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from analyzer.analysis.notes import VantageNotes
from analyzer.correlate.loss import GRACE_NS
from analyzer.correlate.stages import Layout
from analyzer.flows.echo_messages import echoes_in
from analyzer.flows.echoes_outside import may_be_answered
from analyzer.model.batch import Columns
from analyzer.model.journeys import Journeys, Status
from analyzer.net.icmp import ECHO_REQUESTS


class Gaps(Struct):
    """Of all vantages; an `analyzer.flows.echoes_outside.EchoesOutside`."""

    gaps: list[tuple[int, int, int]] = field(default_factory=list)
    """(vantage, from, to): ns since the epoch"""
    asked: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    went_on: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """echoes that may be answered in a gap"""

    def __bool__(self) -> bool:
        return bool(self.gaps)

    @property
    def unseen_ns(self) -> list[tuple[int, int]]:
        """(from, to) of the times of which something is missing."""
        return sorted({gap[1:] for gap in self.gaps})

    @classmethod
    def between(cls, notes: Sequence[VantageNotes]) -> Gaps:
        """Those between the parts that the files tell of."""
        return cls([(at, *gap) for at, one in enumerate(notes) for gap in _gaps_of(one.parts())])

    def note(self, frames: Columns) -> None:
        """Take note of echo requests shortly before a gap."""
        ts = frames["ts_ns"]
        near = may_be_answered(ts, self.unseen_ns)
        if near.any():
            self.went_on = np.union1d(self.went_on, echoes_in(frames, near, ECHO_REQUESTS))

    def settle(self, frames: Columns, journeys: Journeys, layout: Layout) -> None:
        """Take back every loss of a packet that may have gone on in a gap."""
        lost = np.flatnonzero(journeys.status == Status.LOST)
        last, expected = journeys.last[lost], journeys.expected[lost]
        ts, before = frames["ts_ns"][last], frames["vantage"][last]
        queued = layout.queued[expected] & (layout.peer[before] != expected)
        patience = np.where(queued, layout.patience_ns[expected], GRACE_NS)
        for vantage, begins_ns, ends_ns in self.gaps:
            here = (expected == vantage) & (ts > begins_ns - patience) & (ts < ends_ns)
            journeys.status[lost[here]] = Status.UNMATCHED
            journeys.expected[lost[here]] = -1


def _gaps_of(parts: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Between what (start, end) cover together."""
    until: int | None = None
    for start, end in sorted(parts):
        if until is not None and start > until:
            yield until, start
        until = max(end, until or end)
