"""Merge what several rings have handed over: compiled loops over runs of encoded frames.

A run is a stretch of one ring's frames that lie one behind the other in the staging buffer, in
the kernel's order: rows AT to END of the index, whose sort keys never fall. The runs of a ring
follow each other by NEXT, and its first one that is not used up is its head. To merge is to go
on with the head of the smallest key for as long as no other head's is smaller; so each frame is
copied once, and none is ever sorted. What was taken leaves holes, until `repack`. The loops over
EPBs that lie one behind the other (``…_epbs``) stand at the end.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from analyzer.capture.copying import copy_bytes, move_bytes
from analyzer.native.compiled import compiled, piece

Bytes: TypeAlias = npt.NDArray[np.uint8]
Words: TypeAlias = npt.NDArray[np.uint32]
Ints: TypeAlias = npt.NDArray[np.int64]
Index: TypeAlias = npt.NDArray[np.int64]
"""shape (2, frames): sort key, place of the EPB in the buffer"""
Runs: TypeAlias = npt.NDArray[np.int64]
"""shape (runs, RUN): in the order in which they came"""
Heads: TypeAlias = npt.NDArray[np.int64]
"""shape (2, rings): number of a run, sort key of its next frame"""
Mask: TypeAlias = npt.NDArray[np.bool_]

AT, END, NEXT, SLOT = range(4)
"""A run: its first row that is left, the row behind its last; number of the same ring's next run
or −1; which ring it is."""
RUN = 4

_GREATEST = (1 << 63) - 1


class Staged(NamedTuple):
    """Frames that were encoded and wait."""

    blocks: Bytes
    """EPBs"""
    words: Words
    """the same memory"""
    rows: Index


@piece
def _place(staged: Staged, row: int) -> Any:
    """Where the block of a row begins and where it ends."""
    start = staged.rows[1, row]
    return start, start + np.int64(staged.words[(start >> 2) + 1])


@piece
def _smallest(heads: Heads, count: int) -> Any:
    """The head with the least key (the first to come, of equals), that key, the least other one."""
    best, key, other = 0, heads[1, 0], np.int64(_GREATEST)
    for place in range(1, count):
        its_key = heads[1, place]
        if its_key < key or (its_key == key and heads[0, place] < heads[0, best]):
            best, key, other = place, its_key, key
        elif its_key < other:
            other = its_key
    return best, key, other


@piece
def _advance(runs: Runs, index: Index, heads: Heads, count: int, place: int, row: int) -> Any:
    """The head at ``place`` goes on with ``row``; returns how many heads there are now."""
    number = heads[0, place]
    runs[number, AT] = row
    if row == runs[number, END]:
        number = runs[number, NEXT]
        if number < 0:
            count -= 1
            heads[0, place], heads[1, place] = heads[0, count], heads[1, count]
            return count
        heads[0, place] = number
    heads[1, place] = index[0, runs[number, AT]]
    return count


@compiled
def merge_runs(
    staged: Staged, runs: Runs, heads: Heads, count: int, limit: int, target: Bytes
) -> tuple[int, int, int]:
    """Copy the frames up to the key ``limit`` to ``target``, merged.

    Returns bytes, frames, and how many of ``heads`` there are now (``count`` before).
    """
    index, to, frames = staged.rows, 0, 0
    while count > 0:
        place, key, other = _smallest(heads, count)
        if key > limit:
            break
        bound = min(limit, other)
        first, end = runs[heads[0, place], AT], runs[heads[0, place], END]
        row = first + 1
        while row < end and index[0, row] <= bound:
            row += 1
        start, stop = index[1, first], _place(staged, row - 1)[1]
        copy_bytes(target, to, staged.blocks, start, stop - start)
        to, frames = to + stop - start, frames + row - first
        count = _advance(runs, index, heads, count, place, row)
    return to, frames, count


@piece
def _move_run(staged: Staged, run: Ints, kept: Mask, to: int, row: int) -> Any:
    """What is left of a run goes to the bytes ``to`` and the rows ``row``; those behind it."""
    index = staged.rows
    for at in range(run[AT], run[END]):
        if kept.size == 0 or kept[at]:
            start, stop = _place(staged, at)
            move_bytes(staged.blocks, to, staged.blocks, start, stop - start)
            index[0, row], index[1, row] = index[0, at], to
            to, row = to + stop - start, row + 1
    return to, row


@compiled
def repack(
    staged: Staged, runs: Runs, run_count: int, heads: Heads, lasts: Ints, kept: Mask
) -> tuple[int, int, int, int]:
    """Move what is left to the front of the buffer, runs and index too; heads are found anew.

    ``lasts``: the number of each slot's last run. ``kept``: which rows to keep of those that
    are left; empty: all. Returns bytes, frames, runs and heads.
    """
    to, row, fresh, count = 0, 0, 0, 0
    lasts[:] = -1
    for number in range(run_count):
        begun, slot = row, runs[number, SLOT]
        to, row = _move_run(staged, runs[number], kept, to, row)
        if row == begun:
            continue
        if lasts[slot] < 0:
            heads[0, count], heads[1, count] = fresh, staged.rows[0, begun]
            count += 1
        else:
            runs[lasts[slot], NEXT] = fresh
        lasts[slot] = fresh
        runs[fresh, AT], runs[fresh, END] = begun, row
        runs[fresh, NEXT], runs[fresh, SLOT] = -1, slot
        fresh += 1
    return to, row, fresh, count


@compiled
def mark_runs(runs: Runs, run_count: int, left: Mask) -> None:
    """Which rows are left."""
    left[:] = False
    for number in range(run_count):
        for row in range(runs[number, AT], runs[number, END]):
            left[row] = True


@compiled
def renumber_rows(staged: Staged, mapping: Ints, left: Mask) -> None:
    """Give the rows that are left new interface ids; no row any more is one whose id is −1."""
    for row in range(left.size):
        if left[row]:
            word = (staged.rows[1, row] >> 2) + 2
            new = mapping[np.int64(staged.words[word])]
            left[row] = new >= 0
            if new >= 0:
                staged.words[word] = new


@compiled
def pick_rows(staged: Staged, identifier: int, left: Mask, target: Bytes) -> int:
    """Copy the rows of one interface that are left to ``target``: no longer left; returns bytes."""
    to = 0
    for row in range(left.size):
        if left[row] and np.int64(staged.words[(staged.rows[1, row] >> 2) + 2]) == identifier:
            start, stop = _place(staged, row)
            copy_bytes(target, to, staged.blocks, start, stop - start)
            to += stop - start
            left[row] = False
    return to


@piece
def _word(words: Words, place: int) -> Any:
    return np.int64(words[place])


@compiled
def count_epbs(blocks32: Words, counters: Ints) -> int:
    at, latest = 0, 0
    while at >> 2 < blocks32.size:
        word = at >> 2
        identifier = _word(blocks32, word + 2)
        counters[identifier, 0] += 1
        counters[identifier, 1] += _word(blocks32, word + 6)
        latest = max(latest, _word(blocks32, word + 3) << 32 | _word(blocks32, word + 4))
        at += _word(blocks32, word + 1)
    return latest


@compiled
def rewrite_epbs(blocks32: Words, identifier: int) -> None:
    at = 0
    while at >> 2 < blocks32.size:
        blocks32[(at >> 2) + 2] = identifier
        at += _word(blocks32, (at >> 2) + 1)


@compiled
def map_epbs(blocks32: Words, mapping: Ints) -> None:
    """Give each EPB the interface id that ``mapping`` has for its own."""
    at = 0
    while at >> 2 < blocks32.size:
        word = (at >> 2) + 2
        blocks32[word] = mapping[_word(blocks32, word)]
        at += _word(blocks32, (at >> 2) + 1)


@compiled
def cut_epbs(blocks32: Words, most_bytes: int, most_frames: int) -> tuple[int, int]:
    at, frames = 0, 0
    while at >> 2 < blocks32.size and frames < most_frames:
        length = _word(blocks32, (at >> 2) + 1)
        if at + length > most_bytes:
            break
        at += length
        frames += 1
    return at, frames


@compiled
def uncount_epbs(blocks32: Words, counters: Ints) -> None:
    at = 0
    while at >> 2 < blocks32.size:
        identifier = _word(blocks32, (at >> 2) + 2)
        counters[identifier, 0] -= 1
        counters[identifier, 1] -= _word(blocks32, (at >> 2) + 6)
        at += _word(blocks32, (at >> 2) + 1)
