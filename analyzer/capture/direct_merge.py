"""Frames of several rings go into the file's order straight from the kernel's blocks.

To stage frames (`analyzer.capture.merge`) is to copy each of them twice. Where the rings are long
enough, they are themselves the place where frames wait: a block is given back to the kernel when
its last frame was due. Then each frame is copied once, from the ring to what is written next.

The loop goes on with the ring whose next frame has the smallest key for as long as no other ring's
is smaller. It sees all rings as one array, which begins at the lowest one's address and in which
nobody may touch what lies between them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from analyzer.capture.copying import fence
from analyzer.capture.encode import (
    AT,
    BLOCK,
    CURIOUS,
    CURSOR,
    DROPS,
    END,
    LATEST,
    LEFT,
    SKIPPED,
    STRANGER,
    UNKNOWN,
    WALKED,
    Bytes,
    Counters,
    Ints,
    Table,
    Views,
    Words,
    encode_frame,
    fetch,
    interface_at,
    lookup,
    room_for,
    stamp_at,
    views,
    word_at,
)
from analyzer.capture.source import Source
from analyzer.native.compiled import compiled, piece

Heads: TypeAlias = npt.NDArray[np.int64]
"""shape (rings, HEAD): each ring's cursor and what follows it here"""

Marks: TypeAlias = deque[tuple[int, int]]

KEY, BASE, SIZE, BLOCKS, TABLE, SLOTS, MINDS = range(CURSOR, CURSOR + 7)
"""Sort key of the next frame; offset of the ring in the memory; bytes of a block; number of
blocks; first row and rows of its table; 1 where Python has to open and release its blocks."""
HEAD = CURSOR + 7

DUE, ROOM, OPEN, RELEASE, MEET = range(5)
"""Why the loop stopped: nothing more is due; no room; a ring has to be opened, released by
Python; a ring's next frame is a stranger's."""

READY_BYTES, OLDEST, NEWEST, FULL = range(4)
"""What waits: bytes; the least and the greatest of the last keys of all rings where frames wait;
the greatest of those of rings that are more than half full, or −1."""

_FEWEST_BLOCKS = 32
"""of a ring in which frames can wait: some are in use by then, and a few more wait each retire
time"""
_MOST_RINGS = 64
_PORTION_BYTES = 512 << 10
"""written at once: what was just encoded is still in the cache"""
_PRESSURE_BYTES = 1 << 20
"""waiting bytes beyond which frames are due that are older than what each of the busy rings has
told last"""
_STATUS_USER, _STATUS_LOSING = 1, 1 << 2
_GREATEST = (1 << 63) - 1


@piece
def _block_word(words: Words, head: Ints, block: int, word: int) -> Any:
    """Of a block descriptor: 2 status, 3 frames, 4 first frame, 5 length, 10, 11 last stamp."""
    return word_at(words, (head[BASE] + block * head[SIZE] >> 2) + word)


@piece
def _give_back(words: Words, head: Ints) -> None:
    """The block is the kernel's again; none of our reads of it may come later than that."""
    fence()
    words[(head[BASE] + head[BLOCK] * head[SIZE] >> 2) + 2] = 0
    head[BLOCK] = (head[BLOCK] + 1) % head[BLOCKS]


@piece
def _open_next(words: Words, head: Ints) -> Any:
    """Go to the next block that has frames: DUE if there is none yet, OPEN if Python has to."""
    while head[LEFT] == 0:
        status = _block_word(words, head, head[BLOCK], 2)
        if not status & _STATUS_USER:
            return DUE
        fence()
        if status & _STATUS_LOSING or head[MINDS]:
            return OPEN
        start = head[BLOCK] * head[SIZE]
        head[LEFT] = _block_word(words, head, head[BLOCK], 3)
        head[AT] = start + _block_word(words, head, head[BLOCK], 4)
        head[END] = start + min(_block_word(words, head, head[BLOCK], 5), head[SIZE])
        if head[LEFT] == 0:
            _give_back(words, head)
    return ROOM


@piece
def _smallest(heads: Heads, live: Ints, count: int) -> Any:
    """The place in ``live`` of the ring with the least key, that key, the least one of the rest."""
    best, key, other = 0, heads[live[0], KEY], np.int64(_GREATEST)
    for place in range(1, count):
        mine = heads[live[place], KEY]
        if mine < key:
            best, key, other = place, mine, key
        elif mine < other:
            other = mine
    return best, key, other


@piece
def _set_key(words: Words, head: Ints) -> None:
    head[KEY] = max(head[LATEST], stamp_at(words, head[BASE] + head[AT]))


