"""Two sequences of identical frames, at neighbouring points: which child came from which parent."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.correlate.group import group_rows
from analyzer.native.compiled import allocating, piece

LONGEST_NS = 1_000_000_000
"""Of identical frames a parent older than this is another one, unless a queue is between."""
QUEUE_NS = 5_000_000_000
"""a queue may hold a packet this long; a frame later than that is another packet's"""


@piece
def precedes(a: Any, b: Any, ts: Any, ring_of: Any) -> Any:
    """Frame a was seen before frame b: ring order in one ring, stamps across rings."""
    if ring_of[a] == ring_of[b]:
        return a < b
    return ts[a] <= ts[b]


@allocating
def pair(
    parents: Any, children: Any, ts: Any, ring_of: Any, queued: Any, out: Any, unsure: Any
) -> Any:
    """Fill ``out[k]`` with the index into ``parents`` for child k, or -1.

    parents, children: frame numbers, each in the order of its own point. Every child has one
    parent. While only one can be meant, the pair is certain. Where several are under way the
    choice is open until all of them have arrived or are too old: such a stretch is aligned as
    a whole, and ``unsure[k]`` set for all of it.
    """
    window = QUEUE_NS if queued else LONGEST_NS
    base, seen, k = 0, 0, 0
    while k < len(children):
        seen = _preceding(parents, seen, children[k], ts, ring_of)
        while base < seen and ts[children[k]] - ts[parents[base]] > window:
            base += 1
        if seen - base > 1:
            begin = k
            seen, k = _end_of_stretch(parents, children, base, seen, k, ts, ring_of, window)
            _align_stretch(parents, children, base, seen, begin, k, ts, ring_of, queued, out)
            unsure[begin:k] = out[begin:k] >= 0
            base = seen
            continue
        out[k] = base if seen > base else -1
        unsure[k] = False
        base = seen
        k += 1


@piece
def _preceding(parents: Any, seen: Any, child: Any, ts: Any, ring_of: Any) -> Any:
    """How many of the parents precede the child, ``seen`` at least."""
    while seen < len(parents) and precedes(parents[seen], child, ts, ring_of):
        seen += 1
    return seen


@allocating
def _end_of_stretch(
    parents: Any, children: Any, base: Any, seen: Any, k: Any, ts: Any, ring_of: Any, window: Any
) -> Any:
    """(parents seen, children) up to where nothing is under way any more."""
    begin = k
    while k < len(children):
        if ts[children[k]] - ts[parents[seen - 1]] > window and not (
            seen < len(parents) and precedes(parents[seen], children[k], ts, ring_of)
        ):
            return seen, k
        seen = _preceding(parents, seen, children[k], ts, ring_of)
        k += 1
        if seen - base <= k - begin:
            return seen, k
    return seen, k


@allocating
def _align_stretch(
    parents: Any,
    children: Any,
    base: Any,
    seen: Any,
    begin: Any,
    end: Any,
    ts: Any,
    ring_of: Any,
    queued: Any,
    out: Any,
) -> Any:
    """Choose for children begin … end-1 among parents base … seen-1."""
    some, few = parents[base:seen], children[begin:end]
    if queued and len(some) != len(few):
        _first_in_first_out(some, few, ts, ring_of, out[begin:end])
    else:
        _latest(some, few, ts, ring_of, queued, out[begin:end])
    for k in range(begin, end):
        if out[k] >= 0:
            out[k] += base


@allocating
def _latest(parents: Any, children: Any, ts: Any, ring_of: Any, queued: Any, out: Any) -> Any:
    """From the end, each child the latest parent that precedes it and is still free.

    That keeps order, matches as many as can be matched, and one loss shifts nothing, because
    across a veth pair both stamps are taken in the sender's own call chain, and across a
    bridge without a queue the egress tap follows the ingress tap in the ring before the next
    frame of that CPU.
    """
    j = len(parents) - 1
    for k in range(len(children) - 1, -1, -1):
        while j >= 0 and not precedes(parents[j], children[k], ts, ring_of):
            j -= 1
        fits = j >= 0 and (queued or ts[children[k]] - ts[parents[j]] <= LONGEST_NS)
        out[k] = j if fits else -1
        if fits:
            j -= 1


