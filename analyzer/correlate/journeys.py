"""From links between frames to journeys: one row a packet, with its end and what was seen of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.correlate.columns import Edges, FrameColumns, VantageColumns
from analyzer.correlate.stages import BRIDGE, PORT, STATION
from analyzer.model.journeys import Evidence, Hop
from analyzer.native.compiled import allocating, compiled, piece
from analyzer.net.ethernet import GROUP_BIT_U64

_COPY, _ROUTE, _TUNNEL = int(Hop.COPY), int(Hop.ROUTE), int(Hop.TUNNEL)
_TUNNELLED = int(Evidence.TUNNELLED)
_STATION_OUT, _STATION_IN = int(Evidence.STATION_OUT), int(Evidence.STATION_IN)
_PORT_IN, _PORT_OUT = int(Evidence.PORT_IN), int(Evidence.PORT_OUT)
_BRIDGE_COPY, _BRIDGE_OUT = int(Evidence.BRIDGE_COPY), int(Evidence.BRIDGE_OUT)
_DELIVERED_UP, _ROUTED = int(Evidence.DELIVERED_UP), int(Evidence.ROUTED)
_FLOODED, _SAME_STAMP = int(Evidence.FLOODED), int(Evidence.SAME_STAMP)


def number_packets(
    parent: npt.NDArray[np.int32],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """(packet of each frame: [n] int32, first frame of each packet: [p] int32).

    Packets are numbered by their first frame's place in the file.
    """
    packet, first = np.full(len(parent), -1, np.int32), np.empty(len(parent), np.int32)
    count = _number(parent, packet, first)
    return packet, first[:count].copy()


@compiled
def _number(parent: Any, packet: Any, first: Any) -> Any:
    n, count = len(parent), 0
    for i in range(n):
        if parent[i] < 0:
            packet[i] = count
            first[count] = i
            count += 1
    for i in range(n):
        root, depth = i, 0
        while packet[root] < 0 and depth < 255:
            root = parent[root]
            depth += 1
        packet[i] = packet[root]
    return count


@piece
def _rank(leaf: Any, frames: FrameColumns, layout: VantageColumns) -> Any:
    """How good an end of the main path a leaf is: the addressee first, then how far it came."""
    v = frames.vantage[leaf]
    at_target = np.int32(layout.kind[v] != PORT and layout.mac[v] == frames.eth_dst[leaf])
    return 8 * at_target + frames.stage[leaf]


@allocating
def find_ends(
    frames: FrameColumns,
    layout: VantageColumns,
    edges: Edges,
    pieces: Any,
    packet: Any,
    first: Any,
    last: Any,
) -> None:
    """Fill ``last`` [p], a copy of ``first``, with the last frame of each packet's main path.

    A leaf is a frame that nothing came from, copies aside. Of several (unicast flooded for
    want of an FDB entry) the one at the addressee counts; where it was cut into segments on the
    way (``pieces`` [n]), the one that came least far. A multicast's journey is a tree without main
    path: its ``last`` is its first frame. packet: [n].
    """
    parent, hop = edges.parent, edges.hop
    n, p = len(parent), len(first)
    inner = np.zeros(n, np.bool_)
    for i in range(n):
        if parent[i] >= 0 and hop[i] != _COPY:
            inner[parent[i]] = True
    cut = np.zeros(p, np.bool_)
    for i in range(n):
        if pieces[i]:
            cut[packet[i]] = True
    best = np.full(p, -1, np.int32)
    for i in range(n):
        if inner[i] or hop[i] == _COPY or frames.eth_dst[first[packet[i]]] & GROUP_BIT_U64:
            continue
        q, rank = packet[i], _rank(i, frames, layout)
        if best[q] < 0 or (rank < best[q] if cut[q] else rank > best[q]):
            best[q] = rank
            last[q] = i


@piece
def _copy_bits(copy_ns: Any, ingress_ns: Any) -> Any:
    return _BRIDGE_COPY | (_SAME_STAMP if copy_ns == ingress_ns else 0)


class Seen(NamedTuple):
    """What was seen of p packets."""

    evidence: npt.NDArray[np.uint16]
    """[p] bits"""
    in_port: npt.NDArray[np.int32]
    """[p] vantage, -1 where there is none"""
    out_port: npt.NDArray[np.int32]
    """[p] as in_port"""
    frames: npt.NDArray[np.int32]
    """[p] number of them"""


def nothing_seen(packets: int) -> Seen:
    """For `gather_evidence` to fill."""
    return Seen(
        np.zeros(packets, np.uint16),
        np.full(packets, -1, np.int32),
        np.full(packets, -1, np.int32),
        np.zeros(packets, np.int32),
    )


@allocating
def gather_evidence(
    frames: FrameColumns,
    layout: VantageColumns,
    edges: Edges,
    packet: Any,
    last: Any,
    seen: Seen,
) -> None:
    """Fill ``seen``. packet: [n], last: [p]."""
    left = np.full(len(last), -1, np.int32)
    for i in range(len(packet)):
        q, v, stage = packet[i], frames.vantage[i], frames.stage[i]
        seen.frames[q] += 1
        seen.evidence[q] |= _bits_of(i, frames, layout, edges)
        if edges.hop[i] == _COPY or layout.kind[v] != PORT:
            continue
        if stage == 1:
            seen.in_port[q] = v
            continue
        if left[q] >= 0 and _is_other_branch(left[q], i, frames, layout):
            seen.evidence[q] |= _FLOODED
        left[q] = i
    for q in range(len(last)):
        i = last[q]
        while i >= 0:
            v = frames.vantage[i]
            if layout.kind[v] == PORT and frames.stage[i] == 2 and seen.out_port[q] < 0:
                seen.out_port[q] = v
            i = edges.parent[i]


@piece
def _is_other_branch(a: Any, b: Any, frames: FrameColumns, layout: VantageColumns) -> Any:
    """Whether two frames left a bridge by two ports; what was routed meanwhile has another MAC."""
    v, w = frames.vantage[a], frames.vantage[b]
    same_bridge = v != w and layout.segment[v] == layout.segment[w]
    return same_bridge and frames.eth_dst[a] == frames.eth_dst[b]


@piece
def _bits_of(i: Any, frames: FrameColumns, layout: VantageColumns, edges: Edges) -> Any:
    """`Evidence` bits of one frame, without looking at others than its parent."""
    v, stage, parent = frames.vantage[i], frames.stage[i], edges.parent[i]
    kind, bits = layout.kind[v], 0
    if edges.hop[i] == _COPY:
        bits = _copy_bits(frames.ts_ns[i], frames.ts_ns[parent])
    elif kind == PORT:
        bits = _PORT_IN if stage == 1 else _PORT_OUT
    elif kind == BRIDGE:
        to = frames.eth_dst[i]
        up = stage == 2 and (to == layout.mac[v] or to & GROUP_BIT_U64 != 0)
        bits = _BRIDGE_OUT if stage == 1 else (_DELIVERED_UP if up else 0)
        if stage == 2 and parent >= 0:
            bits |= _copy_bits(frames.ts_ns[i], frames.ts_ns[parent])
    elif kind == STATION:
        bits = _STATION_IN if stage == 3 else _STATION_OUT
    if edges.hop[i] == _ROUTE:
        bits |= _ROUTED
    elif edges.hop[i] == _TUNNEL:
        bits |= _TUNNELLED
    return bits


def stages_of(
    stage: npt.NDArray[np.int32],
    vantage: npt.NDArray[np.int32],
    direction: npt.NDArray[np.uint8],
) -> npt.NDArray[np.int32]:
    """[n] stage of each frame from its vantage and direction (2 is egress, else ingress)."""
    of_frames: npt.NDArray[np.int32] = stage.ravel().take(2 * vantage + (direction == 2))
    return of_frames
