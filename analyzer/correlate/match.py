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

from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.correlate.pairing import LONGEST_NS, pair, pair_copies
from analyzer.correlate.stages import BRIDGE, FREE
from analyzer.correlate.unique_match import edge_kind, fits, is_up, link_unique
from analyzer.model.journeys import Hop
from analyzer.native.compiled import allocating, compiled
from analyzer.native.keys import mix

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
    frames: tuple[npt.NDArray[Any], ...],
    layout: tuple[npt.NDArray[Any], ...],
    links: tuple[npt.NDArray[Any], ...],
) -> None:
    """Link all groups: fills ``links``: parent [n] int32, hop [n] uint8, likely [n] bool.

    order, start: from `group_rows` over mix(l2key, segment). frames: ts, ring, vantage, stage and
    eth_dst of each frame. layout: kind, peer, queued and mac of `Layout`, by vantage.
    """
    others = np.empty(len(start), np.int64)
    left = link_unique(order, start, frames, layout, links, others)
    if left:
        _link_others(others[:left], order, start, frames, layout, links)


@allocating
def _link_others(groups: Any, order: Any, start: Any, frames: Any, layout: Any, links: Any) -> None:
    """Link groups with several frames at a point."""
    ts, ring_of, vantage, stage, eth_dst = frames
    parent, hop, likely = links
    for g in groups:
        rows = order[start[g] : start[g + 1]]
        if stage[rows[0]] == FREE:
            _link_free(rows, vantage, ts, parent, hop, likely)
        else:
            _link_many(rows, ts, ring_of, vantage, stage, layout, eth_dst, parent, hop, likely)


@allocating
def _link_many(
    rows: Any,
    ts: Any,
    ring_of: Any,
    vantage: Any,
    stage: Any,
    layout: Any,
    eth_dst: Any,
    parent: Any,
    hop: Any,
    likely: Any,
) -> Any:
    """Identical frames: the sequences of neighbouring points are paired."""
    kind, peer, queued, mac = layout
    vantages, stages = vantage[rows], stage[rows]
    point = vantages * 8 + stages
    by_point = _argsort(point)
    keep, a = np.empty(len(rows), np.int64), 0
    while a < len(rows):
        b = a
        while b < len(rows) and point[by_point[b]] == point[by_point[a]]:
            b += 1
        v, s = vantages[by_point[a]], stages[by_point[a]]
        found = 0
        for i in range(len(rows)):
            if fits(v, s, vantages[i], stages[i], peer):
                keep[found] = i
                found += 1
        if found:
            children, parents = rows[by_point[a:b]], rows[keep[:found]]
            out, unsure = np.empty(b - a, np.int64), np.zeros(b - a, np.bool_)
            if kind[v] == BRIDGE and s == 2:
                pair_copies(parents, children, ts, ring_of, out, unsure)
            else:
                pair(parents, children, ts, ring_of, queued[v], out, unsure)
            for k in range(len(children)):
                if out[k] >= 0:
                    p, c = parents[out[k]], children[k]
                    parent[c], likely[c] = p, unsure[k]
                    w, up = vantage[p], is_up(eth_dst[c], mac[v])
                    hop[c] = edge_kind(stage[p], s, kind[v], kind[w], up, peer[v] == w)
        a = b


@allocating
def _link_free(rows: Any, vantage: Any, ts: Any, parent: Any, hop: Any, likely: Any) -> Any:
    """Without topology: frames without a pause of LONGEST_NS between them belong together."""
    a = 0
    for b in range(1, len(rows) + 1):
        if b == len(rows) or ts[rows[b]] - ts[rows[b - 1]] > LONGEST_NS:
            if b - a > 1:
                _chain(rows[a:b], vantage, ts, parent, hop, likely)
            a = b


@allocating
def _chain(rows: Any, vantage: Any, ts: Any, parent: Any, hop: Any, likely: Any) -> Any:
    """The k-th sighting at each vantage is the k-th packet; its frames follow by time.

    Only where all vantages saw equally many: else one loss would shift the rest.
    """
    m = len(rows)
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
        chain = chain[_argsort(ts[chain])]
        for a in range(1, points):
            parent[chain[a]] = chain[a - 1]
            hop[chain[a]] = _SPAN
            likely[chain[a]] = per > 1


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
