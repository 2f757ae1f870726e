"""Which packets are complete, and which have to wait for more of their frames.

Complete is what reached the last vantage that the topology has for it, having passed all
before it that are captured. What is not complete is given up when nothing of it was seen for a
horizon: no match is made over a longer time.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from analyzer.correlate.columns import (
    FrameColumns,
    SeenTimes,
    VantageColumns,
    vantage_columns,
)
from analyzer.correlate.links import Links
from analyzer.correlate.ports import Ports
from analyzer.correlate.stages import BRIDGE, FREE, LONGEST_NS, LOOSE, PORT, Layout, own_keys
from analyzer.model.batch import Columns
from analyzer.model.journeys import Evidence, Journeys, Status
from analyzer.native.compiled import allocating, compiled, piece
from analyzer.net.ethernet import GROUP_BIT_U64
from analyzer.net.ports import VXLAN_PORTS

MOST_CARRIED = 1 << 17
"""frames; of more, the oldest packets are given up"""
MOST_LOOSE = 1 << 16
"""the same without topology, where nothing tells that a packet is complete: all of them wait"""
TURN_NS = 20_000_000
"""a packet for the host itself that goes on after all (DNAT) does so within this time"""
MOST_HELD = 1 << 17
"""frames held back because the end of the watch is not known"""
FLUSH_NS = 300_000_000
"""how long a ring's frames may lie in memory before they are written to the file"""
_COPY = int(Evidence.BRIDGE_COPY)
_DELIVERED = int(Status.DELIVERED)


class Clock(Struct):
    """How far a capture has been read."""

    now_ns: int = 0
    rings_ns: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """[rings] the latest stamp of each: the rings' frames are written to the file in turn"""

    def advance(self, frames: Columns, ring: npt.NDArray[np.int32], now_ns: int) -> None:
        """Take note of the frames that were read. ring: of each vantage."""
        self.now_ns = now_ns
        count = int(ring.max(initial=-1)) + 1
        more = np.full(count - len(self.rings_ns), np.iinfo(np.int64).min)
        self.rings_ns = np.concatenate([self.rings_ns, more])
        if count > 1:
            _advance(ring.take(frames["vantage"]), frames["ts_ns"], self.rings_ns)
        else:
            self.rings_ns[:] = np.iinfo(np.int64).max


class _Packets(NamedTuple):
    """p packets: what was seen of each, and what became of it."""

    first: npt.NDArray[np.int32]
    """[p] frame"""
    last: npt.NDArray[np.int32]
    """[p] frame"""
    status: npt.NDArray[np.uint8]
    """[p] `Status`"""
    evidence: npt.NDArray[np.uint16]
    """[p] `Evidence` bits"""
    in_port: npt.NDArray[np.int32]
    """[p] vantage, -1"""
    frames: npt.NDArray[np.int32]
    """[p] number of them"""


class _Members(NamedTuple):
    """What each of n frames belongs to."""

    packet: npt.NDArray[np.int32]
    """[n]"""
    group: npt.NDArray[np.int32]
    """[n] of frames that look the same"""


class _Progress(NamedTuple):
    """How far a capture has been read, and what is too old to wait for."""

    rings_ns: npt.NDArray[np.int64]
    """[rings] see `Clock`"""
    flushed_ns: int
    """what was seen until then is in the file"""
    horizon_ns: int
    """of a packet that was not seen since then nothing more can come"""


def find_open(
    frames: Columns, journeys: Journeys, links: Links, layout: Layout, ports: Ports, clock: Clock
) -> npt.NDArray[np.bool_]:
    """[p] whether more of a packet, or of one that looks the same, is to be waited for."""
    waits = _waiting(frames, journeys, links, layout, ports, clock.now_ns)
    if not waits.any() and len(clock.rings_ns) < 2:
        return waits
    open_ = np.zeros(len(waits), np.bool_)
    horizon_ns = clock.now_ns - int(layout.patience_ns.max(initial=LONGEST_NS))
    times = SeenTimes(links.frames.ts_ns, links.frames.ring)
    members = _Members(journeys.packet, links.group)
    progress = _Progress(clock.rings_ns, clock.now_ns - FLUSH_NS, horizon_ns)
    _find_open(members, links.groups, times, progress, waits, open_)
    loose = bool((layout.kind == LOOSE).all())
    return _latest(open_, journeys.frames, MOST_LOOSE if loose else MOST_CARRIED)


