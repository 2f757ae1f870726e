"""The loops that merge rings: frames go into the file's order straight from the kernel's blocks.

The merge goes on with the ring whose next frame has the smallest key for as long as no other
ring's is smaller. All rings lie in one `analyzer.capture.arena.Arena`, so they are one array here,
and each ring is told by where it begins.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

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
    NEWCOMER,
    SKIPPED,
    UNKNOWN,
    WALKED,
    Frame,
    Ints,
    Recording,
    Views,
    Words,
    count_frame,
    encode_frame,
    fetch,
    interface_at,
    lookup,
    room_for,
    stamp_at,
    views,
    word_at,
)
from analyzer.native.compiled import compiled, piece

Heads: TypeAlias = npt.NDArray[np.int64]
"""shape (rings, HEAD): each ring's cursor and what follows it here"""

KEY, BASE, SIZE, BLOCKS, TABLE, SLOTS, MINDS = range(CURSOR, CURSOR + 7)
"""Sort key of the next frame; offset of the ring in the memory; bytes of a block; number of
blocks; first row and rows of its table; 1 where Python has to open and release its blocks."""
HEAD = CURSOR + 7

DUE, ROOM, OPEN, RELEASE, MEET = range(5)
"""Why the loop stopped: nothing more is due; no room; a ring has to be opened, released by
Python; a ring's next frame is of an interface that nobody knows yet."""

READY_BYTES, OLDEST, NEWEST, FULL = range(4)
"""What waits: bytes; the least and the greatest of the last keys of all rings where frames wait;
the greatest of those of rings that are more than half full, or −1."""

_STATUS_USER, _STATUS_LOSING = 1, 1 << 2
_GREATEST = (1 << 63) - 1


class Rings(NamedTuple):
    """All rings of a capture."""

    memory: Views
    """in which they lie"""
    heads: Heads
    live: Ints
    """scratch room for a number per ring"""


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
        its_key = heads[live[place], KEY]
        if its_key < key:
            best, key, other = place, its_key, key
        elif its_key < other:
            other = its_key
    return best, key, other


@piece
def _set_key(words: Words, head: Ints) -> None:
    head[KEY] = max(head[LATEST], stamp_at(words, head[BASE] + head[AT]))


@piece
def _encode_run(
    memory: Views, head: Ints, bound: int, out: Views, used: int, recording: Recording
) -> Any:
    """Encode a ring's frames up to the key ``bound``, to the end of its block at most.

    Returns ``used`` and DUE, ROOM or MEET.
    """
    words, base, snaplen = memory.words, head[BASE], recording.snaplen
    readable, end = base + head[SIZE] * head[BLOCKS], base + head[END]
    at, left, latest, why = base + head[AT], head[LEFT], head[LATEST], DUE
    while left > 0:
        fetch(memory.octets, at)
        if max(latest, stamp_at(words, at)) > bound:
            break
        if used + room_for(words, at, snaplen) > out.octets.size:
            why = ROOM
            break
        ifindex = interface_at(words, at)
        identifier = lookup(recording.table, head[TABLE], head[SLOTS], ifindex)
        if identifier == UNKNOWN and head[CURIOUS]:
            head[NEWCOMER] = ifindex
            why = MEET
            break
        if identifier < 0:
            head[SKIPPED] += 1
        else:
            frame = Frame(at, end, readable, head[DROPS])
            used, stamp, wirelen = encode_frame(memory, frame, out, used, identifier, snaplen)
            head[DROPS] = 0
            latest = max(latest, stamp)
            count_frame(recording.counters, identifier, wirelen)
        left -= 1
        at += word_at(words, at >> 2)
    head[WALKED] += head[LEFT] - left
    head[AT], head[LEFT], head[LATEST] = at - base, left, latest
    return used, why


