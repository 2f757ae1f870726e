"""Which packet a drop was: from the frame that entered the stack to the frame in the capture.

The kernel's event names interface, length and time of the frame; the capture has the frame with
its stamp, a little earlier (received frames are stamped when they are enqueued) or a little later
(TCP has no receive stamp: every tap takes its own time). A drop is tied to a packet only where
that packet can have ended there: it is lost, or nothing is seen of it any further. Where frames
of two conversations come into question and none is clearly nearer, the drop stays untied.

Frames and drops come to the file on ways of their own. Both wait here for what the other may
still bring: a drop until all packets of its time are complete, a frame until no drop of its time
can follow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from analyzer.diagnosis.tie_candidates import candidates
from analyzer.model.batch import FOREVER_NS, Batch
from analyzer.model.bundles import bundle
from analyzer.native.compiled import compiled, piece
from analyzer.net.ethernet import HEADER_BYTES, VLAN_TAG_BYTES
from analyzer.recorders.drops.page_layout import ANSWER, COPY, MOST_WORK_NS, SAME
from analyzer.recorders.drops.record import ROW, DropLog, Rows
from analyzer.recorders.drops.untied import UntiedDrops

BEFORE_NS = 5_000_000
"""a stamp may be so much older than the event: the softirq's wait"""
AFTER_NS = 50_000
"""… or newer, where the tap takes the time itself"""
CLEARLY = 4
"""a frame of another conversation has to be so many times farther away"""
SLACK_NS = 2_000
_KIND = ["device", "reason", "location", "protocol"]
WORK_NS = MOST_WORK_NS + SLACK_NS
"""so long after a frame entered the stack, nothing of its work is dropped any more"""
LATE_NS = 2_000_000_000
"""so long after its time a drop is in the file: it is read from its ring every 50 ms, and
written with the frames that are read then"""
MOST_WAITING = 1 << 19
"""frames that a drop may still come for; of more, the oldest are waited for no longer"""
_LINK_BYTES = (HEADER_BYTES, HEADER_BYTES + VLAN_TAG_BYTES)
"""what a frame has in front of the length that the kernel tells of it"""
ANY_PROTOCOL = -1
_OF_TUNNELS = "VXLAN_"
"""what begins so is dropped after it was unwrapped (vxlan_rcv in the kernel's vxlan_core.c)"""

Columns = Mapping[str, npt.NDArray[Any]]


class Ties(Struct, frozen=True):
    """k tied drops."""

    drop: Rows
    """[k]"""
    frame: dict[str, npt.NDArray[Any]]
    """[k] of the frame that entered the stack: ts_ns, packet (its number) and what was kept"""
    answer: npt.NDArray[np.bool_]
    """[k] not the packet itself was dropped, but what the stack sent in answer to it"""


class _DropColumns(NamedTuple):
    """d drops, by ``seen_ns``; see `analyzer.recorders.drops.record.ROW`."""

    seen_ns: npt.NDArray[np.int64]
    """[d]"""
    ts_ns: npt.NDArray[np.int64]
    """[d]"""
    len_bytes: npt.NDArray[np.int64]
    """[d]"""
    device: npt.NDArray[np.int64]
    """[d]"""
    protocol: npt.NDArray[np.int64]
    """[d] EtherType, or ANY_PROTOCOL"""
    tie: npt.NDArray[np.uint8]
    """[d] SAME, COPY or ANSWER"""


class _Candidates(NamedTuple):
    """n frames that a drop may have been: columns of `candidates`."""

    ts_ns: npt.NDArray[np.int64]
    """[n]"""
    wirelen: npt.NDArray[np.uint32]
    """[n] bytes"""
    ethertype: npt.NDArray[np.uint16]
    """[n]"""
    conversation: npt.NDArray[np.uint64]
    """[n] equal for frames of one conversation's direction"""
    lost: npt.NDArray[np.bool_]
    """[n] its packet was lost"""
    taken: npt.NDArray[np.bool_]
    """[n] a drop is tied to it; set by the loop"""


