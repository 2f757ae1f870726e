"""Two sequences of identical frames, at neighbouring points: which child came from which parent."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.correlate.columns import SeenTimes
from analyzer.correlate.group import group_rows
from analyzer.correlate.stages import LONGEST_NS
from analyzer.native.compiled import allocating, piece


class Pairs(NamedTuple):
    """The parents of c children; filled in place."""

    parent: npt.NDArray[np.int64]
    """[c] place among the parents, -1 where it has none"""
    unsure: npt.NDArray[np.bool_]
    """[c] another parent might be its"""


@piece
def precedes(a: Any, b: Any, times: Any) -> Any:
    """Frame a was seen before frame b. times: `SeenTimes`, or another bundle with its columns."""
    if times.ring[a] == times.ring[b]:
        return a < b
    return times.ts_ns[a] <= times.ts_ns[b]


@allocating
def pair(parents: Any, children: Any, times: SeenTimes, window: Any, pairs: Pairs) -> Any:
    """Fill ``pairs``. window: `VantageColumns.patience_ns` of the children.

    parents, children: frame numbers, each in the order of its own point. Every child has one
    parent. While only one can be meant, the pair is certain. Where several are under way the
    choice is open until all of them have arrived or are too old: such a stretch is aligned as
    a whole, and all of it is unsure.
    """
    ts, queued = times.ts_ns, window > LONGEST_NS
    base, seen, k = 0, 0, 0
    while k < len(children):
        seen = _preceding(parents, seen, children[k], times)
        while base < seen and ts[children[k]] - ts[parents[base]] > window:
            base += 1
        if seen - base > 1:
            begin = k
            seen, k = _end_of_stretch(parents, children, base, seen, k, times, window)
            chosen = pairs.parent[begin:k]
            _align_stretch(parents[base:seen], children[begin:k], times, queued, chosen)
            for c in range(len(chosen)):
                pairs.unsure[begin + c] = chosen[c] >= 0
                chosen[c] += base if chosen[c] >= 0 else 0
        else:
            pairs.parent[k] = base if seen > base else -1
            pairs.unsure[k] = False
            k += 1
        base = seen


@piece
def _preceding(parents: Any, seen: Any, child: Any, times: SeenTimes) -> Any:
    """How many of the parents precede the child, ``seen`` at least."""
    while seen < len(parents) and precedes(parents[seen], child, times):
        seen += 1
    return seen


@allocating
def _end_of_stretch(
    parents: Any, children: Any, base: Any, seen: Any, k: Any, times: SeenTimes, window: Any
) -> Any:
    """(parents seen, children) up to where nothing is under way any more."""
    ts, begin = times.ts_ns, k
    while k < len(children):
        if ts[children[k]] - ts[parents[seen - 1]] > window and not (
            seen < len(parents) and precedes(parents[seen], children[k], times)
        ):
            return seen, k
        seen = _preceding(parents, seen, children[k], times)
        k += 1
        if seen - base <= k - begin:
            return seen, k
    return seen, k


@allocating
def _align_stretch(parents: Any, children: Any, times: SeenTimes, queued: Any, chosen: Any) -> Any:
    """Fill ``chosen`` [children] with places among the parents of the stretch, or -1."""
    if queued and len(parents) != len(children):
        _first_in_first_out(parents, children, times, chosen)
    else:
        _latest(parents, children, times, queued, chosen)


@allocating
def _latest(parents: Any, children: Any, times: SeenTimes, queued: Any, chosen: Any) -> Any:
    """From the end, each child the latest parent that precedes it and is still free.

    That keeps order, matches as many as can be matched, and one loss shifts nothing, because
    across a veth pair both stamps are taken in the sender's own call chain, and across a
    bridge without a queue the egress tap follows the ingress tap in the ring before the next
    frame of that CPU.
    """
    ts, j = times.ts_ns, len(parents) - 1
    for k in range(len(children) - 1, -1, -1):
        while j >= 0 and not precedes(parents[j], children[k], times):
            j -= 1
        fits = j >= 0 and (queued or ts[children[k]] - ts[parents[j]] <= LONGEST_NS)
        chosen[k] = j if fits else -1
        if fits:
            j -= 1


@allocating
def _first_in_first_out(parents: Any, children: Any, times: SeenTimes, chosen: Any) -> Any:
    """For a hop with a queue that drops at its tail: what was accepted leaves in order."""
    j = 0
    for k in range(len(children)):
        fits = j < len(parents) and precedes(parents[j], children[k], times)
        chosen[k] = j if fits else -1
        if fits:
            j += 1


@allocating
def pair_copies(parents: Any, children: Any, times: SeenTimes, pairs: Pairs) -> Any:
    """As `pair`, for frames going up at the bridge device: by stamp first, bit for bit.

    What no stamp ties is paired by order.
    """
    ts = times.ts_ns
    by_stamp = np.argsort(ts[parents], kind="mergesort")
    ups = np.argsort(ts[children], kind="mergesort")
    taken = np.zeros(len(parents), np.bool_)
    j, unstamped = 0, 0
    for up in ups:
        stamp = ts[children[up]]
        while j < len(parents) and ts[parents[by_stamp[j]]] < stamp:
            j += 1
        same = j < len(parents) and ts[parents[by_stamp[j]]] == stamp
        pairs.parent[up], pairs.unsure[up] = by_stamp[j] if same else -1, False
        if same:
            taken[by_stamp[j]] = True
            j += 1
        else:
            unstamped += 1
    if unstamped:
        _pair_unstamped(parents, children, times, taken, pairs)
        _doubt_crossing(pairs)


@allocating
def _pair_unstamped(parents: Any, children: Any, times: SeenTimes, taken: Any, pairs: Pairs) -> Any:
    """Pair the children that have no parent yet. taken: [parents] those that have a child."""
    free, left = _rows_of(taken, False), _rows_of(pairs.parent < 0, True)
    by_order = Pairs(np.empty(len(left), np.int64), np.empty(len(left), np.bool_))
    pair(parents[free], children[left], times, LONGEST_NS, by_order)
    for k in range(len(left)):
        if by_order.parent[k] >= 0:
            pairs.parent[left[k]] = free[by_order.parent[k]]
            pairs.unsure[left[k]] = by_order.unsure[k]


@allocating
def _rows_of(column: Any, value: bool) -> Any:
    """The rows that have this value, in order."""
    rows, count = np.empty(len(column), np.int64), 0
    for row in range(len(column)):
        if column[row] == value:
            rows[count] = row
            count += 1
    return rows[:count]


@piece
def _doubt_crossing(pairs: Pairs) -> None:
    """Frames whose copies have stamps of their own: one that equals another's by chance ties the
    wrong two, and then pairs cross."""
    latest, crossing = -1, False
    for k in range(len(pairs.parent)):
        crossing = crossing or 0 <= pairs.parent[k] < latest
        latest = max(latest, pairs.parent[k])
    if crossing:
        for k in range(len(pairs.parent)):
            pairs.unsure[k] = pairs.parent[k] >= 0


def pair_groups(
    rows: npt.NDArray[np.int32], split: int, keys: npt.NDArray[np.uint64], times: SeenTimes
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Pair within groups of equal keys: (parent frame of each child or -1, unsure).

    rows: frame numbers, those before ``split`` are parents and the others children, each in
    ascending order; keys: of each row.
    """
    order, start, _ = group_rows(keys)
    parent = np.full(len(rows) - split, -1, np.int32)
    unsure = np.zeros(len(rows) - split, np.bool_)
    _pair_groups(rows, split, order, start, times, parent, unsure)
    return parent, unsure


@allocating
def _pair_groups(
    rows: Any, split: Any, order: Any, start: Any, times: SeenTimes, parent: Any, unsure: Any
) -> None:
    """Fill ``parent`` (frame) and ``unsure``, [children] each."""
    for g in range(len(start) - 1):
        members = order[start[g] : start[g + 1]]
        parents = np.searchsorted(members, split)
        if parents == 0 or parents == len(members):
            continue
        children = members[parents:]
        pairs = Pairs(np.empty(len(children), np.int64), np.zeros(len(children), np.bool_))
        pair(rows[members[:parents]], rows[children], times, LONGEST_NS, pairs)
        for k in range(len(children)):
            if pairs.parent[k] >= 0:
                parent[children[k] - split] = rows[members[pairs.parent[k]]]
                unsure[children[k] - split] = pairs.unsure[k]
