"""Packets that may wait in a queue: of them nobody can say that they are lost.

What waits in front of an interface with a queueing discipline was seen at the port where it came
in, and is seen next when it leaves (egress taps sit behind the queue). A packet that was not seen
to leave is lost, and waits no more, where

- one that came later has left: of a queue that keeps the order any, else one of its own flow;
- the queue was empty since: by its recorded state, or because nothing left it for longer than it
  takes for one packet at its rate;
- more time has gone by than its rate and its limit let a packet wait; where they are not told,
  `QUEUE_NS`;
- or more of one flow are missing than wait there at the end by its own count: so many as are over.

Else nothing is said of it, however long ago it came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from analyzer.analysis.slow_queues import (
    Key,
    SlowQueue,
    is_in_order,
    keeps_flows_in_order,
    waiting_rooms,
)
from analyzer.correlate.loss import GRACE_NS
from analyzer.correlate.packet_completion import FLUSH_NS
from analyzer.correlate.stages import QUEUE_NS, Layout
from analyzer.diagnosis.queueing import OF_FILTERS
from analyzer.model.batch import FOREVER_NS, Columns
from analyzer.model.evidence import Evidence, NamespaceEvidence
from analyzer.model.frames import EGRESS, FLAG_DIRECTION
from analyzer.model.journeys import Journeys, Status
from analyzer.model.vantage import Vantage
from analyzer.native.keys import mixed

Rows = npt.NDArray[np.integer[Any]]
_LATE_NS = 500_000_000
"""on a busy machine a queue is served so much later than it should be"""
_FLOW = ("src_hi", "src_lo", "dst_hi", "dst_lo", "protocol", "src_port", "dst_port")
_ENDS = _FLOW[:5]


class QueueState(NamedTuple):
    """What is known of the queue in front of a vantage at some time."""

    now_ns: int
    """nothing that left it until then is unknown"""
    slow: SlowQueue | None = None
    in_order: bool = False
    flows_in_order: bool = False
    empty_ns: int = 0
    """what came until then does not wait any more"""
    counted_ns: int = 0
    """when it was counted how many wait; 0: it was not"""
    queued: int = 0
    """packets that wait, by its own count"""


class WaitingPackets(Struct):
    """What has left the queues of each vantage, chunk by chunk; and what may wait in them."""

    since_ns: int = FOREVER_NS
    """when the oldest packet that may wait at the end was first seen: no answer to it could come"""
    _came_ns: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """[v] when the newest packet that has left a queue had come to it; 0: none has"""
    _left_ns: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """[v] when anything left it last"""

    def add(self, frames: Columns, journeys: Journeys, layout: Layout) -> None:
        """Take note of what has left a queue."""
        more = np.zeros(layout.count - len(self._came_ns), np.int64)
        self._came_ns = np.concatenate([self._came_ns, more])
        self._left_ns = np.concatenate([self._left_ns, more])
        if not layout.queued.any():
            return
        vantage, ts, parent = frames["vantage"], frames["ts_ns"], journeys.parent
        left = np.flatnonzero(layout.queued[vantage] & _goes_out(frames))
        np.maximum.at(self._left_ns, vantage[left], ts[left])
        left = left[parent[left] >= 0]
        np.maximum.at(self._came_ns, vantage[left], ts[parent[left]])

    def settle(
        self,
        frames: Columns,
        journeys: Journeys,
        layout: Layout,
        states: Callable[[], Mapping[int, QueueState]],
        *,
        final: bool,
    ) -> None:
        """Take back every loss of a packet that may wait. states: gives those of vantages."""
        lost = np.flatnonzero(journeys.status == Status.LOST)
        last, expected = journeys.last[lost], journeys.expected[lost]
        lost = lost[layout.peer[frames["vantage"][last]] != expected]  # behind a pair is no queue
        expected = journeys.expected[lost]
        for at, queue in states().items() if len(lost) else ():
            rows = lost[expected == at]
            rows = rows[~self._is_over(frames, journeys, rows, at, queue)]
            rows = rows[_without_those_over(frames, journeys.last[rows], queue)]
            if final and len(rows):
                began_ns = int(frames["ts_ns"][journeys.first[rows]].min())
                self.since_ns = min(self.since_ns, began_ns)
            journeys.status[rows], journeys.expected[rows] = Status.UNMATCHED, -1

    def _is_over(
        self, frames: Columns, journeys: Journeys, rows: Rows, at: int, queue: QueueState
    ) -> npt.NDArray[np.bool_]:
        """[rows] of packets: whether one waits no more in the queue of a vantage."""
        last, slow = journeys.last[rows], queue.slow
        ts, came_ns = frames["ts_ns"][last], int(self._came_ns[at])
        over: npt.NDArray[np.bool_] = ts <= queue.empty_ns
        if queue.in_order:
            over |= ts < came_ns - GRACE_NS
        elif queue.flows_in_order:
            over |= ts < _flow_came_ns(frames, journeys, last, at) - GRACE_NS
        if slow:
            one_ns = int(frames["wirelen"][last].max(initial=0)) * 8 * 10**9 // slow.rate_bit_s
            since = np.maximum(ts, self._left_ns[at])
            over |= queue.now_ns - since > one_ns + _LATE_NS
            over |= queue.now_ns - ts > slow.most_ns + _LATE_NS
        elif not (queue.in_order and came_ns):
            over |= queue.now_ns - ts >= QUEUE_NS
        return over


def slow_states(
    vantages: Sequence[Vantage], slow: Mapping[Key, SlowQueue], now_ns: int
) -> dict[int, QueueState]:
    """While a capture is read: of the queues that may hold packets longer than others."""
    now_ns -= FLUSH_NS
    told = {at: slow.get((one.netns, one.ifindex)) for at, one in enumerate(vantages)}
    return {at: QueueState(now_ns, one, one.in_order) for at, one in told.items() if one}


def states_at_end(
    vantages: Sequence[Vantage],
    evidence: Evidence,
    slow: Mapping[Key, SlowQueue],
    end_ns: npt.NDArray[np.int64],
) -> dict[int, QueueState]:
    """Of all vantages that may have a queue. end_ns: [v] of the watch."""
    told: dict[int, list[NamespaceEvidence]] = {}
    for moment in evidence.at_end():
        if not moment.at_start:
            told.setdefault(moment.netns, []).append(moment)
    states = {}
    for at, (one, end) in enumerate(zip(vantages, end_ns.tolist(), strict=True)):
        usual = QueueState(end, slow.get((one.netns, one.ifindex)))
        if state := _at_end(one, told.get(one.netns, ()), usual):
            states[at] = state
    return states


def _at_end(
    vantage: Vantage, moments: Sequence[NamespaceEvidence], usual: QueueState
) -> QueueState | None:
    """None where there is no queue."""
    had_queue = vantage.qdisc not in ("", "noqueue", *OF_FILTERS)
    not_told = any(m.absent.keys() | m.truncated.keys() >= {"qdiscs"} for m in moments)
    if len(moments) != 1 or not_told:
        return usual if had_queue else None
    queues, read_ns = waiting_rooms(moments[0].qdiscs, vantage.ifindex), moments[0].ts_ns
    if not queues:
        return None
    state = usual._replace(
        in_order=had_queue and is_in_order(queues), flows_in_order=keeps_flows_in_order(queues)
    )
    if read_ns > usual.now_ns:
        return state
    queued = sum(one.queued for one in queues)  # a root may count for its children: not too few
    if not queued:
        return state._replace(empty_ns=read_ns - GRACE_NS)
    return state._replace(counted_ns=read_ns, queued=queued)


def _goes_out(frames: Columns) -> npt.NDArray[np.bool_]:
    """[n]"""
    out: npt.NDArray[np.bool_] = (frames["flags"] & FLAG_DIRECTION) == EGRESS
    return out


def _flow_came_ns(
    frames: Columns, journeys: Journeys, rows: Rows, at: int
) -> npt.NDArray[np.int64]:
    """[rows] of frames: when the newest packet of its flow that has left the queue of a vantage had
    come to it; 0: none has."""
    left = (frames["vantage"] == at) & _goes_out(frames) & (journeys.parent >= 0)
    came = journeys.parent[np.flatnonzero(left)]
    keys, number = np.unique(_keys(frames, _FLOW, came), return_inverse=True)
    newest = np.zeros(len(keys) + 1, np.int64)
    np.maximum.at(newest, number, frames["ts_ns"][came])
    wanted = _keys(frames, _FLOW, rows)
    place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    known = np.isin(wanted, keys)
    return np.where(known, newest[place], 0)


def _without_those_over(frames: Columns, last: Rows, queue: QueueState) -> Rows:
    """Places of the packets (by their last frames) that may be among those that wait: of one flow
    the latest, as many as were counted; those of several cannot be told from each other."""
    everyone = np.arange(len(last))
    if not queue.counted_ns or len(np.unique(_keys(frames, _ENDS, last))) > 1:
        return everyone
    ts = frames["ts_ns"][last]
    most = queue.queued + int((ts > queue.counted_ns - GRACE_NS).sum())
    return np.argsort(ts, kind="stable")[max(len(last) - most, 0) :]


def _keys(frames: Columns, names: Sequence[str], rows: Rows) -> npt.NDArray[np.uint64]:
    return mixed(*(frames[name][rows] for name in names))