class Tying(Struct):
    """Ties the drops of a log, batch by batch."""

    log: DropLog = field(default_factory=DropLog)
    untied_rows: Counter[tuple[int, int, int, int]] = field(default_factory=Counter)
    """of rows that could not be tied: places of device, reason and location, EtherType"""
    _untied_ns: dict[tuple[int, int, int, int], tuple[int, int]] = field(default_factory=dict)
    _pending: Rows = field(default_factory=lambda: np.empty(0, ROW))
    _waiting: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    def take(self, blocks: Sequence[bytes]) -> None:
        """Drops, as they come."""
        self._pending = np.concatenate([self._pending, self.log.take(blocks)])

    def add(self, batch: Batch, kept: Mapping[str, npt.NDArray[Any]]) -> Ties:
        """What can be told by now. kept: [p] columns of packets that ties shall have, too."""
        self._await(batch, kept)
        until_ns = self._horizon(batch.settled_ns)
        # what one frame's work dropped comes together, in the same order for batches of any size
        ready = self._pending["seen_ns"] + WORK_NS < until_ns
        drops, self._pending = self._pending[ready], self._pending[~ready]
        drops = drops[np.argsort(drops["seen_ns"], kind="stable")]
        tunnel = [n for n, one in enumerate(self.log.told.reasons) if one.startswith(_OF_TUNNELS)]
        unwrapped = np.isin(drops["reason"], tunnel)
        row, answer = tie_drops(drops, self._waiting, unwrapped) if len(drops) else _NOTHING
        tied = row >= 0
        frame = {name: column[row[tied]] for name, column in self._waiting.items()}
        self._forget(until_ns - WORK_NS - BEFORE_NS)
        self._count_untied(drops[~tied])
        return Ties(drops[tied], frame, answer[tied])

    def waiting(self, name: str) -> npt.NDArray[Any]:
        """A column of what drops may still be tied to."""
        return self._waiting.get(name, np.empty(0, np.int64))

    def _count_untied(self, drops: Rows) -> None:
        """Keep how many there were of each kind, and when."""
        kinds, place = np.unique(drops[_KIND], return_inverse=True)
        for number, kind in enumerate(kinds.tolist()):
            stamps = drops["ts_ns"][place.reshape(-1) == number]
            first, last = self._untied_ns.get(kind, (int(stamps[0]), 0))
            self.untied_rows[kind] += len(stamps)
            self._untied_ns[kind] = (min(first, int(stamps.min())), max(last, int(stamps.max())))

    def untied(self, devices: Collection[str] | None = None) -> UntiedDrops:
        """Those rows by kind. devices: only of frames that were received by interfaces of these
        names."""
        told, found = self.log.told, UntiedDrops()
        for (device, reason, location, ethertype), count in self.untied_rows.items():
            if devices is None or told.devices[device] in devices:
                kind = (told.reasons[reason], told.locations[location], ethertype)
                found.add(kind, count, *self._untied_ns[device, reason, location, ethertype])
        return found

    def _horizon(self, settled_ns: int) -> int:
        """Up to where drops are tied now: what is older goes afterwards."""
        if settled_ns == FOREVER_NS:
            return settled_ns
        until_ns = settled_ns - LATE_NS
        waiting = self._waiting["ts_ns"]
        if len(waiting) > MOST_WAITING:
            until_ns = max(until_ns, int(np.partition(waiting, -MOST_WAITING)[-MOST_WAITING]))
        return min(until_ns, settled_ns)

    def _await(self, batch: Batch, kept: Mapping[str, npt.NDArray[Any]]) -> None:
        places = np.array([self.log.device(v.interface) for v in batch.vantages], np.int64)
        fresh = candidates(batch.frames, batch.journeys, batch.vantages, places)
        packet = fresh.pop("of")
        fresh |= {name: column[packet] for name, column in kept.items()}
        if self._waiting:
            fresh = {n: np.concatenate([self._waiting[n], fresh[n]]) for n in fresh}
        self._waiting = fresh

    def _forget(self, before_ns: int) -> None:
        if not self._waiting:
            return
        kept = np.flatnonzero(self._waiting["ts_ns"] >= before_ns)
        if len(kept) < len(self._waiting["ts_ns"]):
            self._waiting = {name: column[kept] for name, column in self._waiting.items()}


