"""What became of each packet: delivered, lost, or not to be told.

Lost is said only where the topology names the vantage that had to see the packet next, that
vantage was being captured at the time, nothing was dropped by its ring, and it saw nothing.
Everything else that has no end is *unmatched*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.correlate.ports import Ports
from analyzer.correlate.stages import BRIDGE, FREE, PORT, Layout
from analyzer.model.frames import MARK_FRAGMENT
from analyzer.model.journeys import Status

_DELIVERED, _LOST, _UNMATCHED = int(Status.DELIVERED), int(Status.LOST), int(Status.UNMATCHED)
_MULTICAST = np.uint64(1 << 40)
GRACE_NS = 20_000_000
"""A packet seen this shortly before a vantage's end may still have been on its way."""


@dataclass(frozen=True, slots=True)
class Watch:
    """When each vantage was looked at, and whether it can be trusted: [v] arrays."""

    start_ns: npt.NDArray[np.int64]
    end_ns: npt.NDArray[np.int64]
    complete: npt.NDArray[np.bool_]
    """nothing was dropped by the vantage's ring"""


def judge(
    last: npt.NDArray[np.int32],
    frames: Mapping[str, npt.NDArray[Any]],
    stage: npt.NDArray[np.int32],
    layout: Layout,
    ports: Ports,
    watch: Watch,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """(status: [p] uint8, expected vantage: [p] int32) from each packet's last frame."""
    vantage = frames["vantage"][last].astype(np.int64)
    here = stage[last]
    target = ports.leading_to(layout.segment[vantage], frames["eth_dst"][last])
    peer = layout.peer[vantage]
    expected = np.where((here == 0) | (here == 2), peer, -1)
    expected = np.where((here == 2) & (layout.kind[vantage] == BRIDGE), -1, expected)
    entering = (here == 1) | ((here == 0) & (peer < 0))
    expected = np.where(entering, target, expected)
    expected = np.where(expected == vantage, -1, expected)
    multicast = (frames["eth_dst"][last] & _MULTICAST) != 0
    expected = np.where(multicast, -1, expected).astype(np.int32)
    # bridge netfilter may reassemble fragments and cut them anew: only the first is followed
    piece = entering & ((frames["marks"][last] & MARK_FRAGMENT) != 0)
    expected = np.where(piece, -1, expected)
    unknown = (here == 1) & ~multicast & (expected < 0)
    status = np.where(unknown | (here == FREE), _UNMATCHED, _DELIVERED)
    status = np.where(multicast | (here == FREE), _DELIVERED, status)
    ts = frames["ts_ns"][last]
    e = np.maximum(expected, 0)
    trusted = watch.complete[e] & (ts >= watch.start_ns[e]) & (ts <= watch.end_ns[e] - GRACE_NS)
    status = np.where(expected >= 0, np.where(trusted, _LOST, _UNMATCHED), status)
    return status.astype(np.uint8), np.where(status == _LOST, expected, -1).astype(np.int32)


def find_strays(
    first: npt.NDArray[np.int32],
    last: npt.NDArray[np.int32],
    frames: Mapping[str, npt.NDArray[Any]],
    stage: npt.NDArray[np.int32],
    layout: Layout,
    ports: Ports,
) -> npt.NDArray[np.bool_]:
    """[p] whether a packet is but a bridge device's copy of a frame that its port did not show.

    The frame was dropped by the ring, or changed in the bridge (reassembled). It is told by
    the port that its sender is known to live behind being captured itself.
    """
    vantage, dst = frames["vantage"][first], frames["eth_dst"][first]
    copy = (stage[first] == 2) & (layout.kind[vantage] == BRIDGE) & (last == first)
    copy &= ((dst & _MULTICAST) == 0) & (dst != layout.mac[vantage])
    port = ports.leading_to(layout.segment[vantage], frames["eth_src"][first])
    stray: npt.NDArray[np.bool_] = copy & (port >= 0) & (layout.kind[np.maximum(port, 0)] == PORT)
    return stray
