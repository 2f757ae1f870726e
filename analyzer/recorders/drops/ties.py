"""Which frame a drop belongs to: what the walk over the trace ring makes of each record.

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
somebody else is flooded. What waited for its next hop's MAC is none of the frame in hand either: it
is the oldest that waited.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from analyzer.native.compiled import piece
from analyzer.native.loads import Bytes, file16, file32, native64
from analyzer.recorders.drops.neighbours import name_neighbour, wait_for_neighbour
from analyzer.recorders.drops.page_layout import (
    ANSWER,
    COPY,
    EXIT_ID,
    EXIT_VECTOR,
    KFREE_FLAGS,
    KFREE_ID,
    KFREE_LOCATION,
    KFREE_PROTOCOL,
    KFREE_REASON,
    KFREE_SKB,
    LEN,
    MOST_PENDING,
    MOST_WORK_NS,
    NAME_HIGH,
    NAME_LOW,
    NEIGHBOUR_DEVICE,
    NO_REASON,
    OUT,
    OUT_LEN,
    OUT_LOCATION,
    OUT_NAME_HIGH,
    OUT_NAME_LOW,
    OUT_PROTOCOL,
    OUT_REASON,
    OUT_SEEN,
    OUT_TIE,
    OUT_TS,
    PENDING,
    RECEIVE_ID,
    RECEIVE_LEN,
    RECEIVE_NAME,
    RECEIVE_SKB,
    RECEIVED,
    SAME,
    SEEN_NS,
    SEND_ID,
    SKB,
    TALLY_COUNT,
    TALLY_LOCATION,
    TALLY_PROTOCOL,
    TALLY_REASON,
    TIMER_ID,
    WHOLE,
)

_HARDIRQ, _SOFTIRQ = 0x08, 0x10
"""of common_flags (trace_events.h)"""
_DOCKER_BRIDGE = np.uint64(int.from_bytes(b"br-", "little"))
_THREE_BYTES = np.uint64(0xFFFFFF)
"""so Docker calls the bridges of networks, those that are made later as well"""
_NET_RX = 3
"""number of the softirq that receives (linux/interrupt.h)"""
_AGE_NS = np.uint64(MOST_WORK_NS)


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
    neighbours: Longs
    """[k, NEIGHBOUR] for whom dropped packets waited"""


class Record(NamedTuple):
    """One event of a page."""

    start: int
    """of its data"""
    length: int
    now: Any
    """when, ns on the trace's clock"""


@piece
def take_record(data: Bytes, record: Record, tables: Tables, row: int) -> Any:
    """One record; returns the row behind those that are filled."""
    start, layout, state = record.start, tables.layout, tables.state
    event = file16(data, start, False)
    if event == layout[RECEIVE_ID]:
        state[RECEIVED] += 1
        low, high = _name(data, record, layout[RECEIVE_NAME])
        same = native64(data, start + layout[RECEIVE_SKB]) == state[SKB] and state[SKB] != 0
        if same and _is_bridge(low, high, tables.bridges):
            return settle(tables, row, COPY)
        row = settle(tables, row, ANSWER if state[WHOLE] else 0)
        state[SEEN_NS] = record.now
        state[SKB] = native64(data, start + layout[RECEIVE_SKB])
        state[LEN] = file32(data, start + layout[RECEIVE_LEN], False)
        state[NAME_LOW], state[NAME_HIGH] = low, high
        return row
    if event == layout[EXIT_ID]:
        if file32(data, start + layout[EXIT_VECTOR], False) == _NET_RX:
            row = settle(tables, row, ANSWER if state[WHOLE] else 0)
            state[SKB] = 0
        return row
    if event == layout[SEND_ID] or event == layout[TIMER_ID]:
        low, high = _name(data, record, layout[NEIGHBOUR_DEVICE])
        name_neighbour(data, start, record.now, low, high, tables)
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
    waited = wait_for_neighbour(reason, record.now, layout, state)
    if waited or state[SKB] == 0 or not in_softirq or late or (waits == MOST_PENDING and not same):
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
def settle(tables: Tables, row: int, tie: int) -> Any:
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
    is_bridge = False
    for i in range(len(bridges)):
        is_bridge = is_bridge or (bridges[i, 0] == low and bridges[i, 1] == high)
    return is_bridge


@piece
def _name(data: Bytes, record: Record, field_at: int) -> Any:
    """The name of a device, in two words; field_at: where the record tells its place."""
    start = record.start
    field = file32(data, start + field_at, False)
    at, size = field & 0xFFFF, min(field >> 16, 16)
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