@piece
def _open_all(rings: Rings) -> Any:
    """How many rings have frames (``live`` tells which), and the one that Python has to open."""
    words, heads, live = rings.memory.words, rings.heads, rings.live
    count, to_open = 0, np.int64(-1)
    for number in range(heads.shape[0]):
        head = heads[number]
        if _open_next(words, head) == OPEN:
            to_open = np.int64(number)
            break
        if head[LEFT]:
            _set_key(words, head)
            live[count] = number
            count += 1
    return count, to_open


@compiled
def merge_rings(
    rings: Rings, limit: int, out: Views, used: int, recording: Recording
) -> tuple[int, int, int]:
    """Encode frames up to the key ``limit`` into ``out``, merged, from ``used`` on.

    Returns the new ``used``, why it stopped, and the number of the ring because of which it did.
    """
    memory, heads, live = rings
    words = memory.words
    count, to_open = _open_all(rings)
    if to_open >= 0:
        return used, OPEN, to_open
    while count > 0:
        best, key, other = _smallest(heads, live, count)
        if key > limit:
            break
        number = live[best]
        head = heads[number]
        used, why = _encode_run(memory, head, min(limit, other), out, used, recording)
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
    greatest = np.int64(-1)
    for _ in range(frames):
        greatest = max(greatest, stamp_at(words, at))
        at += word_at(words, at >> 2)
    return greatest


@piece
def _rest_of_block(words: Words, head: Ints, block: int) -> Any:
    """Of a block that was handed over: offset of its next frame, frames left, bytes left."""
    if block == head[BLOCK] and head[LEFT]:
        return head[BASE] + head[AT], head[LEFT], head[END] - head[AT]
    first = head[BASE] + block * head[SIZE] + _block_word(words, head, block, 4)
    return first, _block_word(words, head, block, 3), _block_word(words, head, block, 5)


@piece
def _look_at_ring(words: Words, head: Ints, exact: bool) -> Any:
    """Blocks that were handed over, bytes that are left in them, the ring's last key."""
    ready, waiting, last, block = 0, np.int64(0), head[LATEST], head[BLOCK]
    while ready < head[BLOCKS] and _block_word(words, head, block, 2) & _STATUS_USER:
        first, frames, left = _rest_of_block(words, head, block)
        waiting += left
        if exact:
            last = max(last, _greatest_stamp(words, first, frames))
        else:
            seconds = _block_word(words, head, block, 10)
            last = max(last, seconds * 1_000_000_000 + _block_word(words, head, block, 11))
        ready, block = ready + 1, (block + 1) % head[BLOCKS]
    return ready, waiting, last


@compiled
def look_ahead(rings: Rings, exact: bool, outlook: Ints) -> None:
    """``found``: READY_BYTES, OLDEST, NEWEST and FULL of the blocks that were handed over.

    ``exact``: look at each frame. Else a ring's last key is taken for the last frame's stamp: it
    may be greater, where a copy with an older stamp comes last.
    """
    outlook[READY_BYTES], outlook[OLDEST], outlook[NEWEST], outlook[FULL] = 0, _GREATEST, -1, -1
    for number in range(rings.heads.shape[0]):
        head = rings.heads[number]
        ready, waiting, last = _look_at_ring(rings.memory.words, head, exact)
        if ready:
            outlook[READY_BYTES] += waiting
            outlook[OLDEST] = min(outlook[OLDEST], last)
            outlook[NEWEST] = max(outlook[NEWEST], last)
            if 2 * ready > head[BLOCKS]:
                outlook[FULL] = max(outlook[FULL], last)


def warm() -> None:
    """Have the code of the loops at hand."""
    none, ints = views(np.zeros(0, np.uint8)), np.zeros(4, np.int64)
    table, counters = np.zeros((0, 2), np.int32), np.zeros((0, 2), np.int64)
    rings = Rings(none, np.zeros((0, HEAD), np.int64), ints)
    merge_rings(rings, 0, none, 0, Recording(table, counters, 0))
    look_ahead(rings, False, ints)
