"""Group rows by a 64-bit key in linear time, groups in order of first appearance.

A hash table and a counting sort instead of a sort: the frames of one packet lie close to
each other in the file, so both passes stay in cache, and rows of a group keep file order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.native.compiled import allocating
from analyzer.native.keys import SECRET, mix


def group_rows(
    keys: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Rows sorted by group, and where each group starts.

    keys: [n] uint64. Returns (order: [n] int32, start: [groups + 1] int64, group: [n] int32).
    """
    n = len(keys)
    order, start, group = np.empty(n, np.int32), np.empty(n + 1, np.int64), np.empty(n, np.int32)
    groups = _group(keys, order, start, group, np.uint64(SECRET))
    return order, start[: groups + 1], group


@allocating
def _group(keys: Any, order: Any, start: Any, group: Any, secret: Any) -> Any:
    """Fill the other arrays; how many groups there are."""
    n = len(keys)
    size = 16
    while size < 2 * n:
        size *= 2
    mask = np.uint64(size - 1)
    slot_group = np.full(size, -1, np.int32)
    slot_key = np.empty(size, np.uint64)
    count = np.zeros(n + 1, np.int64)
    groups = 0
    for i in range(n):
        key = keys[i]
        slot = mix(key, secret) & mask
        while slot_group[slot] >= 0 and slot_key[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        if slot_group[slot] < 0:
            slot_group[slot] = groups
            slot_key[slot] = key
            groups += 1
        group[i] = slot_group[slot]
        count[group[i] + 1] += 1
    total = 0
    for g in range(groups + 1):
        total += count[g]
        start[g] = total
    fill = start[:groups].copy()
    for i in range(n):
        g = group[i]
        order[fill[g]] = i
        fill[g] += 1
    return groups
