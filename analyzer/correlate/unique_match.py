"""The common case of matching, fast: one frame of a packet at each point that it passed.

Then the topology alone says which frame came from which; time only has to agree. Groups with
several frames at a point (identical packets) are left to `analyzer.correlate.match`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.correlate.pairing import LONGEST_NS, QUEUE_NS
from analyzer.correlate.stages import BRIDGE, FREE
from analyzer.model.journeys import Hop
from analyzer.native.compiled import compiled, piece
from analyzer.net.ethernet import GROUP_BIT_U64

_VETH, _BRIDGE, _DELIVER = int(Hop.VETH), int(Hop.BRIDGE), int(Hop.DELIVER)
_ORIGINATE, _SPAN, _COPY = int(Hop.ORIGINATE), int(Hop.SPAN), int(Hop.COPY)
_FEW = 8
"""frames of a group that are compared each with each"""
"""the group bit of a MAC as a 48-bit value (IEEE 802)"""


@piece
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


@piece
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


@piece
def is_up(eth_dst: Any, mac: Any) -> Any:
    """Whether what a bridge device takes in is for the host itself, too."""
    return (eth_dst & GROUP_BIT_U64) != 0 or eth_dst == mac


@compiled
def link_unique(order: Any, start: Any, frames: Any, layout: Any, links: Any, others: Any) -> Any:
    """Link what groups of single frames hold; how many groups are left, in ``others``.

    order, start: from `group_rows` over mix(l2key, segment). frames: ts, ring, vantage, stage and
    eth_dst of each frame. layout: kind, peer, queued and mac of `Layout`, by vantage. Fills
    ``links``: parent [n] int32, hop [n] uint8, likely [n] bool.
    """
    parent, hop, likely = links
    left = 0
    for g in range(len(start) - 1):
        a, b = start[g], start[g + 1]
        if b - a < 2:
            continue
        if b - a > _FEW or not _all_differ(order, a, b, frames):
            others[left] = g
            left += 1
        elif frames[3][order[a]] == FREE:
            _chain(order, a, b, frames[0], parent, hop)
        else:
            for k in range(a, b):
                _link(order[k], order, a, b, frames, layout, parent, hop, likely)
    return left


@piece
def _all_differ(order: Any, a: Any, b: Any, frames: Any) -> Any:
    """Whether every frame stands at a point of its own."""
    vantage, stage = frames[2], frames[3]
    for i in range(a + 1, b):
        for k in range(a, i):
            one, other = order[i], order[k]
            if vantage[one] == vantage[other] and stage[one] == stage[other]:
                return False
    return True


@piece
def _link(
    c: Any,
    order: Any,
    a: Any,
    b: Any,
    frames: Any,
    layout: Any,
    parent: Any,
    hop: Any,
    likely: Any,
) -> None:
    """Link frame c to the frame of its group that it came from, if that is there.

    Of several (entries of which the way between was not captured) to the latest; docker0's
    copy to the one with the same stamp.
    """
    ts, ring, vantage, stage, eth_dst = frames
    kind, peer, queued, mac = layout
    v, s = vantage[c], stage[c]
    upward = kind[v] == BRIDGE and s == 2
    window = QUEUE_NS if queued[v] else LONGEST_NS
    best, count, stamped = np.int64(-1), 0, False
    for k in range(a, b):
        p = np.int64(order[k])
        if p == c or not fits(v, s, vantage[p], stage[p], peer):
            continue
        same = upward and ts[p] == ts[c]
        before = p < c if ring[p] == ring[c] else ts[p] <= ts[c]
        if not same and not (before and ts[c] - ts[p] <= window):
            continue
        count += 1
        if same or not stamped:
            best, stamped = p, same
    if best >= 0:
        w = vantage[best]
        parent[c], likely[c] = best, count > 1 and not stamped
        up = is_up(eth_dst[c], mac[v])
        hop[c] = edge_kind(stage[best], s, kind[v], kind[w], up, peer[v] == w)


@piece
def _chain(order: Any, a: Any, b: Any, ts: Any, parent: Any, hop: Any) -> None:
    """Without topology: each frame came from the one before it in time, unless long before."""
    for k in range(a, b):
        c = np.int64(order[k])
        best = np.int64(-1)
        for j in range(a, b):
            p = np.int64(order[j])
            before = ts[p] < ts[c] or (ts[p] == ts[c] and p < c)
            later = best < 0 or ts[p] > ts[best] or (ts[p] == ts[best] and p > best)
            if before and later:
                best = p
        if best >= 0 and ts[c] - ts[best] <= LONGEST_NS:
            parent[c], hop[c] = best, _SPAN