def find_held(journeys: Journeys, open_: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """[p] of the packets that are not open: lost ones, as long as the end is not known."""
    return _latest(~open_ & (journeys.status == Status.LOST), journeys.frames, MOST_HELD)


def _waiting(
    frames: Columns, journeys: Journeys, links: Links, layout: Layout, ports: Ports, now_ns: int
) -> npt.NDArray[np.bool_]:
    """[p] whether something of a packet is missing."""
    packets = _Packets(*(getattr(journeys, name) for name in _Packets._fields))
    first = journeys.first
    segment = layout.segment.take(links.frames.vantage.take(first))
    origin = ports.leading_to(segment, frames["eth_src"].take(first))
    waits, may_go_on = np.empty(len(first), np.bool_), np.empty(len(first), np.bool_)
    _find_incomplete(packets, origin, links.frames, vantage_columns(layout), waits, may_go_on)
    may_go_on &= frames["ts_ns"][journeys.last] < now_ns - TURN_NS
    _spare_local(frames, journeys, layout, waits, may_go_on)
    waits[journeys.packet[links.ranges.short]] = True
    waits[journeys.packet[links.ranges.absorbed]] = False
    return waits


def _spare_local(
    frames: Columns,
    journeys: Journeys,
    layout: Layout,
    waits: npt.NDArray[np.bool_],
    may_go_on: npt.NDArray[np.bool_],
) -> None:
    """Wait no longer for a route to be taken by what is for the namespace's own addresses.

    A published port is at such an address, too: what is for it goes on at once.
    """
    rows = np.flatnonzero(may_go_on)
    if not len(rows):
        return
    last = journeys.last[rows]
    netns = layout.netns[frames["vantage"][last]]
    keys = own_keys(netns, frames["dst_hi"][last], frames["dst_lo"][last])
    here = np.isin(keys, layout.own)
    if layout.tunnel.any():
        here &= ~np.isin(frames["dst_port"][last], VXLAN_PORTS)
    waits[rows[here]] = False


def _latest(
    packets: npt.NDArray[np.bool_], frames: npt.NDArray[np.int32], most: int
) -> npt.NDArray[np.bool_]:
    """The last of the packets, so that they have ``most`` frames or fewer."""
    count = np.cumsum(np.where(packets, frames, 0)[::-1])[::-1]
    return packets & (count <= most)


@compiled
def _advance(ring: Any, ts: Any, rings_ns: Any) -> None:
    for i in range(len(ring)):
        rings_ns[ring[i]] = max(rings_ns[ring[i]], ts[i])


@compiled
def _find_incomplete(
    packets: _Packets,
    origin: Any,
    frames: FrameColumns,
    layout: VantageColumns,
    waits: Any,
    may_go_on: Any,
) -> None:
    """Fill ``waits`` [p]: there is a vantage at which the packet may still be seen.

    origin: [p] vantage that leads to the sender, -1. may_go_on: [p] all that it waits for is a
    route that it may take.
    """
    size, onward = layout.size, layout.onward
    for q in range(len(packets.first)):
        begin, end = packets.first[q], packets.last[q]
        w, v = frames.vantage[begin], frames.vantage[end]
        may_go_on[q] = False
        if frames.stage[end] == FREE or frames.eth_dst[begin] & GROUP_BIT_U64:
            waits[q] = packets.frames[q] != size[w] or onward[w]
            continue
        incomplete = (
            frames.stage[end] < 2
            or packets.status[q] != _DELIVERED
            or _lacks_copy(q, packets, frames, layout)
            or _is_headless(begin, origin[q], frames, layout)
        )
        may_go_on[q] = not incomplete and (layout.forwards[v] or layout.returns[v])
        alone = size[w] == 1 and size[v] == 1 and not onward[v]
        waits[q] = (incomplete and not alone) or may_go_on[q]


@piece
def _is_headless(begin: Any, origin: Any, frames: FrameColumns, layout: VantageColumns) -> Any:
    """Whether a packet's first frame has to have come from another one."""
    w, stage = frames.vantage[begin], frames.stage[begin]
    from_pair = stage == 1 and layout.kind[w] == PORT and layout.peer[w] >= 0
    return from_pair or (stage >= 2 and origin >= 0)


@piece
def _lacks_copy(q: Any, packets: _Packets, frames: FrameColumns, layout: VantageColumns) -> Any:
    """Whether the bridge device's copy is missing, or is all that there is of the packet."""
    begin, end = packets.first[q], packets.last[q]
    v = frames.vantage[end]
    if layout.kind[v] == BRIDGE and frames.stage[end] == 2:
        return frames.eth_dst[begin] != layout.mac[v]
    entry = packets.in_port[q] if packets.in_port[q] >= 0 else frames.vantage[begin]
    return layout.copied[entry] and not packets.evidence[q] & _COPY


@allocating
def _find_open(
    members: _Members,
    groups: Any,
    times: SeenTimes,
    progress: _Progress,
    waits: Any,
    open_: Any,
) -> None:
    """Fill ``open_`` [p].

    A group of packets that look the same is closed together: when none waits, and all rings
    that show it have been read as far as its last frame. Single packets of it are closed when
    they are older than the horizon.
    """
    packet, group, ts = members.packet, members.group, times.ts_ns
    n = len(packet)
    newest = np.full(len(waits), np.iinfo(np.int64).min)
    latest = np.full(groups, np.iinfo(np.int64).min)
    read = np.full(groups, np.iinfo(np.int64).max)
    for i in range(n):
        g = group[i]
        newest[packet[i]] = max(newest[packet[i]], ts[i])
        latest[g] = max(latest[g], ts[i])
        read[g] = min(read[g], progress.rings_ns[times.ring[i]])
    waiting = np.zeros(groups, np.bool_)
    for i in range(n):
        q, g = packet[i], group[i]
        if waits[q] and newest[q] > progress.horizon_ns:
            waiting[g] = True
    for i in range(n):
        q, g = packet[i], group[i]
        behind = read[g] < latest[g] and latest[g] > progress.flushed_ns
        if (waiting[g] or behind) and newest[q] > progress.horizon_ns:
            open_[q] = True
