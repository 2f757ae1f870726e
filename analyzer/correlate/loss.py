"""What became of each packet: delivered, lost, or not to be told.

Lost is said only where the topology names the vantage that had to see the packet next, that
vantage was being captured at the time, nothing was dropped by its ring, and it saw nothing.
Everything else that has no end is *unmatched*.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.correlate.columns import FrameColumns, VantageColumns
from analyzer.correlate.ports import Ports
from analyzer.correlate.stages import BRIDGE, FREE, PORT
from analyzer.model.frames import MARK_FRAGMENT
from analyzer.model.journeys import Status
from analyzer.native.compiled import compiled
from analyzer.net.ethernet import GROUP_BIT_U64

_DELIVERED, _LOST, _UNMATCHED = int(Status.DELIVERED), int(Status.LOST), int(Status.UNMATCHED)
GRACE_NS = 20_000_000
"""A packet seen this shortly before a vantage's end may still have been on its way."""


class Watch(NamedTuple):
    """When each of v vantages was looked at, and whether it can be trusted."""

    start_ns: npt.NDArray[np.int64]
    """[v]"""
    end_ns: npt.NDArray[np.int64]
    """[v]"""
    complete: npt.NDArray[np.bool_]
    """[v] nothing was dropped by the vantage's ring"""


def judge(
    last: npt.NDArray[np.int32],
    frames: FrameColumns,
    layout: VantageColumns,
    ports: Ports,
    watch: Watch,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """(status: [p] uint8, expected vantage: [p] int32) from each packet's last frame."""
    segment = layout.segment.take(frames.vantage.take(last))
    addressee, ts_ns = frames.eth_dst.take(last), frames.ts_ns.take(last)
    target = ports.leading_then(segment, addressee, ts_ns, watch.start_ns)
    status, expected = np.empty(len(last), np.uint8), np.empty(len(last), np.int32)
    _judge(last, target, frames, layout, watch, status, expected)
    return status, expected


@compiled
def _judge(
    last: Any,
    target: Any,
    frames: FrameColumns,
    layout: VantageColumns,
    watch: Watch,
    status: Any,
    expected: Any,
) -> None:
    """Fill ``status`` and ``expected`` [p]; target: [p] vantage that leads to the addressee."""
    kind, peer, ts = layout.kind, layout.peer, frames.ts_ns
    for q in range(len(last)):
        i = last[q]
        v, here = frames.vantage[i], frames.stage[i]
        status[q], expected[q] = _DELIVERED, -1
        if frames.eth_dst[i] & GROUP_BIT_U64 or here == FREE:
            continue
        entering = here == 1 or (here == 0 and peer[v] < 0)
        following = np.int64(-1)
        if not entering and (here == 0 or (here == 2 and kind[v] != BRIDGE)):
            following = np.int64(peer[v])
        # bridge netfilter may reassemble fragments and cut them anew: only the first is followed
        elif entering and not frames.marks[i] & MARK_FRAGMENT and target[q] != v:
            following = np.int64(target[q])
        if following >= 0:
            begun = ts[i] >= watch.start_ns[following]
            soon_over = ts[i] > watch.end_ns[following] - GRACE_NS
            if watch.complete[following] and begun and not soon_over:
                status[q], expected[q] = _LOST, following
            else:
                status[q] = _UNMATCHED
        elif here == 1:
            status[q] = _UNMATCHED


def find_strays(
    first: npt.NDArray[np.int32],
    last: npt.NDArray[np.int32],
    frames: FrameColumns,
    eth_src: npt.NDArray[np.uint64],
    layout: VantageColumns,
    ports: Ports,
) -> npt.NDArray[np.bool_]:
    """[p] whether a packet is but a bridge device's copy of a frame that its port did not show.

    The frame was dropped by the ring, or changed in the bridge (reassembled), or only the
    receiver's side was captured, where it is seen on its own. It is told by a captured port that
    its sender, or a captured vantage that its receiver is known to live behind. The host may route
    such a copy on: a promiscuous bridge hands up what it bridges, translated already. eth_src: [n].
    """
    stray = np.zeros(len(first), np.bool_)
    if _mere_copies(first, last, frames, layout, stray):
        begin = first[stray]
        segment = layout.segment[frames.vantage[begin]]
        port = ports.leading_to(segment, eth_src[begin])
        to = ports.leading_to(segment, frames.eth_dst[begin])
        from_port = (port >= 0) & (layout.kind[np.maximum(port, 0)] == PORT)
        stray[stray] = (to >= 0) | (from_port & (last[stray] == begin))
    return stray


@compiled
def _mere_copies(
    first: Any, last: Any, frames: FrameColumns, layout: VantageColumns, copies: Any
) -> Any:
    """Set ``copies`` [p] of packets for others that a bridge device saw first; how many."""
    count = 0
    for q in range(len(first)):
        i = first[q]
        v = frames.vantage[i]
        if frames.stage[i] == 2 and layout.kind[v] == BRIDGE:
            to = frames.eth_dst[i]
            copies[q] = not to & GROUP_BIT_U64 and to != layout.mac[v]
            count += copies[q]
    return count
