"""How far the time of day is ahead of a clock that nobody sets: it changes only when it is set.

Frames are stamped with the time of day. When somebody sets that clock forward, a capture looks
as if nothing had happened for a while, and nothing in the frames tells it from silence. So the
distance to CLOCK_BOOTTIME is kept at the start and at the end: NTP slews both clocks alike, a
suspended machine stops neither, and only setting the time of day moves one against the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Read = Callable[[int], int]
_TRIES = 5


def clock_offset_ns(read: Read = time.clock_gettime_ns) -> int:
    """CLOCK_REALTIME less CLOCK_BOOTTIME. read: of a clock by its number.

    One is read between two readings of the other, and the closest pair counts.
    """
    best = (1 << 62, 0)
    for _ in range(_TRIES):
        before = read(time.CLOCK_BOOTTIME)
        now = read(time.CLOCK_REALTIME)
        after = read(time.CLOCK_BOOTTIME)
        best = min(best, (after - before, now - (before + after) // 2))
    return best[1]