def tie_drops(
    drops: Rows, waiting: Columns, unwrapped: npt.NDArray[np.bool_] | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """([drops] the row in ``waiting``, -1: cannot be told; whether it is its answer's drop).

    drops: by ``seen_ns``. ``taken`` of the frames that are tied is set. unwrapped: [drops] the
    protocol may be that of what a tunnel carried.
    """
    row, answer = np.full(len(drops), -1, np.int64), np.zeros(len(drops), np.bool_)
    if not waiting or not len(drops):
        return row, answer
    order = np.lexsort((waiting["number"], waiting["ts_ns"], waiting["device"]))
    highest = int(max(drops["device"].max(), 0))
    start = np.searchsorted(waiting["device"][order], np.arange(highest + 2)).astype(np.int64)
    frames = bundle(_Candidates, waiting)
    _tie_all(_drop_columns(drops, unwrapped), frames, order, start, row, answer)
    return row, answer


def _drop_columns(drops: Rows, unwrapped: npt.NDArray[np.bool_] | None) -> _DropColumns:
    seen_ns, ts_ns, tie = (
        np.ascontiguousarray(drops[name]) for name in ("seen_ns", "ts_ns", "tie")
    )
    length, device, protocol = (
        drops[name].astype(np.int64) for name in ("len_bytes", "device", "protocol")
    )
    if unwrapped is not None:
        protocol[unwrapped] = ANY_PROTOCOL
    return _DropColumns(seen_ns, ts_ns, length, device, protocol, tie)


@piece
def _first_since(since: int, low: int, high: int, order: Any, ts: Any) -> Any:
    """The first place from ``low`` on, before ``high``, whose frame is not older."""
    while low < high:
        middle = (low + high) // 2
        if ts[order[middle]] < since:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _tie_all(
    drops: _DropColumns,
    frames: _Candidates,
    order: Any,
    start: Any,
    row: Any,
    answer: Any,
) -> None:
    """Fill row and answer for each drop; -1 stays where it cannot be told.

    order: frames by device and time; those of device d are order[start[d]:start[d + 1]].
    """
    for at in range(len(row)):
        if drops.tie[at] not in (SAME, COPY, ANSWER):
            continue  # of an older version: no proof
        device, seen_ns = drops.device[at], drops.seen_ns[at]
        first, last = start[device], start[device + 1]
        first = _first_since(seen_ns - BEFORE_NS, first, last, order, frames.ts_ns)
        nearest, far, rival_far = _nearest(at, drops, frames, order, first, last)
        if nearest < 0 or (rival_far >= 0 and rival_far < CLEARLY * far + SLACK_NS):
            continue
        is_answer = drops.tie[at] == ANSWER
        frames.taken[nearest] = not is_answer
        row[at], answer[at] = nearest, is_answer


@piece
def _nearest(
    at: Any, drops: _DropColumns, frames: _Candidates, order: Any, first: Any, last: Any
) -> Any:
    """(frame nearest to drop ``at`` or -1, how far it is, how far the nearest one of another
    conversation or -1), among order[first:last].

    A tap that was interrupted before it took the time may stamp the frame at any time up to the
    drop: where one of another conversation was stamped then, none is clearly nearer.
    """
    seen_ns, conversation = drops.seen_ns[at], frames.conversation
    latest = drops.ts_ns[at] + SLACK_NS
    nearest, nearest_far, rival_far = -1, np.int64(0), np.int64(-1)
    for place in range(first, last):
        i = order[place]
        if frames.ts_ns[i] > latest:
            break
        extra = np.int64(frames.wirelen[i]) - drops.len_bytes[at]
        protocol = drops.protocol[at]
        fits = extra in _LINK_BYTES and (
            protocol == frames.ethertype[i] or protocol == ANY_PROTOCOL
        )
        # what answers a frame was dropped: then the frame itself was not
        if not fits or frames.taken[i] or (drops.tie[at] == ANSWER and frames.lost[i]):
            continue
        far = abs(seen_ns - frames.ts_ns[i])
        if frames.ts_ns[i] > seen_ns + AFTER_NS:  # the stack was interrupted, or it is none of it
            if nearest >= 0 and conversation[nearest] != conversation[i]:
                return np.int64(-1), far, far
            continue
        if nearest < 0 or far < nearest_far:
            if nearest >= 0 and conversation[nearest] != conversation[i]:
                rival_far = nearest_far
            nearest, nearest_far = i, far
        elif conversation[nearest] != conversation[i] and (rival_far < 0 or far < rival_far):
            rival_far = far
    return nearest, nearest_far, rival_far


_NOTHING = np.empty(0, np.int64), np.empty(0, np.bool_)