@piece
def _encode_run(
    memory: Views,
    head: Ints,
    bound: int,
    out: Views,
    used: int,
    tables: Table,
    counters: Counters,
    snaplen: int,
) -> Any:
    """Encode a ring's frames up to the key ``bound``, to the end of its block at most.

    Returns ``used`` and DUE, ROOM or MEET.
    """
    words, base, curious = memory[2], head[BASE], head[CURIOUS]
    readable, end = base + head[SIZE] * head[BLOCKS], base + head[END]
    first, slots = head[TABLE], head[SLOTS]
    at, left, latest, why = base + head[AT], head[LEFT], head[LATEST], DUE
    while left > 0:
        fetch(memory[0], at)
        if max(latest, stamp_at(words, at)) > bound:
            break
        if used + room_for(words, at, snaplen) > out[0].size:
            why = ROOM
            break
        identifier = lookup(tables, first, slots, interface_at(words, at))
        if identifier == UNKNOWN and curious:
            head[STRANGER] = interface_at(words, at)
            why = MEET
            break
        if identifier < 0:
            head[SKIPPED] += 1
        else:
            used, stamp, wirelen = encode_frame(
                memory, at, end, readable, out, used, identifier, snaplen, head[DROPS]
            )
            head[DROPS] = 0
            latest = max(latest, stamp)
            counters[identifier, 0] += 1
            counters[identifier, 1] += wirelen
        left -= 1
        at += word_at(words, at >> 2)
    head[WALKED] += head[LEFT] - left
    head[AT], head[LEFT], head[LATEST] = at - base, left, latest
    return used, why


@compiled
def merge_rings(
    memory: Views,
    heads: Heads,
    live: Ints,
    limit: int,
    out: Views,
    used: int,
    tables: Table,
    counters: Counters,
    snaplen: int,
) -> tuple[int, int, int]:
    """Encode frames up to the key ``limit`` into ``out``, merged, from ``used`` on.

    ``live``: scratch room for a number per ring. Returns the new ``used``, why it stopped, and
    the number of the ring because of which it did.
    """
    words, count = memory[2], 0
    for number in range(heads.shape[0]):
        head = heads[number]
        state = _open_next(words, head)
        if state == OPEN:
            return used, OPEN, number
        if head[LEFT]:
            _set_key(words, head)
            live[count] = number
            count += 1
    while count > 0:
        best, key, other = _smallest(heads, live, count)
        if key > limit:
            break
        number = live[best]
        head = heads[number]
        used, why = _encode_run(
            memory, head, min(limit, other), out, used, tables, counters, snaplen
        )
        if why in (ROOM, MEET):
            return used, why, number
        if head[LEFT] == 0:
            if head[MINDS]:
                return used, RELEASE, number
            _give_back(words, head)
            if _open_next(words, head) == OPEN:
                return used, OPEN, number
        if head[LEFT]:
            _set_key(words, head)
        else:
            count -= 1
            live[best] = live[count]
    return used, DUE, 0


@piece
def _greatest_stamp(words: Words, at: int, frames: int) -> Any:
    """Of ``frames`` frames from ``at`` on."""
    found = np.int64(-1)
    for _ in range(frames):
        found = max(found, stamp_at(words, at))
        at += word_at(words, at >> 2)
    return found


@piece
def _rest_of_block(words: Words, head: Ints, block: int) -> Any:
    """Of a block that was handed over: offset of its next frame, frames left, bytes left."""
    if block == head[BLOCK] and head[LEFT]:
        return head[BASE] + head[AT], head[LEFT], head[END] - head[AT]
    first = head[BASE] + block * head[SIZE] + _block_word(words, head, block, 4)
    return first, _block_word(words, head, block, 3), _block_word(words, head, block, 5)


@compiled
def look_ahead(memory: Views, heads: Heads, exact: bool, found: Ints) -> None:
    """``found``: READY_BYTES, OLDEST, NEWEST and FULL of the blocks that were handed over.

    ``exact``: look at each frame. Else a ring's last key is taken for the last frame's stamp: it
    may be greater, where a copy with an older stamp comes last.
    """
    words = memory[2]
    found[READY_BYTES], found[OLDEST], found[NEWEST], found[FULL] = 0, _GREATEST, -1, -1
    for number in range(heads.shape[0]):
        head = heads[number]
        ready, told, block = 0, head[LATEST], head[BLOCK]
        while ready < head[BLOCKS] and _block_word(words, head, block, 2) & _STATUS_USER:
            first, frames, left = _rest_of_block(words, head, block)
            found[READY_BYTES] += left
            if exact:
                told = max(told, _greatest_stamp(words, first, frames))
            else:
                seconds = _block_word(words, head, block, 10)
                told = max(told, seconds * 1_000_000_000 + _block_word(words, head, block, 11))
            ready, block = ready + 1, (block + 1) % head[BLOCKS]
        if ready:
            found[OLDEST] = min(found[OLDEST], told)
            found[NEWEST] = max(found[NEWEST], told)
            if 2 * ready > head[BLOCKS]:
                found[FULL] = max(found[FULL], told)


