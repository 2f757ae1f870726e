"""The pages of the trace ring, walked by one compiled loop: drops with the frame they belong to.

A page is a time stamp, a commit word (its length; two flags for events that were lost before it)
and events: 27 bits of time since the one before and 5 bits of length or kind, then the record.
See the kernel's ring_buffer.h and Documentation/trace/ring-buffer-design.rst.

The ring of a CPU is in that CPU's own order, and a frame is carried through the stack by one
softirq on one CPU: its work begins with ``netif_receive_skb`` and ends with the next one, or with
the end of the softirq. A drop is tied to a frame only where it is proved to lie in that work:

- ``SAME``: the skb that is dropped is the one that was received.
- ``COPY``: another skb is dropped, and then the received one is received again, whole, by a
  bridge. A bridge that passes a frame up (because it is promiscuous, or the frame is for all)
  forwards a clone of it first: br_handle_frame_finish() in the kernel's br_input.c.
- ``ANSWER``: another skb is dropped before the work ends, while the frames of all devices are
  listened to: something that the stack sent because of the frame.

An address alone, from longer ago, proves nothing: freed, it is the next packet's. Nor does the
frame that a CPU received last: timers, local senders and other namespaces run there as well. Drops
that belong to no frame are only counted, by place and reason: a row each would fill the file where
somebody else is flooded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from analyzer.native.compiled import compiled, piece
from analyzer.native.loads import Bytes, file16, file32, native64

SAME, NESTED, COPY, ANSWER = 1, 2, 3, 4
"""how a drop is tied: see above. NESTED stands in files of older versions only, for any other skb
than the frame in hand: it proves nothing"""

# Where the fields lie: indices of the int64 array ``layout``
COMMIT, DATA = 0, 1
KFREE_ID, KFREE_SKB, KFREE_LOCATION, KFREE_PROTOCOL, KFREE_REASON, KFREE_FLAGS = 2, 3, 4, 5, 6, 7
RECEIVE_ID, RECEIVE_SKB, RECEIVE_LEN, RECEIVE_NAME = 8, 9, 10, 11
EXIT_ID, EXIT_VECTOR = 12, 13
LAYOUT = 14

# The frame in hand on a CPU and what was counted there: indices of the uint64 array ``state``
SEEN_NS, SKB, LEN, NAME_LOW, NAME_HIGH, RECEIVED, LOST = 0, 1, 2, 3, 4, 5, 6
WHOLE, PENDING = 7, 8
"""whether the frames of all devices are listened to; drops that wait for their proof"""
STATE = 9
MOST_PENDING = 8
"""drops of one frame's work that wait; of a flooded frame there are as many as ports"""

# A row of the uint64 table ``out``
(
    OUT_TS,
    OUT_TIE,
    OUT_SEEN,
    OUT_LEN,
    OUT_NAME_LOW,
    OUT_NAME_HIGH,
    OUT_LOCATION,
    OUT_REASON,
    OUT_PROTOCOL,
) = range(9)
OUT = 9

# A row of the uint64 table ``tally``
TALLY_LOCATION, TALLY_REASON, TALLY_PROTOCOL, TALLY_COUNT = range(4)
TALLY = 4

NO_REASON = 0xFFFF
"""this kernel tells none"""
SMALLEST_EVENT = 8

_PADDING, _TIME_EXTEND, _TIME_STAMP = 29, 30, 31
_MISSED = np.int64(1) << 31
_MISSED_STORED = np.int64(1) << 30
_COMMIT_BITS = (np.int64(1) << 27) - 1
_ABSOLUTE_BITS = np.uint64((1 << 59) - 1)
_HARDIRQ, _SOFTIRQ = 0x08, 0x10
"""of common_flags (trace_events.h)"""
_DOCKER_BRIDGE = np.uint64(int.from_bytes(b"br-", "little"))
_THREE_BYTES = np.uint64(0xFFFFFF)
"""so Docker calls the bridges of networks, those that are made later as well"""
_NET_RX = 3
"""number of the softirq that receives (linux/interrupt.h)"""
_AGE_NS = np.uint64(1_000_000)
"""a softirq does not hold one packet for longer"""


Longs: TypeAlias = npt.NDArray[np.uint64]


class Tables(NamedTuple):
    """What a walk knows and what it fills."""

    layout: npt.NDArray[np.int64]
    """[LAYOUT] where the fields lie"""
    state: Longs
    """[STATE] of the page's CPU"""
    out: Longs
    """[n, OUT] tied drops, with room for ``page bytes // SMALLEST_EVENT`` rows more"""
    tally: Longs
    """[m, TALLY] where the others are counted; what finds no row goes into the last"""
    pending: Longs
    """[MOST_PENDING, OUT] drops of the frame in hand that wait for their proof"""
    bridges: Longs
    """[b, 2] names of the bridges, in two words as in the state"""


class Record(NamedTuple):
    """One event of a page."""

    start: int
    """of its data"""
    length: int
    now: Any
    """when, ns on the trace's clock"""


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
        row = _settle(tables, row, 0)
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
            row = _take(data, Record(start, length, now), tables, row)
            position = start + length
    return row


def warm() -> None:
    """Compile the loop, or load its machine code."""
    layout, state = np.zeros(LAYOUT, np.int64), np.zeros(STATE, np.uint64)
    table, tally = np.zeros((1, OUT), np.uint64), np.zeros((1, TALLY), np.uint64)
    pending = np.zeros((MOST_PENDING, OUT), np.uint64)
    tables = Tables(layout, state, table, tally, pending, name_words(["docker0"]))
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


