"""Frames of several rings put in order of time before they are written.

Within a ring the kernel's order is kept whatever the stamps say (a copy may bear an older
stamp than its predecessor): the sort key is the greatest stamp of the ring so far. Between
rings a frame can be walked only after its block was handed over, so frames are held back
until every ring had the time for it (and then merged: `analyzer.capture.runs`). Ages are taken
on the monotonic clock; a step of the wall clock may disturb the order, and never holds a frame
for longer.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from analyzer.capture.encode import (
    CURSOR,
    LEFT,
    Bytes,
    Counters,
    Index,
    Ints,
    Recording,
    Table,
    build_table,
    encode_block,
    views,
)
from analyzer.capture.ring import Ring
from analyzer.capture.runs import (
    AT,
    END,
    NEXT,
    RUN,
    SLOT,
    Heads,
    Mask,
    Runs,
    Staged,
    count_epbs,
    cut_epbs,
    map_epbs,
    mark_runs,
    merge_runs,
    pick_rows,
    renumber_rows,
    repack,
    rewrite_epbs,
    uncount_epbs,
)
from analyzer.model.ranks import median

_BUFFER_BYTES = 8 << 20
_PRESSURE_BYTES = 1 << 20
"""waiting bytes beyond which frames are taken before they have waited, and while they are still in
the processor's cache: those older than what each of the busy rings has told last"""
_GREAT_PRESSURE_BYTES = 2 << 20
"""waiting bytes beyond which the older half is taken at least"""
_PORTION_BYTES = 512 << 10
"""written at once where nothing waits: what was just encoded is still in the cache"""
_REPACK_BYTES = 4 << 20
"""the end of what waits, beyond which it is moved to the front again"""
_REPACK_RUNS = 1024
_SAMPLE = 255
"""keys looked at to find the older half"""
_SMALLEST_BLOCK = 64
"""an EPB with our options and hardly any data: bounds the frames of a full buffer"""
_ALL = np.zeros(0, np.bool_)
_GREATEST = (1 << 63) - 1


