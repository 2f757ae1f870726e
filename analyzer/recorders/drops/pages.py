"""The pages of the trace ring, walked by one compiled loop: drops with the frame they belong to.

A page is a time stamp, a commit word (its length; two flags for events that were lost before it)
and events: 27 bits of time since the one before and 5 bits of length or kind, then the record.
See the kernel's ring_buffer.h and Documentation/trace/ring-buffer-design.rst. What a record tells
is `analyzer.recorders.drops.ties`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analyzer.native.compiled import compiled, piece
from analyzer.native.loads import Bytes, file32, native64
from analyzer.recorders.drops.page_layout import (
    COMMIT,
    DATA,
    LAYOUT,
    LOST,
    MOST_PENDING,
    NEIGHBOUR,
    OUT,
    SKB,
    STATE,
    TALLY,
)
from analyzer.recorders.drops.ties import Longs, Record, Tables, settle, take_record

SMALLEST_EVENT = 8

_PADDING, _TIME_EXTEND, _TIME_STAMP = 29, 30, 31
_MISSED = np.int64(1) << 31
_MISSED_STORED = np.int64(1) << 30
_COMMIT_BITS = (np.int64(1) << 27) - 1
_ABSOLUTE_BITS = np.uint64((1 << 59) - 1)


@compiled
def walk_page(data: Bytes, used: int, tables: Tables, row: int) -> Any:
    """Append the tied drops of one page to ``out`` from ``row`` on; returns the row behind them.

    used: bytes of ``data`` that were read.
    """
    layout = tables.layout
    if used < layout[DATA]:
        return row
    now = native64(data, 0)
    commit = file32(data, layout[COMMIT], False)
    position = layout[DATA]
    end = min(used, position + (commit & _COMMIT_BITS))
    if commit & _MISSED:
        row = settle(tables, row, 0)
        _note_missed(data, commit, end, used, tables.state)
    while position + 4 <= end:
        head = file32(data, position, False)
        kind, delta = head & 31, np.uint64(head >> 5)
        if kind == _PADDING:
            if delta == 0 or position + 8 > end:
                return row
            now += delta
            position += 4 + file32(data, position + 4, False)
        elif kind in (_TIME_EXTEND, _TIME_STAMP):
            if position + 8 > end:
                return row
            wide = (np.uint64(file32(data, position + 4, False)) << np.uint64(27)) + delta
            now = now + wide if kind == _TIME_EXTEND else _absolute(wide, now)
            position += 8
        else:
            now += delta
            start, length = position + 4, kind * 4
            if kind == 0:
                if position + 8 > end:
                    return row
                start, length = position + 8, file32(data, position + 4, False) - 4
            if length < 0 or start + length > end:
                return row
            row = take_record(data, Record(start, length, now), tables, row)
            position = start + length
    return row


def warm() -> None:
    """Have the code of the loop at hand."""
    layout, state = np.zeros(LAYOUT, np.int64), np.zeros(STATE, np.uint64)
    table, tally = np.zeros((1, OUT), np.uint64), np.zeros((1, TALLY), np.uint64)
    pending, neighbours = (np.zeros(s, np.uint64) for s in ((MOST_PENDING, OUT), (1, NEIGHBOUR)))
    tables = Tables(layout, state, table, tally, pending, name_words(["docker0"]), neighbours)
    walk_page(np.zeros(64, np.uint8), -1, tables, 0)


def name_words(names: Sequence[str]) -> Longs:
    """[n, 2] names of interfaces as two words each, as the walk compares them."""
    padded = [name.encode("utf-8", "surrogateescape")[:16].ljust(16, b"\0") for name in names]
    return np.frombuffer(b"".join(padded), np.uint64).reshape(-1, 2).copy()


@piece
def _absolute(wide: Any, now: Any) -> Any:
    """An absolute stamp has 59 bits: the rest is that of the time before."""
    full = (now & ~_ABSOLUTE_BITS) | wide
    return full if full >= now else full + _ABSOLUTE_BITS + np.uint64(1)


@piece
def _note_missed(data: Bytes, commit: int, end: int, used: int, state: Any) -> Any:
    """Events were overwritten before this page: what frame was in hand is not known."""
    state[SKB] = 0
    count = np.uint64(1)
    if commit & _MISSED_STORED and end + 8 <= used:
        count = native64(data, end)
    state[LOST] += count