class DirectMerge:
    """The rings of a capture as one stream; while it is used, nobody else walks them."""

    def __init__(self, sources: Sequence[Source], hold_ns: int, marks: Marks | None = None) -> None:
        """``hold_ns``: how long frames wait for those of other rings. ``marks``: of the one before,
        so that nothing waits longer however often rings come and go."""
        self.hold_ns = hold_ns
        self.marks: Marks = deque() if marks is None else marks
        """when it was looked, the greatest key then"""
        self._sources = list(sources)
        self._rings = [source.ring for source in sources]
        self._heads: Heads = np.zeros((len(sources), HEAD), np.int64)
        starts = [ring.memory[0].ctypes.data for ring in self._rings]
        ends = [
            start + ring.memory[0].size for start, ring in zip(starts, self._rings, strict=True)
        ]
        self._memory = views(_memory_at(min(starts), max(ends)))
        for head, ring, start in zip(self._heads, self._rings, starts, strict=True):
            settings = ring.settings
            head[:CURSOR] = ring.cursor
            head[BASE], head[SIZE] = start - min(starts), settings.block_size
            head[BLOCKS] = settings.block_count
            ring.cursor = head[:CURSOR]
        self._live: Ints = np.zeros(len(sources), np.int64)
        self._out = views(np.zeros(_PORTION_BYTES, np.uint8))
        self._found: Ints = np.zeros(4, np.int64)
        self._told = -1
        self._tables: list[Table] = []
        self._table = np.zeros((0, 2), np.int32)

    @staticmethod
    def fits(sources: Sequence[Source]) -> bool:
        """Whether frames can wait in these rings."""
        return 1 < len(sources) <= _MOST_RINGS and all(
            source.is_open and source.ring.settings.block_count >= _FEWEST_BLOCKS
            for source in sources
        )

    @property
    def waiting(self) -> bool:
        """Whether frames waited when it was last looked."""
        return bool(self._found[READY_BYTES])

    @property
    def pressed(self) -> bool:
        return bool(self._found[READY_BYTES] > _PRESSURE_BYTES)

    def look(self, now_ns: int) -> int:
        """The greatest key that is due by now; −1 for none. ``now_ns``: the monotonic clock."""
        look_ahead(self._memory, self._heads, False, self._found)
        told = int(self._found[NEWEST])
        if self.waiting and told == self._told:  # else there will be another look soon
            look_ahead(self._memory, self._heads, True, self._found)
        self._told = told
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

        Returns them, whether there are more, and the source that has met a stranger.
        """
        self._tabulate()
        used = 0
        while True:
            for head, ring in zip(self._heads, self._rings, strict=True):
                head[MINDS] = ring.minds_blocks
            used, why, number = merge_rings(
                self._memory,
                self._heads,
                self._live,
                limit,
                self._out,
                used,
                self._table,
                counters,
                snaplen,
            )
            ring = self._rings[number]
            if why == RELEASE:
                ring.release()
            elif why == OPEN:
                if ring.has_block() and not ring.cursor[LEFT]:
                    ring.release()
            else:
                met = self._sources[number] if why == MEET else None
                return self._out[0][:used], why != DUE, met

    def _tabulate(self) -> None:
        """The sources' tables as one, where one is new."""
        tables = [source.table for source in self._sources]
        if len(tables) == len(self._tables) and all(map(_same, tables, self._tables)):
            return
        self._tables, self._table = tables, np.vstack(tables)
        first = 0
        for head, table in zip(self._heads, tables, strict=True):
            head[TABLE], head[SLOTS] = first, len(table)
            first += len(table)


def _same(one: object, other: object) -> bool:
    return one is other


class _Address:
    """What numpy makes an array of (its array interface)."""

    def __init__(self, first: int, size: int) -> None:
        self.__array_interface__ = {
            "data": (first, False),
            "shape": (size,),
            "typestr": "|u1",
            "version": 3,
        }


def _memory_at(start: int, end: int) -> Bytes:
    """The process's memory from ``start`` to ``end``, as far as there is any."""
    return np.asarray(_Address(start, end - start))


def warm() -> None:
    """Compile the loops, or load their machine code."""
    none, ints = views(np.zeros(0, np.uint8)), np.zeros(4, np.int64)
    heads, table = np.zeros((0, HEAD), np.int64), np.zeros((0, 2), np.int32)
    merge_rings(none, heads, ints, 0, none, 0, table, np.zeros((0, 2), np.int64), 0)
    look_ahead(none, heads, False, ints)