class Staging:
    """EPBs that are encoded and not yet written."""

    def __init__(self, hold_ns: int) -> None:
        """``hold_ns``: how long frames wait for those of other rings; 0 where there are none."""
        self.hold_ns = hold_ns
        self._out: Bytes = np.zeros(_BUFFER_BYTES, np.uint8)
        self._views = views(self._out)
        self._portion = views(self._out[:_PORTION_BYTES])
        self._sorted: Bytes = np.zeros(0, np.uint8)
        self._index: Index = np.zeros((2, _BUFFER_BYTES // _SMALLEST_BLOCK), np.int64)
        self._staged = Staged(self._out, self._views.words, self._index)
        self._used = self._count = 0
        self._waiting = 0
        """bytes; what was taken of ``used`` is no part of it"""
        self._runs: Runs = np.zeros((_REPACK_RUNS, RUN), np.int64)
        self._run_count = self._head_count = 0
        self._heads: Heads = np.zeros((2, 0), np.int64)
        self._slots: dict[int, tuple[int, Ring]] = {}
        """id of a ring → its slot, and the ring, so that none gets its id meanwhile"""
        self._lasts: Ints = np.zeros(0, np.int64)
        self._marks: deque[tuple[int, int]] = deque()
        warm()

    def hold(self, hold_ns: int) -> None:
        """So long do frames wait from now on."""
        self.hold_ns = hold_ns

    @property
    def waiting(self) -> bool:
        return self._waiting > 0

    @property
    def pressed(self) -> bool:
        """Whether so much waits that it should be taken at once."""
        return self._waiting > _PRESSURE_BYTES

    def fill(self, ring: Ring, table: Table, counters: Counters, snaplen: int) -> bool:
        """Encode on from the ring's cursor; False where the block's rest needs `take` first."""
        used, count = self._used, self._count
        room = self._views if self._waiting or self.hold_ns else self._portion
        recording = Recording(table, counters, snaplen)
        self._used, self._count = encode_block(
            ring.memory, ring.cursor, room, self._index, used, count, recording
        )
        self._waiting += self._used - used
        if self._count > count:
            self._add_run(ring, count)
        return not ring.cursor[LEFT]

    def take(self, now_ns: int, everything: bool = False) -> Bytes:
        """EPBs that are due, in the order of the file; valid until the next step.

        ``now_ns``: the monotonic clock. What is left behind waits for the next call.
        """
        if not self._waiting:
            return self._out[:0]
        if not self.hold_ns and self._waiting == self._used:
            portion = self._out[: self._used]
            self._reset()
            return portion
        everything = everything or not self.hold_ns
        limit = _GREATEST if everything else self._limit(now_ns)
        if limit < 0 and not self._scattered:
            return self._out[:0]  # as mostly, where a frame comes now and then: nothing is due
        return self._merge(limit)

    def renumber(self, mapping: Ints) -> None:
        """Give waiting frames new interface ids. mapping: [old ids]; −1 takes the frames out."""
        if self._waiting:
            left = self._left()
            renumber_rows(self._staged, mapping, left)
            self._repack(left)

    def set_aside(self, identifier: int) -> Bytes:
        """Take the waiting frames of one interface out, in order."""
        left, taken = self._left(), np.empty(self._waiting, np.uint8)
        length = pick_rows(self._staged, identifier, left, taken)
        if length:
            self._repack(left)
        return taken[:length]

    def _add_run(self, ring: Ring, first: int) -> None:
        """The rows from ``first`` on are the ring's."""
        slot, _ = self._slots.setdefault(id(ring), (len(self._slots), ring))
        if slot >= len(self._lasts):
            self._lasts = np.append(self._lasts, np.full(slot + 16, -1))
            self._heads = np.hstack([self._heads, np.zeros((2, slot + 16), np.int64)])
        last, fresh = int(self._lasts[slot]), self._run_count
        if fresh == len(self._runs):
            self._runs = np.vstack([self._runs, np.zeros_like(self._runs)])
        if last < 0 or self._runs[last, AT] == self._runs[last, END]:
            self._heads[:, self._head_count] = fresh, self._index[0, first]
            self._head_count += 1
        elif self._runs[last, END] == first:
            self._runs[last, END] = self._count
            return
        else:
            self._runs[last, NEXT] = fresh
        self._runs[fresh] = first, self._count, -1, slot
        self._lasts[slot] = fresh
        self._run_count += 1

    def _limit(self, now_ns: int) -> int:
        """The greatest key that is due; −1 for none."""
        last_keys = self._told()
        newest, limit = int(last_keys.max()), -1
        if not self._marks or newest > self._marks[-1][1]:
            self._marks.append((now_ns, newest))
        while self._marks and now_ns - self._marks[0][0] >= self.hold_ns:
            limit = self._marks.popleft()[1]
        if self.pressed:
            limit = max(limit, int(last_keys.min()))
        return max(limit, self._middle()) if self._waiting > _GREAT_PRESSURE_BYTES else limit

    def _told(self) -> Ints:
        """The last key of each ring of which frames wait."""
        slots = self._runs[self._heads[0, : self._head_count], SLOT]
        keys: Ints = self._index[0, self._runs[self._lasts[slots], END] - 1]
        return keys

    def _middle(self) -> int:
        """A key that about half of the waiting frames do not exceed."""
        rows = np.flatnonzero(self._left())
        return median(self._index[0, rows[:: 1 + len(rows) // _SAMPLE]])

    def _merge(self, limit: int) -> Bytes:
        if len(self._sorted) < self._waiting:
            self._sorted = np.zeros(_BUFFER_BYTES, np.uint8)
        length, _, self._head_count = merge_runs(
            self._staged, self._runs, self._heads, self._head_count, limit, self._sorted
        )
        self._waiting -= length
        if not self._waiting:
            self._reset()
        elif self._scattered:
            self._repack(_ALL)
        return self._sorted[:length]

    @property
    def _scattered(self) -> bool:
        """Whether what waits should be moved to the front again."""
        return self._used > _REPACK_BYTES or self._run_count > _REPACK_RUNS

    def _left(self) -> Mask:
        """Which rows of the index wait."""
        left: Mask = np.empty(self._count, np.bool_)
        mark_runs(self._runs, self._run_count, left)
        return left

    def _repack(self, kept: Mask) -> None:
        if len(kept) and not kept.any():
            self._reset()
            return
        self._used, self._count, self._run_count, self._head_count = repack(
            self._staged, self._runs, self._run_count, self._heads, self._lasts, kept
        )
        self._waiting = self._used

    def _reset(self) -> None:
        """Nothing waits."""
        self._used = self._count = self._waiting = self._run_count = self._head_count = 0
        self._slots.clear()
        self._lasts[:] = -1
        self._marks.clear()


def cut_blocks(blocks: Bytes, most_bytes: int, most_frames: int) -> tuple[int, int]:
    """How many bytes and frames of whole EPBs from the start of ``blocks`` keep both limits."""
    return cut_epbs(blocks.view(np.uint32), most_bytes, most_frames)


def uncount_blocks(blocks: Bytes, counters: Counters) -> None:
    """Take EPBs that do not go into the file out of ``counters`` again."""
    uncount_epbs(blocks.view(np.uint32), counters)


def count_blocks(blocks: Bytes, counters: Counters) -> int:
    """Add EPBs to ``counters``; their greatest stamp, 0 where there are none."""
    return count_epbs(blocks.view(np.uint32), counters)


def last_stamp(blocks: Bytes) -> int:
    """Of the last of these EPBs, of which there are some: each ends with its length."""
    words = blocks.view(np.uint32)
    block = words[-int(words[-1]) // 4 :]
    return int(block[3]) << 32 | int(block[4])


def rewrite_blocks(blocks: Bytes, identifier: int) -> None:
    """Give all EPBs one interface id."""
    rewrite_epbs(blocks.view(np.uint32), identifier)


def warm() -> None:
    """Have the code of the loops at hand: no frame should wait for it."""
    none, counters = np.zeros(0, np.uint8), np.zeros((0, 2), np.int64)
    index, ints = np.zeros((2, 0), np.int64), np.zeros(0, np.int64)
    staged = Staged(none, none.view(np.uint32), index)
    runs, heads = np.zeros((0, RUN), np.int64), np.zeros((2, 0), np.int64)
    empty, recording = views(none), Recording(build_table({}), counters, 0)
    encode_block(empty, np.zeros(CURSOR, np.int64), empty, index, 0, 0, recording)
    merge_runs(staged, runs, heads, 0, 0, none)
    repack(staged, runs, 0, heads, ints, _ALL)
    mark_runs(runs, 0, _ALL)
    renumber_rows(staged, ints, _ALL)
    pick_rows(staged, 0, _ALL, none)
    cut_blocks(none, 0, 0)
    uncount_blocks(none, counters)
    count_blocks(none, counters)
    rewrite_blocks(none, 0)
    map_epbs(none.view(np.uint32), ints)
