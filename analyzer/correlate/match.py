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

from analyzer.compiled import allocating
from analyzer.correlate.pairing import LONGEST_NS, QUEUE_NS, pair, pair_copies, precedes
from analyzer.correlate.stages import BRIDGE, FREE
from analyzer.keys import mix
from analyzer.model.journeys import Hop

_VETH, _BRIDGE, _DELIVER = int(Hop.VETH), int(Hop.BRIDGE), int(Hop.DELIVER)
_ORIGINATE, _SPAN, _COPY = int(Hop.ORIGINATE), int(Hop.SPAN), int(Hop.COPY)
_FEW = 8
"""frames of a group that are looked at without a sort"""
_MULTICAST = np.uint64(1 << 40)
"""the group bit of a MAC as a 48-bit value (IEEE 802)"""


@allocating
def edge_kind(
    parent_stage: Any,
    child_stage: Any,
    child_kind: Any,
    parent_kind: Any,
    to_host: Any,
    paired: Any,
) -> Any:
    """Hop kind from the stages of parent and child; paired: they are the ends of one veth."""
    if paired:
        return _VETH
    if child_stage == 2 and child_kind == BRIDGE and not to_host:
        return _COPY
    if child_stage == 2 and parent_stage == 1:
        if child_kind == BRIDGE:
            return _DELIVER
        return _ORIGINATE if parent_kind == BRIDGE else _BRIDGE
    return _SPAN


@allocating
def fits(v: Any, stage: Any, w: Any, s: Any, peer: Any) -> Any:
    """Whether a frame at vantage w, stage s may be the parent of one at v, ``stage``.

    Stage 1 and 3 look across the veth pair; stage 2 (and 3 where the pair's host end was
    not captured) look at all entries of the segment but their own port.
    """
    across = peer[v]
    if stage == 1:
        return w == across and s == 0
    if stage == 3 and across >= 0:
        return w == across and (s == 2 or s == 0)
    entry = s == 1 or (s == 0 and peer[w] < 0)
    return stage >= 2 and entry and w != v


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


@allocating
def link_segment(
    order: Any, start: Any, ts: Any, ring_of: Any, vantage: Any, stage: Any, layout: Any,
    eth_dst: Any, parent: Any, hop: Any, likely: Any,
) -> Any:  # fmt: skip
    """Link all groups: fills ``parent`` [n] int32, ``hop`` [n] uint8, ``likely`` [n] bool.

    order, start: from `group_rows` over mix(l2key, segment). stage: [n] of each frame.
    ring_of: [n] ring of each frame. layout: kind, peer, queued and mac of `Layout`, by vantage.
    """
    for g in range(len(start) - 1):
        rows = order[start[g] : start[g + 1]]
        if len(rows) < 2:
            continue
        if stage[rows[0]] == FREE:
            _link_free(rows, vantage, ts, parent, hop, likely)
        elif len(rows) <= _FEW and _all_differ(rows, vantage, stage):
            _link_singles(rows, ts, ring_of, vantage, stage, layout, eth_dst, parent, hop, likely)
        else:
            _link_many(rows, ts, ring_of, vantage, stage, layout, eth_dst, parent, hop, likely)


@allocating
def _all_differ(rows: Any, vantage: Any, stage: Any) -> Any:
    """Whether every frame stands at a point of its own."""
    for i in range(1, len(rows)):
        for k in range(i):
            if vantage[rows[i]] == vantage[rows[k]] and stage[rows[i]] == stage[rows[k]]:
                return False
    return True


@allocating
def _link_singles(
    rows: Any, ts: Any, ring_of: Any, vantage: Any, stage: Any, layout: Any, eth_dst: Any,
    parent: Any, hop: Any, likely: Any,
) -> Any:  # fmt: skip
    """One frame a point: each child's parent is the one that the topology allows and time.

    Of several (entries of which the way between was not captured) the latest.
    """
    kind, peer, queued, mac = layout
    for c in rows:
        v = vantage[c]
        upward = kind[v] == BRIDGE and stage[c] == 2
        window = QUEUE_NS if queued[v] else LONGEST_NS
        best, count = -1, 0
        for p in rows:
            w = vantage[p]
            if p == c or not fits(v, stage[c], w, stage[p], peer):
                continue
            same = upward and ts[p] == ts[c]
            seen = precedes(p, c, ts, ring_of) and ts[c] - ts[p] <= window
            if not (same or seen):
                continue
            count += 1
            if best < 0 or same or (p > best and not (upward and ts[best] == ts[c])):
                best = p
        if best >= 0:
            parent[c] = best
            likely[c] = count > 1 and not (upward and ts[best] == ts[c])
            up = _is_up(eth_dst[c], mac[v])
            hop[c] = edge_kind(
                stage[best], stage[c], kind[v], kind[vantage[best]], up, peer[v] == vantage[best]
            )


@allocating
def _is_up(eth_dst: Any, mac: Any) -> Any:
    """Whether what a bridge device takes in is for the host itself, too."""
    return (eth_dst & _MULTICAST) != 0 or eth_dst == mac


@allocating
def _link_many(
    rows: Any, ts: Any, ring_of: Any, vantage: Any, stage: Any, layout: Any, eth_dst: Any,
    parent: Any, hop: Any, likely: Any,
) -> Any:  # fmt: skip
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
                    w, up = vantage[p], _is_up(eth_dst[c], mac[v])
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


@allocating
def segment_keys(key: Any, segment: Any, vantage: Any) -> Any:
    """mix(identity key, number of the segment): [n] uint64."""
    out = np.empty(len(key), np.uint64)
    for i in range(len(key)):
        out[i] = mix(key[i], np.uint64(segment[vantage[i]] + 1))
    return out
