"""Packets that look lost, and of which something speaks against it: nothing is said of them.

Two things do. An echo whose answer was seen was delivered, by whatever way. And a packet that
ended in a namespace may have gone on translated where connection tracking tells nothing of it
(two first packets of one connection that the kernel merged, a rule of eBPF's, a payload's proxy):
then a frame leaves the namespace that came from nowhere, equal to it in all that NAT leaves
(`natkey`: IP id, lengths and payload) and with other addresses or ports. Either the two are one
packet, or not; neither is called lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.correlate.answers import echo_keys, echo_reply_keys
from analyzer.correlate.links import Links
from analyzer.correlate.stages import BRIDGE, PORT, STATION, Layout
from analyzer.model.frames import FLAG_DIRECTION, INGRESS
from analyzer.model.journeys import Journeys, Status
from analyzer.native.compiled import compiled
from analyzer.native.keys import mixed

WITHIN_NS = 1_000_000_000
"""a packet that goes on does so this soon, and an answer that late is still remembered"""
MOST_REMEMBERED = 1 << 18
"""answers, and beginnings, that are kept from batches before; the latest"""
_SLACK_NS = 1_000_000
_MOST_TWINS = 64
"""so many packets that look the same are compared with one; the rest is as good as they are"""
_ENDS = ("src_hi", "src_lo", "dst_hi", "dst_lo")
_PORTS = ("src_port", "dst_port")

Columns = Mapping[str, npt.NDArray[Any]]
Rows = npt.NDArray[np.intp]
Keys = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _Sightings:
    """[n] packets that were seen somewhere."""

    look: Keys
    """of what NAT leaves, and the namespace"""
    ends: Keys
    """of addresses and ports"""
    ts_ns: npt.NDArray[np.int64]

    def joined(self, other: _Sightings) -> _Sightings:
        return _Sightings(
            np.concatenate([self.look, other.look])[-MOST_REMEMBERED:],
            np.concatenate([self.ends, other.ends])[-MOST_REMEMBERED:],
            np.concatenate([self.ts_ns, other.ts_ns])[-MOST_REMEMBERED:],
        )


def _nothing() -> _Sightings:
    return _Sightings(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.int64))


@dataclass(slots=True)
class Doubt:
    """What was seen of late that speaks against losses; for one capture, chunk by chunk."""

    _answers: Keys = field(default_factory=lambda: np.empty(0, np.uint64))
    _begun: _Sightings = field(default_factory=_nothing)

    def settle(self, frames: Columns, journeys: Journeys, links: Links, layout: Layout) -> None:
        """Make what looks lost and may not be `Status.UNMATCHED`; in place."""
        lost = np.flatnonzero(journeys.status == Status.LOST)
        if not len(lost):
            return
        last = journeys.last[lost].astype(np.intp)
        answered = np.concatenate([self._answers, echo_reply_keys(frames)])
        doubtful = np.isin(echo_keys(frames, last), answered)
        begun = self._begun.joined(_sightings(frames, _begins(frames, links, layout), layout))
        here = _sightings(frames, last, layout)
        doubtful |= _has_twin(here, begun, (-_SLACK_NS, WITHIN_NS))
        orphan = np.isin(journeys.first[lost], _begins(frames, links, layout))
        if orphan.any():
            came = _sightings(frames, _arrivals(frames), layout)
            doubtful |= orphan & _has_twin(here, came, (-WITHIN_NS, _SLACK_NS))
        rows = lost[doubtful]
        journeys.status[rows], journeys.expected[rows] = Status.UNMATCHED, -1

    def remember(
        self, frames: Columns, links: Links, layout: Layout, closed: npt.NDArray[np.bool_]
    ) -> None:
        """Keep what later chunks have to know of the frames that are closed now ([n])."""
        answers = np.unique(echo_reply_keys(frames))
        self._answers = np.concatenate([self._answers, answers])[-MOST_REMEMBERED:]
        begins = _begins(frames, links, layout)
        self._begun = self._begun.joined(_sightings(frames, begins[closed[begins]], layout))


def _begins(frames: Columns, links: Links, layout: Layout) -> Rows:
    """Frames that leave a namespace or a bridge, and came from nowhere that was seen."""
    kind, stage = layout.kind.take(frames["vantage"]), links.stage
    leaving = ((kind == BRIDGE) & (stage == 1)) | ((kind == PORT) & (stage == 2))
    leaving |= (kind == STATION) & (stage == 0) & layout.forwards.take(frames["vantage"])
    return np.flatnonzero(leaving & (links.parent < 0) & (frames["natkey"] != 0))


def _arrivals(frames: Columns) -> Rows:
    received = (frames["flags"] & FLAG_DIRECTION) == INGRESS
    return np.flatnonzero(received & (frames["natkey"] != 0))


def _sightings(frames: Columns, rows: Rows, layout: Layout) -> _Sightings:
    where = layout.netns.take(frames["vantage"][rows])
    return _Sightings(
        mixed(frames["natkey"][rows], where),
        mixed(*(frames[name][rows] for name in (*_ENDS, *_PORTS, "icmp_id"))),
        frames["ts_ns"][rows],
    )


def _has_twin(
    some: _Sightings, others: _Sightings, within_ns: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """[n] whether one of the others looks like it, has other ends, and is so much later."""
    kept = np.isin(others.look, some.look)
    order = np.argsort(others.look[kept], kind="stable")
    look, ends, ts_ns = (c[kept][order] for c in (others.look, others.ends, others.ts_ns))
    low, high = (np.searchsorted(look, some.look, side) for side in ("left", "right"))
    found = np.zeros(len(some.look), np.bool_)
    if kept.any():
        _compare((low, high), (some.ends, some.ts_ns), (ends, ts_ns), within_ns, found)
    return found


@compiled
def _compare(where: Any, some: Any, others: Any, within: Any, found: Any) -> None:
    """Fill ``found`` [n]; where: from and to which of the others look like each of ``some``."""
    low, high = where
    ends, ts = some
    other_ends, other_ts = others
    earliest, latest = within
    for k in range(len(low)):
        for j in range(low[k], min(high[k], low[k] + _MOST_TWINS)):
            apart = other_ts[j] - ts[k]
            if other_ends[j] != ends[k] and earliest <= apart <= latest:
                found[k] = True