@piece
def _take(data: Bytes, record: Record, tables: Tables, row: int) -> Any:
    """One record; returns the row behind those that are filled."""
    start, layout, state = record.start, tables.layout, tables.state
    event = file16(data, start, False)
    if event == layout[RECEIVE_ID]:
        state[RECEIVED] += 1
        low, high = _name(data, record, layout)
        same = native64(data, start + layout[RECEIVE_SKB]) == state[SKB] and state[SKB] != 0
        if same and _is_bridge(low, high, tables.bridges):
            return _settle(tables, row, COPY)
        row = _settle(tables, row, ANSWER if state[WHOLE] else 0)
        state[SEEN_NS] = record.now
        state[SKB] = native64(data, start + layout[RECEIVE_SKB])
        state[LEN] = file32(data, start + layout[RECEIVE_LEN], False)
        state[NAME_LOW], state[NAME_HIGH] = low, high
        return row
    if event == layout[EXIT_ID]:
        if file32(data, start + layout[EXIT_VECTOR], False) == _NET_RX:
            row = _settle(tables, row, ANSWER if state[WHOLE] else 0)
            state[SKB] = 0
        return row
    return _drop(data, record, tables, row) if event == layout[KFREE_ID] else row


@piece
def _drop(data: Bytes, record: Record, tables: Tables, row: int) -> Any:
    """A drop: tied, waiting for its proof, or counted; returns the row behind the tied ones."""
    start, layout, state = record.start, tables.layout, tables.state
    location = native64(data, start + layout[KFREE_LOCATION])
    protocol = np.uint64(file16(data, start + layout[KFREE_PROTOCOL], False))
    reason = np.uint64(NO_REASON)
    if layout[KFREE_REASON] >= 0:
        reason = np.uint64(file32(data, start + layout[KFREE_REASON], False) & 0xFFFF)
    in_softirq = data[start + layout[KFREE_FLAGS]] & (_SOFTIRQ | _HARDIRQ) == _SOFTIRQ
    same = native64(data, start + layout[KFREE_SKB]) == state[SKB]
    waits = np.int64(state[PENDING])
    late = record.now - state[SEEN_NS] > _AGE_NS
    if state[SKB] == 0 or not in_softirq or late or (waits == MOST_PENDING and not same):
        _count(location, reason, protocol, tables.tally)
        return row
    table, at = (tables.out, np.int64(row)) if same else (tables.pending, waits)
    table[at, OUT_TS] = record.now
    table[at, OUT_TIE] = SAME
    table[at, OUT_SEEN] = state[SEEN_NS]
    table[at, OUT_LEN] = state[LEN]
    table[at, OUT_NAME_LOW] = state[NAME_LOW]
    table[at, OUT_NAME_HIGH] = state[NAME_HIGH]
    table[at, OUT_LOCATION] = location
    table[at, OUT_REASON] = reason
    table[at, OUT_PROTOCOL] = protocol
    if not same:
        state[PENDING] = waits + 1
        return row
    state[SKB] = 0
    return row + 1


@piece
def _settle(tables: Tables, row: int, tie: int) -> Any:
    """Give the waiting drops their tie; 0: there is no proof, and they are counted."""
    pending, out, state = tables.pending, tables.out, tables.state
    for at in range(np.int64(state[PENDING])):
        if tie == 0:
            location, reason = pending[at, OUT_LOCATION], pending[at, OUT_REASON]
            _count(location, reason, pending[at, OUT_PROTOCOL], tables.tally)
            continue
        for column in range(OUT):
            out[row, column] = pending[at, column]
        out[row, OUT_TIE] = tie
        row += 1
    state[PENDING] = 0
    return row


@piece
def _count(location: Any, reason: Any, protocol: Any, tally: Any) -> Any:
    """Count a drop that belongs to no frame."""
    last = len(tally) - 1
    for i in range(last):
        free = tally[i, TALLY_COUNT] == 0
        if free:
            tally[i, TALLY_LOCATION] = location
            tally[i, TALLY_REASON] = reason
            tally[i, TALLY_PROTOCOL] = protocol
        if free or (
            tally[i, TALLY_LOCATION] == location
            and tally[i, TALLY_REASON] == reason
            and tally[i, TALLY_PROTOCOL] == protocol
        ):
            tally[i, TALLY_COUNT] += 1
            return
    tally[last, TALLY_REASON] = NO_REASON
    tally[last, TALLY_COUNT] += 1


@piece
def _is_bridge(low: Any, high: Any, bridges: Longs) -> Any:
    """Whether a device is a bridge, by its name."""
    if low & _THREE_BYTES == _DOCKER_BRIDGE:
        return True
    known = False
    for i in range(len(bridges)):
        known = known or (bridges[i, 0] == low and bridges[i, 1] == high)
    return known


@piece
def _name(data: Bytes, record: Record, layout: Any) -> Any:
    """The name of a received frame's device, in two words."""
    start = record.start
    told = file32(data, start + layout[RECEIVE_NAME], False)
    at, size = told & 0xFFFF, min(told >> 16, 16)
    low, high = np.uint64(0), np.uint64(0)
    if at + size <= record.length:
        for i in range(size):
            byte = np.uint64(data[start + at + i])
            if byte == 0:
                break
            if i < 8:
                low |= byte << np.uint64(8 * i)
            else:
                high |= byte << np.uint64(8 * (i - 8))
    return low, high
