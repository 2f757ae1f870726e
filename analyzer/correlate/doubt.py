"""Packets that look lost, and of which something speaks against it: nothing is said of them.

Three things do. An echo whose answer was seen was delivered, by whatever way. A SYN or a datagram
that an RST or an ICMP error refused is not lost: its sender was told. And a packet that
ended in a namespace may have gone on translated where connection tracking tells nothing of it
(two first packets of one connection that the kernel merged, a rule of eBPF's, a payload's proxy):
then a frame leaves the namespace that came from nowhere, equal to it in all that NAT leaves
(`natkey`: IP id, lengths and payload) and with other addresses or ports. Either the two are one
packet, or not; neither is called lost.

What looks lost is kept open as long as such a thing may still be seen, and what was seen is
remembered as long: where chunks end makes no difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from analyzer.correlate.answers import (
    NO_KEY,
    echo_keys,
    echo_reply_keys,
    opening_keys,
    refusal_keys,
    syn_keys,
)
from analyzer.correlate.links import Links
from analyzer.correlate.stages import BRIDGE, PORT, QUEUE_NS, STATION, Layout
from analyzer.model.frames import FLAG_DIRECTION, INGRESS
from analyzer.model.journeys import Evidence, Journeys, Status
from analyzer.native.compiled import compiled
from analyzer.native.keys import mixed

ONWARD_NS = 1_000_000_000
"""a packet that goes on does so this soon"""
ANSWER_NS = QUEUE_NS
"""an echo that is answered later is one that was lost, as far as anybody is concerned"""
MOST_REMEMBERED = 1 << 18
"""of each kind of sighting, kept from batches before; the latest"""
_SLACK_NS = 1_000_000
_LATE_NS = 100_000_000
"""rings are written to the file in turn"""
_MOST_TWINS = 64
"""so many packets that look the same are compared with one; the rest is as good as they are"""
_ENDS = ("src_hi", "src_lo", "dst_hi", "dst_lo", "src_port", "dst_port", "icmp_id")

Columns = Mapping[str, npt.NDArray[Any]]
Rows = npt.NDArray[np.intp]
Keys = npt.NDArray[np.uint64]


class _Sightings(Struct, frozen=True):
    """[n] packets that were seen somewhere."""

    look: Keys
    """what two of one kind have in common"""
    ends: Keys
    """… and in what they differ: addresses and ports"""
    ts_ns: npt.NDArray[np.int64]

    def joined(self, other: _Sightings) -> _Sightings:
        pairs = zip(_columns(self), _columns(other), strict=True)
        return _Sightings(*(np.concatenate([a, b])[-MOST_REMEMBERED:] for a, b in pairs))


def _columns(some: _Sightings) -> tuple[npt.NDArray[Any], ...]:
    return some.look, some.ends, some.ts_ns


def _nothing() -> _Sightings:
    return _Sightings(np.empty(0, np.uint64), np.empty(0, np.uint64), np.empty(0, np.int64))


class Doubt(Struct):
    """What was seen of late that speaks against losses; for one capture, chunk by chunk."""

    _answers: _Sightings = field(default_factory=_nothing)
    _refusals: _Sightings = field(default_factory=_nothing)
    """by ICMP errors"""
    _begun: _Sightings = field(default_factory=_nothing)
    """what left a namespace and came from nowhere"""
    _ended: _Sightings = field(default_factory=_nothing)
    """what came into one and went nowhere"""

    def learn(self, refusals: tuple[Keys, npt.NDArray[np.int64]]) -> None:
        """Take what ICMP errors refuse (`analyzer.correlate.answers.quoted_keys`), and when."""
        keys, ts_ns = refusals
        self._refusals = self._refusals.joined(_Sightings(keys, np.zeros_like(keys), ts_ns))

    def settle(self, frames: Columns, journeys: Journeys, links: Links, layout: Layout) -> None:
        """Make what looks lost and may not be `Status.UNMATCHED`; in place."""
        lost = np.flatnonzero(journeys.status == Status.LOST)
        if not len(lost):
            return
        last = journeys.last[lost].astype(np.intp)
        doubtful = self._is_answered(frames, last)
        begins = _begins(frames, links, layout)
        here = _sightings(frames, last, layout)
        begun = self._begun.joined(_sightings(frames, begins, layout))
        doubtful |= _has_twin(here, begun, (-_SLACK_NS, ONWARD_NS))
        orphan = np.isin(journeys.first[lost], begins)
        if orphan.any():
            ended = self._ended.joined(_sightings(frames, _ends_at(frames, journeys), layout))
            doubtful |= orphan & _has_twin(here, ended, (-ONWARD_NS, _SLACK_NS))
        rows = lost[doubtful]
        journeys.status[rows], journeys.expected[rows] = Status.UNMATCHED, -1
        journeys.evidence[rows] |= np.uint16(Evidence.DOUBTED)

    def waits(self, frames: Columns, journeys: Journeys, now_ns: int) -> npt.NDArray[np.bool_]:
        """[p] what looks lost, and of which something may still be seen."""
        waits: npt.NDArray[np.bool_] = journeys.status == Status.LOST
        lost = np.flatnonzero(waits)
        last = journeys.last[lost].astype(np.intp)
        echo = echo_keys(frames, last) != NO_KEY
        until_ns = frames["ts_ns"][last] + np.where(echo, ANSWER_NS, ONWARD_NS) + _LATE_NS
        waits[lost] = until_ns > now_ns
        return waits

    def remember(
        self,
        frames: Columns,
        journeys: Journeys,
        links: Links,
        layout: Layout,
        closed: npt.NDArray[np.bool_],
    ) -> None:
        """Keep what later chunks have to know of the frames that are closed now ([n])."""
        self._answers = self._answers.joined(_answers(frames, closed))
        begins = _begins(frames, links, layout)
        self._begun = self._begun.joined(_sightings(frames, begins[closed[begins]], layout))
        ends = _ends_at(frames, journeys)
        self._ended = self._ended.joined(_sightings(frames, ends[closed[ends]], layout))

    def _is_answered(self, frames: Columns, last: Rows) -> npt.NDArray[np.bool_]:
        answers = self._answers.joined(_answers(frames, np.ones(len(frames["ts_ns"]), np.bool_)))
        asked = echo_keys(frames, last) + syn_keys(frames, last)
        answered = _is_among(asked, frames["ts_ns"][last], answers)
        answered |= _is_among(opening_keys(frames, last), frames["ts_ns"][last], self._refusals)
        return answered


def _is_among(
    keys: Keys, ts_ns: npt.NDArray[np.int64], answers: _Sightings
) -> npt.NDArray[np.bool_]:
    """[n] whether one of the answers is to this, and in time."""
    if not keys.any() or not len(answers.look):
        return np.zeros(len(keys), np.bool_)
    asked = _Sightings(keys, np.ones(len(keys), np.uint64), ts_ns)
    answered = _has_twin(asked, answers, (-_SLACK_NS, ANSWER_NS))
    answered &= keys != NO_KEY
    return answered


def _answers(frames: Columns, chosen: npt.NDArray[np.bool_]) -> _Sightings:
    """Echo replies, and RSTs for SYNs, among the chosen frames ([n]), by the keys of what they
    answer."""
    pairs = zip(echo_reply_keys(frames), refusal_keys(frames), strict=True)
    rows, keys = (np.concatenate(pair) for pair in pairs)
    kept = chosen[rows]
    ends = np.zeros(np.count_nonzero(kept), np.uint64)
    return _Sightings(keys[kept], ends, frames["ts_ns"][rows[kept]])


def _begins(frames: Columns, links: Links, layout: Layout) -> Rows:
    """Frames that leave a namespace or a bridge, and came from nowhere that was seen."""
    vantage, stage = links.frames.vantage, links.frames.stage
    kind = layout.kind.take(vantage)
    leaving = ((kind == BRIDGE) & (stage == 1)) | ((kind == PORT) & (stage == 2))
    leaving |= (kind == STATION) & (stage == 0) & layout.forwards.take(vantage)
    return np.flatnonzero(leaving & (links.edges.parent < 0) & (frames["natkey"] != 0))


def _ends_at(frames: Columns, journeys: Journeys) -> Rows:
    """Received frames that are the last of packets of which the end is not known."""
    open_end = np.isin(journeys.status, (Status.LOST, Status.UNMATCHED))
    last: Rows = journeys.last[open_end].astype(np.intp)
    chosen: npt.NDArray[np.bool_] = (frames["flags"][last] & FLAG_DIRECTION) == INGRESS
    chosen &= frames["natkey"][last] != 0
    return np.compress(chosen, last)


def _sightings(frames: Columns, rows: Rows, layout: Layout) -> _Sightings:
    where = layout.netns.take(frames["vantage"][rows])
    return _Sightings(
        mixed(frames["natkey"][rows], where),
        mixed(*(frames[name][rows] for name in _ENDS)),
        frames["ts_ns"][rows],
    )


def _has_twin(
    some: _Sightings, others: _Sightings, within_ns: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """[n] whether one of the others looks like it, has other ends, and is so much later."""
    kept = np.isin(others.look, some.look)
    doubted = np.zeros(len(some.look), np.bool_)
    if not kept.any():
        return doubted
    order = np.lexsort((others.ts_ns[kept], others.look[kept]))
    look, ends, ts_ns = (column[kept][order] for column in _columns(others))
    low, high = (np.searchsorted(look, some.look, side) for side in ("left", "right"))
    _compare((low, high), (some.ends, some.ts_ns), (ends, ts_ns), within_ns, doubted)
    return doubted


@compiled
def _compare(where: Any, some: Any, others: Any, within: Any, found: Any) -> None:
    """Fill ``found`` [n]; where: from and to which of the others look like each of ``some``."""
    low, high = where
    ends, ts = some
    other_ends, other_ts = others
    earliest, latest = within
    for k in range(len(low)):
        at = low[k] + np.searchsorted(other_ts[low[k] : high[k]], ts[k] + earliest)
        for j in range(at, min(high[k], at + _MOST_TWINS)):
            if other_ts[j] - ts[k] > latest:
                break
            if other_ends[j] != ends[k]:
                found[k] = True
                break
