"""Frames of several rings go into the file's order straight from the kernel's blocks.

To stage frames (`analyzer.capture.merge`) is to copy each of them twice. Where the rings are long
enough, they are themselves the place where frames wait: a block is given back to the kernel when
its last frame was due. Then each frame is copied once, from the ring to what is written next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from analyzer.capture.encode import CURSOR, LEFT, Bytes, Counters, Ints, Recording, Table, views
from analyzer.capture.ring_loops import (
    BASE,
    BLOCKS,
    DUE,
    HEAD,
    MEET,
    MINDS,
    NEWEST,
    OPEN,
    READY_BYTES,
    RELEASE,
    SIZE,
    SLOTS,
    TABLE,
    Heads,
    Rings,
    look_ahead,
    merge_rings,
)
from analyzer.capture.source import Source

Marks: TypeAlias = deque[tuple[int, int]]
"""when it was looked, the greatest key then"""

_FEWEST_BLOCKS = 32
"""of a ring in which frames can wait: some are in use by then, and a few more wait each retire
time"""
_MOST_RINGS = 64
_PORTION_BYTES = 512 << 10
"""written at once: what was just encoded is still in the cache"""
_PRESSURE_BYTES = 1 << 20
"""waiting bytes beyond which frames are due that are older than the last of each busy ring"""


class DirectMerge:
    """The rings of a capture as one stream; while it is used, nobody else walks them."""

    def __init__(self, sources: Sequence[Source], hold_ns: int, marks: Marks | None = None) -> None:
        """``sources`` as `fits` wants them. ``hold_ns``: how long frames wait for those of other
        rings. ``marks``: of the one before, so that nothing waits longer however often rings come
        and go."""
        self.hold_ns = hold_ns
        self.marks: Marks = deque() if marks is None else marks
        self._sources = list(sources)
        self._rings = [source.ring for source in sources]
        heads: Heads = np.zeros((len(sources), HEAD), np.int64)
        for head, ring in zip(heads, self._rings, strict=True):
            settings = ring.settings
            ring.move_cursor(head[:CURSOR])
            head[BASE], head[SIZE], head[BLOCKS] = (
                ring.offset,
                settings.block_size,
                settings.block_count,
            )
        live: Ints = np.zeros(len(sources), np.int64)
        self._loops = Rings(self._rings[0].arena.memory, heads, live)
        self._out = views(np.zeros(_PORTION_BYTES, np.uint8))
        self._found: Ints = np.zeros(4, np.int64)
        self._newest = -1
        self._tables: list[Table] = []
        self._table = np.zeros((0, 2), np.int32)

    @staticmethod
    def fits(sources: Sequence[Source]) -> bool:
        """Whether frames can wait in these rings: several long ones, in one arena."""
        return 1 < len(sources) <= _MOST_RINGS and all(
            source.is_open
            and source.ring.settings.block_count >= _FEWEST_BLOCKS
            and source.ring.arena is sources[0].ring.arena
            for source in sources
        )

    def hold(self, hold_ns: int) -> None:
        """So long do frames wait from now on."""
        self.hold_ns = hold_ns

    @property
    def waiting(self) -> bool:
        """Whether frames waited when it was last looked."""
        return bool(self._found[READY_BYTES])

    @property
    def pressed(self) -> bool:
        return bool(self._found[READY_BYTES] > _PRESSURE_BYTES)

    def look(self, now_ns: int) -> int:
        """The greatest key that is due by now; −1 for none. ``now_ns``: the monotonic clock."""
        look_ahead(self._loops, False, self._found)
        seen = int(self._found[NEWEST])
        if self.waiting and seen == self._newest:  # else there will be another look soon
            look_ahead(self._loops, True, self._found)
        self._newest = seen
        _, oldest, newest, full = self._found.tolist()
        limit = -1
        if newest >= 0 and (not self.marks or newest > self.marks[-1][1]):
            self.marks.append((now_ns, newest))
        while self.marks and now_ns - self.marks[0][0] >= self.hold_ns:
            limit = self.marks.popleft()[1]
        return max(limit, int(oldest) if self.pressed else -1, int(full))

    def take(
        self, limit: int, counters: Counters, snaplen: int
    ) -> tuple[Bytes, bool, Source | None]:
        """Frames up to ``limit``, in the order of the file; valid until the next call.

        Returns them, whether there are more, and the source that has met an unknown interface.
        """
        self._tabulate()
        recording, used = Recording(self._table, counters, snaplen), 0
        while True:
            for head, ring in zip(self._loops.heads, self._rings, strict=True):
                head[MINDS] = ring.minds_blocks
            used, why, number = merge_rings(self._loops, limit, self._out, used, recording)
            ring = self._rings[number]
            if why == RELEASE:
                ring.release()
            elif why == OPEN:
                if ring.has_block() and not ring.cursor[LEFT]:
                    ring.release()
            else:
                met = self._sources[number] if why == MEET else None
                return self._out.octets[:used], why != DUE, met

    def _tabulate(self) -> None:
        """The sources' tables as one, where one is new."""
        tables = [source.table for source in self._sources]
        if len(tables) == len(self._tables) and all(map(_same, tables, self._tables)):
            return
        self._tables, self._table = tables, np.vstack(tables)
        first = 0
        for head, table in zip(self._loops.heads, tables, strict=True):
            head[TABLE], head[SLOTS] = first, len(table)
            first += len(table)


def _same(one: object, other: object) -> bool:
    return one is other
