"""Frames of several rings put in order of time before they are written.

Within a ring the kernel's order is kept whatever the stamps say (a copy may bear an older
stamp than its predecessor): the sort key is the greatest stamp of the ring so far. Between
rings a frame can be walked only after its block was handed over, so frames are held back
until every ring had the time for it. Ages are taken on the monotonic clock; a step of the
wall clock may disturb the order, and never holds a frame for longer.
"""

from __future__ import annotations

from collections import deque

import numba
import numpy as np
import numpy.typing as npt

from analyzer.capture.encode import LEFT, Bytes, Counters, Index, Ints, Table, encode_block, word_at
from analyzer.capture.ring import Ring

_BUFFER_BYTES = 8 << 20
_PRESSURE_BYTES = 2 << 20
"""waiting bytes beyond which order between rings gives way to keeping up"""
_SMALLEST_BLOCK = 64
"""an EPB with our options and hardly any data: bounds the frames of a full buffer"""


class Staging:
    """EPBs that are encoded and not yet written."""

    def __init__(self, hold_ns: int) -> None:
        """``hold_ns``: how long frames wait for those of other rings; 0 where there are none."""
        self.hold_ns = hold_ns
        self._out: Bytes = np.zeros(_BUFFER_BYTES, np.uint8)
        self._sorted: Bytes = np.zeros(0, np.uint8)
        self._index: Index = np.zeros((2, _BUFFER_BYTES // _SMALLEST_BLOCK), np.int64)
        self._used = 0
        self._count = 0
        self._marks: deque[tuple[int, int]] = deque()

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
            ring.memory, ring.cursor, self._out, self._used, self._index, self._count, table,
            counters, snaplen,
        )  # fmt: skip
        return not ring.cursor[LEFT]

    def take(self, now_ns: int, everything: bool = False) -> Bytes:
        """EPBs that are due, in the order of the file; valid until the next step.

        ``now_ns``: the monotonic clock. What is left behind waits for the next call.
        """
        if not self._count:
            return self._out[:0]
        if not self.hold_ns or (self.pressed and not everything):
            return self._take_all()
        keys = self._index[0, : self._count]
        limit = int(keys.max()) if everything else self._due(now_ns, int(keys.max()))
        order = np.argsort(keys, kind="stable")
        order = order[: np.searchsorted(keys[order], limit, side="right")]
        return self._take_some(order) if len(order) else self._out[:0]

    def _due(self, now_ns: int, newest: int) -> int:
        """The greatest key of those frames that have waited long enough; −1 for none."""
        if not self._marks or newest > self._marks[-1][1]:
            self._marks.append((now_ns, newest))
        due = -1
        while self._marks and now_ns - self._marks[0][0] >= self.hold_ns:
            due = self._marks.popleft()[1]
        return due

    def _take_all(self) -> Bytes:
        found = self._out[: self._used]
        self._used = self._count = 0
        self._marks.clear()
        return found

    def _take_some(self, order: npt.NDArray[np.int64]) -> Bytes:
        if len(self._sorted) < self._used:
            self._sorted = np.zeros(_BUFFER_BYTES, np.uint8)
        length = _gather(self._out, self._index, order, self._sorted)
        kept = np.ones(self._count, np.bool_)
        kept[order] = False
        self._used, self._count = _compact(self._out, self._index, np.flatnonzero(kept))
        return self._sorted[:length]


@numba.njit("int64(uint8[::1], int64[:, ::1], int64[::1], uint8[::1])", cache=True, nogil=True)
def _gather(blocks: Bytes, index: Index, order: Ints, target: Bytes) -> int:
    """Copy the blocks numbered by ``order`` to ``target``; returns the bytes copied."""
    source32, target32, to = blocks.view(np.uint32), target.view(np.uint32), 0
    for number in order:
        start = index[1, number] >> 2
        words = word_at(source32, start + 1) >> 2
        for word in range(words):
            target32[to + word] = source32[start + word]
        to += words
    return to << 2


@numba.njit("UniTuple(int64, 2)(uint8[::1], int64[:, ::1], int64[::1])", cache=True, nogil=True)
def _compact(blocks: Bytes, index: Index, kept: Ints) -> tuple[int, int]:
    """Move the kept blocks to the front in their order; returns bytes and frames."""
    blocks32, to = blocks.view(np.uint32), 0
    for count, number in enumerate(kept):
        start = index[1, number] >> 2
        words = word_at(blocks32, start + 1) >> 2
        for word in range(words):
            blocks32[to + word] = blocks32[start + word]
        index[0, count], index[1, count] = index[0, number], to << 2
        to += words
    return to << 2, len(kept)


@numba.njit("UniTuple(int64, 2)(uint8[::1], int64, int64)", cache=True, nogil=True)
def cut_blocks(blocks: Bytes, most_bytes: int, most_frames: int) -> tuple[int, int]:
    """How many bytes and frames of whole EPBs from the start of ``blocks`` keep both limits."""
    blocks32, at, frames = blocks.view(np.uint32), 0, 0
    while at < blocks.size and frames < most_frames:
        length = word_at(blocks32, (at >> 2) + 1)
        if at + length > most_bytes:
            break
        at += length
        frames += 1
    return at, frames


@numba.njit("void(uint8[::1], int64[:, ::1])", cache=True, nogil=True)
def uncount_blocks(blocks: Bytes, counters: Counters) -> None:
    """Take EPBs that do not go into the file out of ``counters`` again."""
    blocks32, at = blocks.view(np.uint32), 0
    while at < blocks.size:
        identifier = word_at(blocks32, (at >> 2) + 2)
        counters[identifier, 0] -= 1
        counters[identifier, 1] -= word_at(blocks32, (at >> 2) + 6)
        at += word_at(blocks32, (at >> 2) + 1)
