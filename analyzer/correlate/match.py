"""Tie each frame to the one it came from, within one layer-2 segment.

Frames with the same identity key are a group. Mostly each point (a vantage and a
direction) holds one frame of it and the topology alone orders them. Identical packets
exist, though: repeated ARP requests, retransmissions, IP id 0 with DF. Then the frames of
two neighbouring points are two sequences, of which the later one may lack some (lost) or
have more (their start was not captured): see `analyzer.correlate.pairing`. What is the only
possible pair is *certain*; where several identical packets were under way at the same time,
or one of them got lost shortly before, the pair is *likely* and marked so.

"Precedes" is ring order within one ring (the kernel inserted them in that order) and the
stamps across rings. docker0's copy is the same skb as at its ingress port, so it is tied by
the stamp, bit for bit. But a TCP sender leaves its departure time in the skb, veth keeps it
(skb_clear_tstamp in linux/skbuff.h spares delivery times), so such a frame gets no receive
stamp and every tap takes its own time (tpacket_get_timestamp): these copies are tied by ring
order, in which a copy follows its ingress frame before the next one of that CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.correlate.columns import Edges, FrameColumns, SeenTimes, VantageColumns
from analyzer.correlate.pairing import Pairs, pair, pair_copies
from analyzer.correlate.stages import BRIDGE, FREE, LONGEST_NS, LOOSE, Layout
from analyzer.correlate.unique_match import comes_before, edge_kind, fits, link_unique
from analyzer.model.journeys import Hop
from analyzer.native.compiled import allocating, compiled, piece
from analyzer.native.keys import mix
from analyzer.net.ethernet import GROUP_BIT_U64
from analyzer.net.ip import MAPPED

_SPAN = int(Hop.SPAN)


@allocating
def _argsort(values: Any) -> Any:
    """Stable argsort; by insertion for the few frames that a group mostly has."""
    if len(values) > 24:
        return np.argsort(values, kind="mergesort")
    order = np.arange(len(values))
    for i in range(1, len(values)):
        here, k = order[i], i
        while k > 0 and values[order[k - 1]] > values[here]:
            order[k] = order[k - 1]
            k -= 1
        order[k] = here
    return order


def link_segment(
    order: npt.NDArray[np.int32],
    start: npt.NDArray[np.int64],
    frames: FrameColumns,
    layout: VantageColumns,
    edges: Edges,
) -> None:
    """Link all groups; order, start: from `group_rows` over mix(l2key, segment)."""
    others = np.empty(len(start), np.int64)
    left = link_unique(order, start, frames, layout, edges, others)
    if left:
        _link_others(others[:left], order, start, frames, layout, edges)


@allocating
def _link_others(
    groups: Any,
    order: Any,
    start: Any,
    frames: FrameColumns,
    layout: VantageColumns,
    edges: Edges,
) -> None:
    """Link groups with several frames at a point."""
    for g in groups:
        rows = order[start[g] : start[g + 1]]
        if frames.stage[rows[0]] == FREE:
            _link_free(rows, frames, layout, edges)
        else:
            _link_many(rows, frames, layout, edges)


@allocating
def _link_many(rows: Any, frames: FrameColumns, layout: VantageColumns, edges: Edges) -> Any:
    """Identical frames: the sequences of neighbouring points are paired."""
    times = SeenTimes(frames.ts_ns, frames.ring)
    vantages, stages = frames.vantage[rows], frames.stage[rows]
    point = vantages * 8 + stages
    by_point = _argsort(point)
    keep, a = np.empty(len(rows), np.int64), 0
    while a < len(rows):
        b = a
        while b < len(rows) and point[by_point[b]] == point[by_point[a]]:
            b += 1
        v, s = vantages[by_point[a]], stages[by_point[a]]
        possible = 0
        for i in range(len(rows)):
            if fits(v, s, vantages[i], stages[i], layout.peer):
                keep[possible] = i
                possible += 1
        if possible:
            children, parents = rows[by_point[a:b]], rows[keep[:possible]]
            pairs = Pairs(np.empty(b - a, np.int64), np.zeros(b - a, np.bool_))
            if layout.kind[v] == BRIDGE and s == 2:
                pair_copies(parents, children, times, pairs)
            else:
                pair(parents, children, times, layout.patience_ns[v], pairs)
            for k in range(len(children)):
                if pairs.parent[k] >= 0:
                    p, c = parents[pairs.parent[k]], children[k]
                    edges.parent[c], edges.likely[c] = p, pairs.unsure[k]
                    edges.hop[c] = edge_kind(p, c, frames, layout)
        a = b


@allocating
def _link_free(rows: Any, frames: FrameColumns, layout: VantageColumns, edges: Edges) -> Any:
    """Without topology: frames without a pause of LONGEST_NS between them belong together."""
    ts, a = frames.ts_ns, 0
    rows = _in_order(rows, frames, layout)
    for b in range(1, len(rows) + 1):
        if b == len(rows) or ts[rows[b]] - ts[rows[b - 1]] > LONGEST_NS:
            if b - a > 1:
                _chain(rows[a:b], frames, layout, edges)
            a = b


@allocating
def _in_order(rows: Any, frames: FrameColumns, layout: VantageColumns) -> Any:
    """Frames that look the same in the order in which they were seen; by insertion, since files
    are in order but for a few."""
    rows = rows.copy()
    for i in range(1, len(rows)):
        row, k = rows[i], i
        while k > 0 and comes_before(row, rows[k - 1], frames, layout):
            rows[k] = rows[k - 1]
            k -= 1
        rows[k] = row
    return rows


@allocating
def _chain(rows: Any, frames: FrameColumns, layout: VantageColumns, edges: Edges) -> Any:
    """The k-th sighting at each vantage is the k-th packet; its frames follow by time.

    Only where all vantages saw equally many: else one loss would shift the rest. Where one
    vantage stands for several interfaces, all of its sightings are of one packet.
    """
    m, vantage = len(rows), frames.vantage
    if layout.mixed[vantage[rows[0]]] and _is_alike(vantage, rows):
        _tie_in_turn(rows, edges, True)
        return
    by_point = _argsort(vantage[rows])
    per = 0
    while per < m and vantage[rows[by_point[per]]] == vantage[rows[by_point[0]]]:
        per += 1
    if m % per or per == m:
        return
    for a in range(0, m, per):
        if vantage[rows[by_point[a]]] != vantage[rows[by_point[a + per - 1]]]:
            return
        if a and vantage[rows[by_point[a]]] == vantage[rows[by_point[a - 1]]]:
            return
    points = m // per
    chain = np.empty(points, np.int32)
    for k in range(per):
        for a in range(points):
            chain[a] = rows[by_point[a * per + k]]
        _tie_in_turn(_in_order(chain, frames, layout), edges, per > 1)


@piece
def _is_alike(column: Any, rows: Any) -> Any:
    """Whether all rows have the same value."""
    k = 1
    while k < len(rows) and column[rows[k]] == column[rows[0]]:
        k += 1
    return k >= len(rows)


@piece
def _tie_in_turn(rows: Any, edges: Edges, likely: Any) -> None:
    """Each frame came from the one before it."""
    for a in range(1, len(rows)):
        edges.parent[rows[a]] = rows[a - 1]
        edges.hop[rows[a]] = _SPAN
        edges.likely[rows[a]] = likely


def identity_keys(frames: Mapping[str, npt.NDArray[Any]], layout: Layout) -> npt.NDArray[np.uint64]:
    """[n] what a frame is recognised by at the next vantage: its bytes.

    Without topology a router may be between two vantages, and link layers may differ: unicast IP
    is recognised from its own header on. What several stations may send alike (to a group, or
    without an address of their own) is told by MACs there, too.
    """
    keys = frames["l2key"]
    loose = (layout.kind == LOOSE).take(frames["vantage"])
    if not loose.any():
        return keys
    alone = loose & (frames["l3key"] != 0) & ~_is_group(frames) & ~_is_unspecified(frames)
    return np.where(alone, frames["l3key"], keys)


def _is_group(frames: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
    """[n] packets that are for more than one station, by either address."""
    low = frames["dst_lo"] & np.uint64(0xFFFFFFFF)
    v4 = (frames["ip_version"] == 4) & ((low >> np.uint64(28) == 14) | (low == 0xFFFFFFFF))
    v6 = (frames["ip_version"] == 6) & (frames["dst_hi"] >> np.uint64(56) == 0xFF)
    group: npt.NDArray[np.bool_] = v4 | v6 | (frames["eth_dst"] & GROUP_BIT_U64 != 0)
    return group


def _is_unspecified(frames: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.bool_]:
    """[n] packets of a station that has no address yet (0.0.0.0, ::)."""
    nothing = np.where(frames["ip_version"] == 4, np.uint64(MAPPED), np.uint64(0))
    unspecified: npt.NDArray[np.bool_] = (frames["src_hi"] == 0) & (frames["src_lo"] == nothing)
    return unspecified


def segment_keys(
    key: npt.NDArray[np.uint64], segment: npt.NDArray[np.int32], vantage: npt.NDArray[np.int32]
) -> npt.NDArray[np.uint64]:
    """mix(identity key, number of the segment): [n] uint64."""
    out = np.empty(len(key), np.uint64)
    _fill_keys(key, segment, vantage, out)
    return out


@compiled
def _fill_keys(key: Any, segment: Any, vantage: Any, out: Any) -> None:
    for i in range(len(key)):
        out[i] = mix(key[i], np.uint64(segment[vantage[i]] + 1))
