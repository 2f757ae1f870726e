"""Frames of several rings put in order of time before they are written.

Within a ring the kernel's order is kept whatever the stamps say (a copy may bear an older
stamp than its predecessor): the sort key is the greatest stamp of the ring so far. Between
rings a frame can be walked only after its block was handed over, so frames are held back
until every ring had the time for it. Ages are taken on the monotonic clock; a step of the
wall clock may disturb the order, and never holds a frame for longer.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from analyzer.capture.encode import (
    CURSOR,
    LEFT,
    Bytes,
    Counters,
    Index,
    Ints,
    Table,
    Words,
    build_table,
    copy_words,
    encode_block,
    views,
    word_at,
)
from analyzer.capture.ring import Ring
from analyzer.compiled import allocating, compiled

_BUFFER_BYTES = 8 << 20
_PRESSURE_BYTES = 2 << 20
"""waiting bytes beyond which the older half is taken before it has waited (and while it is
still in the processor's cache)"""
_SMALLEST_BLOCK = 64
"""an EPB with our options and hardly any data: bounds the frames of a full buffer"""


class Staging:
    """EPBs that are encoded and not yet written."""

    def __init__(self, hold_ns: int) -> None:
        """``hold_ns``: how long frames wait for those of other rings; 0 where there are none."""
        self.hold_ns = hold_ns
        self._out: Bytes = np.zeros(_BUFFER_BYTES, np.uint8)
        self._views = views(self._out)
        self._sorted: Bytes = np.zeros(0, np.uint8)
        self._index: Index = np.zeros((2, _BUFFER_BYTES // _SMALLEST_BLOCK), np.int64)
        self._used = 0
        self._count = 0
        self._marks: deque[tuple[int, int]] = deque()
        warm()

    @property
    def waiting(self) -> bool:
        return self._count > 0

    @property
    def pressed(self) -> bool:
        """Whether so much waits that it should be taken at once."""
        return self._used > _PRESSURE_BYTES

    def fill(self, ring: Ring, table: Table, counters: Counters, snaplen: int) -> bool:
        """Encode on from the ring's cursor; False where the block's rest needs `take` first."""
        self._used, self._count = encode_block(
            ring.memory, ring.cursor, self._views, self._used, self._index, self._count, table,
            counters, snaplen,
        )  # fmt: skip
        return not ring.cursor[LEFT]

    def take(self, now_ns: int, everything: bool = False) -> Bytes:
        """EPBs that are due, in the order of the file; valid until the next step.

        ``now_ns``: the monotonic clock. What is left behind waits for the next call.
        """
        if not self._count:
            return self._out[:0]
        if not self.hold_ns:
            return self._take_all()
        keys = self._index[0, : self._count]
        due = np.flatnonzero(keys <= (keys.max() if everything else self._limit(keys, now_ns)))
        if not len(due):
            return self._out[:0]
        return self._take_some(due[np.argsort(keys[due], kind="stable")])

    def renumber(self, mapping: Ints) -> None:
        """Give waiting frames new interface ids. mapping: [old ids]; −1 takes the frames out."""
        if self._count:
            kept = _renumber(self._views[2], self._index, self._count, mapping)
            self._used, self._count = _compact(self._views[2], self._index, np.flatnonzero(kept))

    def set_aside(self, identifier: int) -> Bytes:
        """Take the waiting frames of one interface out, in order."""
        there = _of_interface(self._views[2], self._index, self._count, identifier)
        if not there.any():
            return self._out[:0]
        taken = np.empty(self._used, np.uint8)
        rows = np.flatnonzero(there)
        length = _gather(self._views[2], self._index, rows, taken.view(np.uint32))
        self._used, self._count = _compact(self._views[2], self._index, np.flatnonzero(~there))
        return taken[:length]

    def _limit(self, keys: Ints, now_ns: int) -> int:
        """The greatest key that is due; −1 for none."""
        newest, limit = int(keys.max()), -1
        if not self._marks or newest > self._marks[-1][1]:
            self._marks.append((now_ns, newest))
        while self._marks and now_ns - self._marks[0][0] >= self.hold_ns:
            limit = self._marks.popleft()[1]
        if self.pressed:
            middle = len(keys) // 2
            limit = max(limit, int(np.partition(keys, middle)[middle]))
        return limit

    def _take_all(self) -> Bytes:
        found = self._out[: self._used]
        self._used = self._count = 0
        self._marks.clear()
        return found

    def _take_some(self, order: npt.NDArray[np.int64]) -> Bytes:
        if len(self._sorted) < self._used:
            self._sorted = np.zeros(_BUFFER_BYTES, np.uint8)
        out32 = self._views[2]
        length = _gather(out32, self._index, order, self._sorted.view(np.uint32))
        kept = np.ones(self._count, np.bool_)
        kept[order] = False
        self._used, self._count = _compact(out32, self._index, np.flatnonzero(kept))
        return self._sorted[:length]


@compiled
def _gather(source32: Words, index: Index, order: Ints, target32: Words) -> int:
    """Copy the blocks numbered by ``order`` to ``target``; returns the bytes copied."""
    to = 0
    for number in order:
        start = index[1, number] >> 2
        words = word_at(source32, start + 1) >> 2
        copy_words(source32, start, target32, to, words)
        to += words
    return to << 2


@compiled
def _compact(blocks32: Words, index: Index, kept: Ints) -> tuple[int, int]:
    """Move the kept blocks to the front in their order; returns bytes and frames."""
    to = 0
    for count, number in enumerate(kept):
        start = index[1, number] >> 2
        words = word_at(blocks32, start + 1) >> 2
        copy_words(blocks32, start, blocks32, to, words)
        index[0, count], index[1, count] = index[0, number], to << 2
        to += words
    return to << 2, len(kept)


@allocating
def _renumber(blocks32: Words, index: Index, count: int, mapping: Ints) -> npt.NDArray[np.bool_]:
    """Write new ids into the blocks; which of them have one."""
    kept = np.ones(count, np.bool_)
    for row in range(count):
        word = (index[1, row] >> 2) + 2
        new = mapping[blocks32[word]]
        if new < 0:
            kept[row] = False
        else:
            blocks32[word] = new
    return kept


@allocating
def _of_interface(
    blocks32: Words, index: Index, count: int, identifier: int
) -> npt.NDArray[np.bool_]:
    """Which blocks have this interface id."""
    found = np.zeros(count, np.bool_)
    for row in range(count):
        found[row] = word_at(blocks32, (index[1, row] >> 2) + 2) == identifier
    return found


@compiled
def _count(blocks32: Words, counters: Counters) -> int:
    at, latest = 0, 0
    while at >> 2 < blocks32.size:
        word = at >> 2
        identifier = word_at(blocks32, word + 2)
        counters[identifier, 0] += 1
        counters[identifier, 1] += word_at(blocks32, word + 6)
        latest = max(latest, word_at(blocks32, word + 3) << 32 | word_at(blocks32, word + 4))
        at += word_at(blocks32, word + 1)
    return latest


@compiled
def _rewrite(blocks32: Words, identifier: int) -> None:
    at = 0
    while at >> 2 < blocks32.size:
        blocks32[(at >> 2) + 2] = identifier
        at += word_at(blocks32, (at >> 2) + 1)


@compiled
def _cut(blocks32: Words, most_bytes: int, most_frames: int) -> tuple[int, int]:
    at, frames = 0, 0
    while at >> 2 < blocks32.size and frames < most_frames:
        length = word_at(blocks32, (at >> 2) + 1)
        if at + length > most_bytes:
            break
        at += length
        frames += 1
    return at, frames


@compiled
def _uncount(blocks32: Words, counters: Counters) -> None:
    at = 0
    while at >> 2 < blocks32.size:
        identifier = word_at(blocks32, (at >> 2) + 2)
        counters[identifier, 0] -= 1
        counters[identifier, 1] -= word_at(blocks32, (at >> 2) + 6)
        at += word_at(blocks32, (at >> 2) + 1)


def cut_blocks(blocks: Bytes, most_bytes: int, most_frames: int) -> tuple[int, int]:
    """How many bytes and frames of whole EPBs from the start of ``blocks`` keep both limits."""
    return _cut(blocks.view(np.uint32), most_bytes, most_frames)


def uncount_blocks(blocks: Bytes, counters: Counters) -> None:
    """Take EPBs that do not go into the file out of ``counters`` again."""
    _uncount(blocks.view(np.uint32), counters)


def count_blocks(blocks: Bytes, counters: Counters) -> int:
    """Add EPBs to ``counters``; their greatest stamp, 0 where there are none."""
    return _count(blocks.view(np.uint32), counters)


def rewrite_blocks(blocks: Bytes, identifier: int) -> None:
    """Give all EPBs one interface id."""
    _rewrite(blocks.view(np.uint32), identifier)


def warm() -> None:
    """Compile the loops, or load their machine code: seconds that no frame should wait for."""
    none, counters = np.zeros(0, np.uint8), np.zeros((0, 2), np.int64)
    index, order = np.zeros((2, 0), np.int64), np.zeros(0, np.int64)
    encode_block(
        views(none), np.zeros(CURSOR, np.int64), views(none), 0, index, 0, build_table({}),
        counters, 0,
    )  # fmt: skip
    _gather(none.view(np.uint32), index, order, none.view(np.uint32))
    _compact(none.view(np.uint32), index, order)
    cut_blocks(none, 0, 0)
    uncount_blocks(none, counters)
    count_blocks(none, counters)
    rewrite_blocks(none, 0)
    _renumber(none.view(np.uint32), index, 0, order)
    _of_interface(none.view(np.uint32), index, 0, 0)
