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

from analyzer.compiled import allocating
from analyzer.correlate.group import group_rows
from analyzer.correlate.stages import BRIDGE, FREE, PORT, STATION, Layout
from analyzer.keys import mixed
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


PortMap = Mapping[tuple[int, int], int]
"""(segment, MAC as 48-bit value) → vantage of the port or bridge that leads to it"""


@allocating
def _learn(stage: Any, vantage: Any, segment: Any, eth_src: Any, kind: Any) -> Any:
    """(segment, MAC, port) triples of ingress frames at ports, runs of equals skipped."""
    out = [(np.int64(0), np.uint64(0), np.int64(0)) for _ in range(0)]
    before_mac, before_v = np.uint64(0), -1
    for i in range(len(stage)):
        v = vantage[i]
        if kind[v] == PORT and stage[i] == 1 and (eth_src[i] != before_mac or v != before_v):
            before_mac, before_v = eth_src[i], v
            out.append((np.int64(segment[v]), eth_src[i], np.int64(v)))
    return out


def build_port_map(
    layout: Layout, fdb: Mapping[tuple[int, int], int], learned: PortMap
) -> dict[tuple[int, int], int]:
    """Where each MAC lives: by the pairs, then the FDB, then what the capture itself showed.

    fdb: (segment, mac) → port vantage, from the bridge's own table.
    """
    known = dict(learned)
    known.update(fdb)
    for v in range(layout.count):
        key = (int(layout.segment[v]), int(layout.mac[v]))
        if layout.kind[v] == STATION and layout.peer[v] >= 0:
            known[key] = int(layout.peer[v])
        elif layout.kind[v] == BRIDGE:
            known[key] = v
    return known


def learn_ports(
    stage: npt.NDArray[np.int32],
    vantage: npt.NDArray[np.int32],
    eth_src: npt.NDArray[np.uint64],
    layout: Layout,
) -> dict[tuple[int, int], int]:
    """Ports by the source MACs that came in there, as the bridge itself learns."""
    seen = set(_learn(stage, vantage, layout.segment, eth_src, layout.kind))
    return {(int(s), int(mac)): int(v) for s, mac, v in seen}


def judge(
    last: npt.NDArray[np.int32],
    frames: Mapping[str, npt.NDArray[Any]],
    stage: npt.NDArray[np.int32],
    layout: Layout,
    ports: PortMap,
    watch: Watch,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """(status: [p] uint8, expected vantage: [p] int32) from each packet's last frame."""
    vantage = frames["vantage"][last].astype(np.int64)
    here = stage[last]
    target = _ports_of(layout.segment[vantage], frames["eth_dst"][last], ports)
    peer = layout.peer[vantage]
    expected = np.where((here == 0) | (here == 2), peer, -1)
    expected = np.where((here == 2) & (layout.kind[vantage] == BRIDGE), -1, expected)
    expected = np.where(here == 1, target, expected)
    expected = np.where(expected == vantage, -1, expected)
    multicast = (frames["eth_dst"][last] & _MULTICAST) != 0
    expected = np.where(multicast, -1, expected).astype(np.int32)
    # bridge netfilter may reassemble fragments and cut them anew: only the first is followed
    piece = (here == 1) & ((frames["marks"][last] & MARK_FRAGMENT) != 0)
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
    ports: PortMap,
) -> npt.NDArray[np.bool_]:
    """[p] whether a packet is but a bridge device's copy of a frame that its port did not show.

    The frame was dropped by the ring, or changed in the bridge (reassembled). It is told by
    the port that its sender is known to live behind being captured itself.
    """
    vantage, dst = frames["vantage"][first], frames["eth_dst"][first]
    copy = (stage[first] == 2) & (layout.kind[vantage] == BRIDGE) & (last == first)
    copy &= ((dst & _MULTICAST) == 0) & (dst != layout.mac[vantage])
    port = _ports_of(layout.segment[vantage], frames["eth_src"][first], ports)
    stray: npt.NDArray[np.bool_] = copy & (port >= 0) & (layout.kind[np.maximum(port, 0)] == PORT)
    return stray


def _ports_of(
    segment: npt.NDArray[np.int32], mac: npt.NDArray[Any], ports: PortMap
) -> npt.NDArray[np.int64]:
    """[p] vantage that leads to each (segment, MAC); -1 where unknown. One look-up a pair."""
    if not len(mac):
        return np.empty(0, np.int64)
    order, start, _ = group_rows(mixed(mac, segment))
    first = order[start[:-1]]
    found = [ports.get((int(segment[i]), int(mac[i])), -1) for i in first]
    out = np.empty(len(mac), np.int64)
    out[order] = np.repeat(np.array(found, np.int64), np.diff(start))
    return out
