"""Packets that may wait in a queue when a capture ends: of them nobody can say that they are lost.

What waits in front of an interface with a queueing discipline was seen at the port where it came
in, and is seen next when it leaves (egress taps sit behind the queue). The recorded state of the
queues at the end tells how far back that may reach: an empty queue has let everything go, and of
one that keeps the order everything that came before the newest packet that has left it. Else
nothing is said of what came within the time that a queue may hold a packet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from analyzer.correlate.loss import GRACE_NS
from analyzer.correlate.pairing import QUEUE_NS
from analyzer.correlate.stages import Layout
from analyzer.diagnosis.queueing import OF_FILTERS
from analyzer.model.batch import FOREVER_NS, Columns
from analyzer.model.evidence import Evidence, NamespaceEvidence
from analyzer.model.frames import EGRESS, FLAG_DIRECTION
from analyzer.model.journeys import Journeys, Status
from analyzer.model.vantage import Vantage

_IN_ORDER = ("tbf", "pfifo", "bfifo")
"""kinds that send in the order in which packets came, as long as no other hangs below"""


@dataclass(slots=True)
class QueuesAtEnd:
    """What has left the queues of each vantage, chunk by chunk; then what may wait in them."""

    since_ns: int = FOREVER_NS
    """when the oldest packet that may wait was first seen: no answer to it could come"""
    _left_ns: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """[v] when the newest packet that has left a queue had come to it; 0: none has"""

    def add(self, frames: Columns, journeys: Journeys, layout: Layout) -> None:
        """Take note of what has left a queue."""
        more = np.zeros(layout.count - len(self._left_ns), np.int64)
        self._left_ns = np.concatenate([self._left_ns, more])
        if not layout.queued.any():
            return
        vantage, parent = frames["vantage"], journeys.parent
        egress = (frames["flags"] & FLAG_DIRECTION) == EGRESS
        left = np.flatnonzero(layout.queued[vantage] & egress & (parent >= 0))
        np.maximum.at(self._left_ns, vantage[left], frames["ts_ns"][parent[left]])

    def settle(
        self,
        frames: Columns,
        journeys: Journeys,
        layout: Layout,
        settled: Callable[[], npt.NDArray[np.int64]],
    ) -> None:
        """Take back every loss of a packet that may wait. settled: gives what `settled` does."""
        lost = np.flatnonzero(journeys.status == Status.LOST)
        last, expected = journeys.last[lost], journeys.expected[lost]
        lost = lost[layout.peer[frames["vantage"][last]] != expected]  # behind a pair is no queue
        if not len(lost):
            return
        last, expected = journeys.last[lost], journeys.expected[lost]
        waits = lost[frames["ts_ns"][last] > settled()[expected]]
        if len(waits):
            self.since_ns = min(self.since_ns, int(frames["ts_ns"][journeys.first[waits]].min()))
        journeys.status[waits], journeys.expected[waits] = Status.UNMATCHED, -1

    def settled(
        self, vantages: Sequence[Vantage], evidence: Evidence, end_ns: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """[v] what came to a vantage's queue until then has left it, or never will.

        end_ns: [v] of the watch.
        """
        told: dict[int, list[NamespaceEvidence]] = {}
        for moment in evidence.at_end():
            if not moment.at_start:
                told.setdefault(moment.netns, []).append(moment)
        return np.array(
            [
                self._settled(number, one, told.get(one.netns, ()), end)
                for number, (one, end) in enumerate(zip(vantages, end_ns.tolist(), strict=True))
            ],
            np.int64,
        )

    def _settled(
        self, number: int, vantage: Vantage, moments: Sequence[NamespaceEvidence], end_ns: int
    ) -> int:
        had_queue = vantage.qdisc not in ("", "noqueue", *OF_FILTERS)
        not_told = any(m.absent.keys() | m.truncated.keys() >= {"qdiscs"} for m in moments)
        if len(moments) != 1 or not_told:
            return end_ns - QUEUE_NS if had_queue else FOREVER_NS
        here = [one for one in moments[0].qdiscs if one.ifindex == vantage.ifindex]
        queues = [one for one in here if one.kind not in OF_FILTERS]
        if not queues:
            return FOREVER_NS
        left_ns = int(self._left_ns[number]) - GRACE_NS
        if moments[0].ts_ns <= end_ns and not any(one.queued for one in queues):
            return max(moments[0].ts_ns - GRACE_NS, left_ns)
        in_order = len(queues) == 1 and queues[0].kind in _IN_ORDER and had_queue
        return left_ns if in_order and left_ns > 0 else end_ns - QUEUE_NS
