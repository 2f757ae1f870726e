"""Tie each frame to the one it came from, within one layer-2 segment.

Frames with the same identity key are a group. Mostly each point (a vantage and a
direction) holds one frame of it and the topology alone orders them. Identical packets
exist, though: repeated ARP requests, retransmissions, IP id 0 with DF. Then the frames of
two neighbouring points are two sequences, of which the later one may lack some (lost) or
have more (their start was not captured). They are aligned from the end: each child takes
the latest parent that precedes it and is still free. That keeps order, matches as many as
can be matched, and one loss shifts nothing, because

- across a veth pair both stamps are taken in the sender's own call chain, and
- across a bridge without a queue the egress tap follows the ingress tap in the ring before
  the next frame of that CPU.

Where a parent that was sent later also precedes the child, or a qdisc may hold frames back
before the egress tap, the pairing is *likely*, not certain, and marked so.

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
from numba import njit

from analyzer.compiled import allocating
from analyzer.correlate.group import mix
from analyzer.correlate.stages import BRIDGE, FREE
from analyzer.model.journeys import Hop

_VETH, _BRIDGE, _DELIVER = int(Hop.VETH), int(Hop.BRIDGE), int(Hop.DELIVER)
_ORIGINATE, _SPAN, _COPY = int(Hop.ORIGINATE), int(Hop.SPAN), int(Hop.COPY)
LONGEST_NS = 1_000_000_000
"""Of identical frames a parent older than this is another one, unless a queue is between."""
_MULTICAST = np.uint64(1 << 40)
"""the group bit of a MAC as a 48-bit value (IEEE 802)"""


@njit(nogil=True, inline="always")
def _precedes(a: Any, b: Any, ts: Any, ring_of: Any) -> Any:
    """Frame a was seen before frame b: ring order in one ring, stamps across rings."""
    if ring_of[a] == ring_of[b]:
        return a < b
    return ts[a] <= ts[b]


@allocating
def align(
    parents: Any, children: Any, ts: Any, ring_of: Any, queued: Any, out: Any, unsure: Any
) -> Any:
    """Fill ``out[k]`` with the index into ``parents`` for child k, or -1; from the end.

    parents, children: frame numbers, each in its own order. unsure[k] is set where a later
    parent also precedes the child, or where a queue and a loss leave the choice open.
    """
    j = len(parents) - 1
    loss = len(parents) > len(children)
    for k in range(len(children) - 1, -1, -1):
        crowded = False
        while j >= 0 and not _precedes(parents[j], children[k], ts, ring_of):
            j -= 1
        if j + 1 < len(parents) and _precedes(parents[j + 1], children[k], ts, ring_of):
            crowded = True
        fits = j >= 0 and (queued or ts[children[k]] - ts[parents[j]] <= LONGEST_NS)
        out[k] = j if fits else -1
        unsure[k] = fits and (crowded or (queued and loss))
        if fits:
            j -= 1


@allocating
def align_queue(parents: Any, children: Any, ts: Any, ring_of: Any, out: Any, unsure: Any) -> Any:
    """As `align` for a hop with a queue in it: first in, first out, and drops at the tail.

    What was accepted leaves in order, so each child takes the earliest free parent. With
    drops in the middle of a full queue the choice is open, hence ``unsure``.
    """
    j = 0
    for k in range(len(children)):
        fits = j < len(parents) and _precedes(parents[j], children[k], ts, ring_of)
        out[k] = j if fits else -1
        unsure[k] = fits and len(parents) != len(children)
        if fits:
            j += 1


@allocating
def align_copies(parents: Any, children: Any, ts: Any, out: Any, unsure: Any) -> Any:
    """Tie bridge-device copies to the ingress frames by their bit-identical stamps.

    parents, children: sorted by stamp. What no stamp ties is left to `align`.
    """
    j = 0
    for k in range(len(children)):
        while j < len(parents) and ts[parents[j]] < ts[children[k]]:
            j += 1
        same = j < len(parents) and ts[parents[j]] == ts[children[k]]
        out[k] = j if same else -1
        unsure[k] = False
        if same:
            j += 1


@allocating
def _link_copies(
    parents: Any, children: Any, ts: Any, ring_of: Any, parent: Any, likely: Any
) -> Any:
    """Tie frames going up at the bridge device to those of its ports: by stamp, then by order."""
    out, unsure = np.empty(len(children), np.int64), np.empty(len(children), np.bool_)
    ups = children[np.argsort(ts[children], kind="mergesort")]
    ins = parents[np.argsort(ts[parents], kind="mergesort")]
    align_copies(ins, ups, ts, out, unsure)
    taken = np.zeros(len(ins), np.bool_)
    for k in range(len(ups)):
        if out[k] >= 0:
            parent[ups[k]] = ins[out[k]]
            taken[out[k]] = True
    rest_ups, rest_ins = np.sort(ups[out < 0]), np.sort(ins[~taken])
    align(rest_ins, rest_ups, ts, ring_of, False, out, unsure)
    for k in range(len(rest_ups)):
        if out[k] >= 0:
            parent[rest_ups[k]] = rest_ins[out[k]]
            likely[rest_ups[k]] = unsure[k]


@allocating
def _edge(
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
    if child_stage == 2 and parent_stage == 1:
        if child_kind == BRIDGE:
            return _DELIVER if to_host else _COPY
        return _ORIGINATE if parent_kind == BRIDGE else _BRIDGE
    return _SPAN


@allocating
def _candidates(
    rows: Any, stages: Any, vantages: Any, child: Any, peer: Any, has_peer: Any, keep: Any
) -> Any:
    """Rows that may be parents of frames at ``child``'s point, into ``keep``; their count.

    Stage 1 and 3 look across the veth pair; stage 2 (and 3 where the pair's host end was
    not captured) look at all entries of the segment but their own port.
    """
    found = 0
    v, stage = vantages[child], stages[child]
    across = peer[v]
    for i in range(len(rows)):
        w, s = vantages[i], stages[i]
        entry = s == 1 or (s == 0 and not has_peer[w])
        if stage == 1:
            fits = w == across and s == 0
        elif stage == 3 and across >= 0:
            fits = w == across and (s == 2 or s == 0)
        else:
            fits = stage >= 2 and entry and w != v
        if fits:
            keep[found] = i
            found += 1
    return found


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
    order: Any,
    start: Any,
    ts: Any,
    vantage: Any,
    stage: Any,
    ring_of: Any,
    eth_dst: Any,
    kind: Any,
    peer: Any,
    queued: Any,
    mac: Any,
    bridge: Any,
    parent: Any,
    hop: Any,
    likely: Any,
) -> Any:
    """Link all groups: fills ``parent`` [n] int32, ``hop`` [n] uint8, ``likely`` [n] bool.

    order, start: from `group_rows` over mix(l2key, segment). stage: [n] of each frame.
    kind, peer, queued, mac, bridge: the arrays of `Layout`, by vantage.
    """
    has_peer = peer >= 0
    largest = 0
    for g in range(len(start) - 1):
        largest = max(largest, start[g + 1] - start[g])
    keep = np.empty(largest, np.int64)
    out = np.empty(largest, np.int64)
    unsure = np.empty(largest, np.bool_)
    for g in range(len(start) - 1):
        rows = order[start[g] : start[g + 1]]
        m = len(rows)
        if m < 2:
            continue
        vantages, stages = vantage[rows], stage[rows]
        point = vantages * 8 + stages
        by_point = _argsort(point)
        if stages[0] == FREE:
            _link_free(rows, by_point, vantages, ts, parent, hop, likely)
            continue
        a = 0
        while a < m:
            b = a
            while b < m and point[by_point[b]] == point[by_point[a]]:
                b += 1
            child = by_point[a]
            v = vantages[child]
            found = _candidates(rows, stages, vantages, child, peer, has_peer, keep)
            if found:
                children = rows[by_point[a:b]]
                parents = rows[keep[:found]]
                to_host = (eth_dst[rows[0]] & _MULTICAST) != 0 or eth_dst[rows[0]] == mac[v]
                if kind[v] == BRIDGE and stages[child] == 2:
                    _link_copies(parents, children, ts, ring_of, parent, likely)
                    children, parents = children[:0], parents[:0]
                    for k in range(a, b):
                        c = rows[by_point[k]]
                        if parent[c] >= 0:
                            w = vantage[parent[c]]
                            hop[c] = _edge(1, 2, kind[v], kind[w], to_host, False)
                elif queued[v] and stages[child] == 2 and b - a != found:
                    align_queue(parents, children, ts, ring_of, out, unsure)
                else:
                    align(parents, children, ts, ring_of, queued[v], out, unsure)
                for k in range(len(children)):
                    if out[k] >= 0:
                        p, c = parents[out[k]], children[k]
                        parent[c] = p
                        likely[c] = unsure[k]
                        w = vantage[p]
                        hop[c] = _edge(stage[p], stage[c], kind[v], kind[w], to_host, peer[v] == w)
            a = b


@allocating
def _link_free(
    rows: Any, by_point: Any, vantages: Any, ts: Any, parent: Any, hop: Any, likely: Any
) -> Any:
    """Without topology: the k-th sighting at each vantage is the k-th packet; chain by time.

    Only where all vantages saw equally many: else one loss would shift the rest.
    """
    m = len(rows)
    per = 0
    while per < m and vantages[by_point[per]] == vantages[by_point[0]]:
        per += 1
    if m % per or per == m:
        return
    points = m // per
    for a in range(0, m, per):
        if vantages[by_point[a]] != vantages[by_point[a + per - 1]]:
            return
    chain = np.empty(points, np.int32)
    for k in range(per):
        for a in range(points):
            chain[a] = rows[by_point[a * per + k]]
        chain = chain[np.argsort(ts[chain], kind="mergesort")]
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