@allocating
def _first_in_first_out(parents: Any, children: Any, ts: Any, ring_of: Any, out: Any) -> Any:
    """For a hop with a queue that drops at its tail: what was accepted leaves in order."""
    j = 0
    for k in range(len(children)):
        fits = j < len(parents) and precedes(parents[j], children[k], ts, ring_of)
        out[k] = j if fits else -1
        if fits:
            j += 1


@allocating
def pair_copies(parents: Any, children: Any, ts: Any, ring_of: Any, out: Any, unsure: Any) -> Any:
    """As `pair`, for frames going up at the bridge device: by stamp first, bit for bit.

    What no stamp ties is paired by order.
    """
    by_stamp = np.argsort(ts[parents], kind="mergesort")
    ups = np.argsort(ts[children], kind="mergesort")
    taken = np.zeros(len(parents), np.bool_)
    j, rest = 0, 0
    for up in ups:
        stamp = ts[children[up]]
        while j < len(parents) and ts[parents[by_stamp[j]]] < stamp:
            j += 1
        same = j < len(parents) and ts[parents[by_stamp[j]]] == stamp
        out[up], unsure[up] = by_stamp[j] if same else -1, False
        if same:
            taken[by_stamp[j]] = True
            j += 1
        else:
            rest += 1
    if not rest:
        return
    free, left = np.flatnonzero(~taken), np.flatnonzero(out < 0)
    found, open_ = np.empty(len(left), np.int64), np.empty(len(left), np.bool_)
    pair(parents[free], children[left], ts, ring_of, False, found, open_)
    for k in range(len(left)):
        if found[k] >= 0:
            out[left[k]], unsure[left[k]] = free[found[k]], open_[k]
    _doubt_crossing(out, unsure)


@piece
def _doubt_crossing(out: Any, unsure: Any) -> None:
    """Frames whose copies have stamps of their own: one that equals another's by chance ties the
    wrong two, and then pairs cross."""
    latest, crossing = -1, False
    for k in range(len(out)):
        crossing = crossing or 0 <= out[k] < latest
        latest = max(latest, out[k])
    if crossing:
        for k in range(len(out)):
            unsure[k] = out[k] >= 0


def pair_groups(
    rows: npt.NDArray[np.int32],
    split: int,
    keys: npt.NDArray[np.uint64],
    ts: npt.NDArray[np.int64],
    ring_of: npt.NDArray[np.int32],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Pair within groups of equal keys: (parent frame of each child or -1, unsure).

    rows: frame numbers, those before ``split`` are parents and the others children, each in
    ascending order; keys: of each row.
    """
    order, start, _ = group_rows(keys)
    parent = np.full(len(rows) - split, -1, np.int32)
    unsure = np.zeros(len(rows) - split, np.bool_)
    _pair_groups(rows, split, order, start, ts, ring_of, parent, unsure)
    return parent, unsure


@allocating
def _pair_groups(
    rows: Any, split: Any, order: Any, start: Any, ts: Any, ring_of: Any, parent: Any, unsure: Any
) -> None:
    """Fill ``parent`` and ``unsure``, [children] each."""
    for g in range(len(start) - 1):
        members = order[start[g] : start[g + 1]]
        parents = np.searchsorted(members, split)
        if parents == 0 or parents == len(members):
            continue
        children = members[parents:]
        out, open_ = np.empty(len(children), np.int64), np.zeros(len(children), np.bool_)
        pair(rows[members[:parents]], rows[children], ts, ring_of, False, out, open_)
        for k in range(len(children)):
            if out[k] >= 0:
                parent[children[k] - split] = rows[members[out[k]]]
                unsure[children[k] - split] = open_[k]
