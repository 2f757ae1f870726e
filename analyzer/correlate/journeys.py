"""From links between frames to journeys: one row a packet, with its end and what was seen of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

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
def _rank(kind: Any, stage: Any, at_target: Any) -> Any:
    """How good an end of the main path a leaf is: the addressee first, then how far it came."""
    return 8 * at_target + stage


@allocating
def find_ends(
    parent: Any,
    hop: Any,
    packet: Any,
    first: Any,
    stage: Any,
    vantage: Any,
    layout: Any,
    eth_dst: Any,
    piece: Any,
    short: Any,
    last: Any,
) -> None:
    """Fill ``last`` [p], a copy of ``first``, with the last frame of each packet's main path.

    A leaf is a frame that nothing came from, copies aside. Of several (unicast flooded for
    want of an FDB entry) the one at the addressee counts; where it was cut into segments on the
    way (``piece`` [n]), the one that came least far, or the frame itself where some of its bytes
    were not seen further on (``short`` [n]). A multicast's journey is a tree without main path: its
    ``last`` is its first frame. layout: kind and mac of `Layout`.
    """
    kind, mac = layout
    n, p = len(parent), len(first)
    inner = np.zeros(n, np.bool_)
    for i in range(n):
        if parent[i] >= 0 and hop[i] != _COPY:
            inner[parent[i]] = True
    cut = np.zeros(p, np.bool_)
    for i in range(n):
        if piece[i]:
            cut[packet[i]] = True
    best = np.full(p, -1, np.int32)
    for i in range(n):
        if inner[i] or hop[i] == _COPY:
            continue
        q, v = packet[i], vantage[i]
        if eth_dst[first[q]] & GROUP_BIT_U64:
            continue
        rank = _rank(kind[v], stage[i], np.int32(kind[v] != PORT and mac[v] == eth_dst[i]))
        if best[q] < 0 or (rank < best[q] if cut[q] else rank > best[q]):
            best[q] = rank
            last[q] = i


@piece
def _copy_bits(copy_ns: Any, ingress_ns: Any) -> Any:
    return _BRIDGE_COPY | (_SAME_STAMP if copy_ns == ingress_ns else 0)


class Seen(NamedTuple):
    """What was seen of p packets."""

    evidence: npt.NDArray[np.uint16]
    """bits"""
    in_port: npt.NDArray[np.int32]
    """vantage, -1 where there is none"""
    out_port: npt.NDArray[np.int32]
    frames: npt.NDArray[np.int32]


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
    parent: Any,
    hop: Any,
    packet: Any,
    last: Any,
    stage: Any,
    vantage: Any,
    ts: Any,
    layout: Any,
    eth_dst: Any,
    seen: Any,
) -> None:
    """Fill ``seen``. layout: kind, mac and segment of `Layout`."""
    kind, mac, segment = layout
    evidence, in_port, out_port, frames = seen
    n, p = len(parent), len(last)
    leaves_by = np.full(p, -1, np.int32)
    for i in range(n):
        q, v = packet[i], vantage[i]
        frames[q] += 1
        bits = 0
        if hop[i] == _COPY:
            bits = _copy_bits(ts[i], ts[parent[i]])
        elif kind[v] == PORT:
            if stage[i] == 1:
                bits = _PORT_IN
                in_port[q] = v
            else:
                bits = _PORT_OUT
                before = leaves_by[q]
                if before >= 0 and before != v and segment[before] == segment[v]:
                    bits |= _FLOODED
                leaves_by[q] = v
        elif kind[v] == BRIDGE:
            up = stage[i] == 2 and (eth_dst[i] == mac[v] or eth_dst[i] & GROUP_BIT_U64 != 0)
            bits = _BRIDGE_OUT if stage[i] == 1 else (_DELIVERED_UP if up else 0)
            if stage[i] == 2 and parent[i] >= 0:
                bits |= _copy_bits(ts[i], ts[parent[i]])
        elif kind[v] == STATION:
            bits = _STATION_IN if stage[i] == 3 else _STATION_OUT
        if hop[i] == _ROUTE:
            bits |= _ROUTED
        elif hop[i] == _TUNNEL:
            bits |= _TUNNELLED
        evidence[q] |= bits
    for q in range(p):
        i = last[q]
        while i >= 0:
            v = vantage[i]
            if kind[v] == PORT and stage[i] == 2 and out_port[q] < 0:
                out_port[q] = v
            i = parent[i]


def stages_of(
    stage: npt.NDArray[np.int32],
    vantage: npt.NDArray[np.int32],
    direction: npt.NDArray[np.uint8],
) -> npt.NDArray[np.int32]:
    """[n] stage of each frame from its vantage and direction (2 is egress, else ingress)."""
    found: npt.NDArray[np.int32] = stage.ravel().take(2 * vantage + (direction == 2))
    return found
