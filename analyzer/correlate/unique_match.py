"""The common case of matching, fast: one frame of a packet at each point that it passed.

Then the topology alone says which frame came from which; time only has to agree. Groups with
several frames at a point (identical packets) are left to `analyzer.correlate.match`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.correlate.columns import Edges, FrameColumns, VantageColumns
from analyzer.correlate.pairing import precedes
from analyzer.correlate.stages import BRIDGE, FREE, LONGEST_NS
from analyzer.model.journeys import Hop
from analyzer.native.compiled import compiled, piece
from analyzer.net.ethernet import GROUP_BIT_U64

_VETH, _BRIDGE, _DELIVER = int(Hop.VETH), int(Hop.BRIDGE), int(Hop.DELIVER)
_ORIGINATE, _SPAN, _COPY = int(Hop.ORIGINATE), int(Hop.SPAN), int(Hop.COPY)
_FEW = 8
"""frames of a group that are compared each with each"""


@piece
def edge_kind(parent: Any, child: Any, frames: FrameColumns, layout: VantageColumns) -> Any:
    """`Hop` of the edge between two frames."""
    v, w = frames.vantage[child], frames.vantage[parent]
    if layout.peer[v] == w:
        return _VETH
    leaves, at_bridge = frames.stage[child] == 2, layout.kind[v] == BRIDGE
    if leaves and at_bridge and not _is_up(frames.eth_dst[child], layout.mac[v]):
        return _COPY
    if leaves and frames.stage[parent] == 1:
        if at_bridge:
            return _DELIVER
        return _ORIGINATE if layout.kind[w] == BRIDGE else _BRIDGE
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
def _is_up(eth_dst: Any, mac: Any) -> Any:
    """Whether what a bridge device takes in is for the host itself, too."""
    return (eth_dst & GROUP_BIT_U64) != 0 or eth_dst == mac


@compiled
def link_unique(
    order: Any,
    start: Any,
    frames: FrameColumns,
    layout: VantageColumns,
    edges: Edges,
    others: Any,
) -> Any:
    """Link what groups of single frames hold; how many groups are left, in ``others``.

    order, start: from `group_rows` over mix(l2key, segment).
    """
    left = 0
    for g in range(len(start) - 1):
        a, b = start[g], start[g + 1]
        if b - a < 2:
            continue
        if b - a > _FEW or not _all_differ(order, a, b, frames):
            others[left] = g
            left += 1
        elif frames.stage[order[a]] == FREE:
            _chain(order, a, b, frames, layout, edges)
        else:
            for k in range(a, b):
                _link(order[k], order, a, b, frames, layout, edges)
    return left


@piece
def _all_differ(order: Any, a: Any, b: Any, frames: FrameColumns) -> Any:
    """Whether every frame stands at a point of its own."""
    vantage, stage = frames.vantage, frames.stage
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
    frames: FrameColumns,
    layout: VantageColumns,
    edges: Edges,
) -> None:
    """Link frame c to the frame of its group (order[a:b]) that it came from, if that is there.

    Of several (entries of which the way between was not captured) to the latest; docker0's
    copy to the one with the same stamp.
    """
    ts, vantage, stage, peer = frames.ts_ns, frames.vantage, frames.stage, layout.peer
    v, s = vantage[c], stage[c]
    upward = layout.kind[v] == BRIDGE and s == 2
    window = layout.patience_ns[v]
    best, count, stamped = np.int64(-1), 0, False
    for k in range(a, b):
        p = np.int64(order[k])
        if p == c or not fits(v, s, vantage[p], stage[p], peer):
            continue
        same = upward and ts[p] == ts[c]
        if not same and not (precedes(p, c, frames) and ts[c] - ts[p] <= window):
            continue
        count += 1
        if same or not stamped:
            best, stamped = p, same
    if best >= 0:
        edges.parent[c], edges.likely[c] = best, count > 1 and not stamped
        edges.hop[c] = edge_kind(best, c, frames, layout)


@piece
def comes_before(p: Any, c: Any, frames: FrameColumns, layout: VantageColumns) -> Any:
    """Whether frame p of a packet was seen before frame c, where nothing but stamps and names tell.

    What a bridge hands up bears the stamp of the port that it came in by: it is behind that.
    """
    if frames.ts_ns[p] != frames.ts_ns[c]:
        return frames.ts_ns[p] < frames.ts_ns[c]
    copy, other = layout.copies[frames.vantage[p]], layout.copies[frames.vantage[c]]
    return p < c if copy == other else other


@piece
def _chain(
    order: Any, a: Any, b: Any, frames: FrameColumns, layout: VantageColumns, edges: Edges
) -> None:
    """Without topology: each frame came from the one before it in time, unless long before."""
    for k in range(a, b):
        c = np.int64(order[k])
        best = np.int64(-1)
        for j in range(a, b):
            p = np.int64(order[j])
            if p == c or not comes_before(p, c, frames, layout):
                continue
            if best < 0 or comes_before(best, p, frames, layout):
                best = p
        if best >= 0 and frames.ts_ns[c] - frames.ts_ns[best] <= LONGEST_NS:
            edges.parent[c], edges.hop[c] = best, _SPAN
