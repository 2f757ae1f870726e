"""For whom a packet waited that was dropped while its next hop was not resolved.

``kfree_skb`` names the reason alone (``NEIGH_QUEUEFULL``, ``NEIGH_FAILED``), and such a packet has
left by no interface. The kernel's next event on that CPU names the neighbour: net/core/neighbour.c
drops what a full queue cannot hold in __neigh_event_send() and ends with ``neigh_event_send_done``;
it drops what waited in vain in neigh_invalidate(), called by neigh_timer_handler(), which ends with
``neigh_timer_handler``. Both events tell the device and the address that was asked for.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.native.compiled import piece
from analyzer.native.loads import Bytes, file16, file32, native64
from analyzer.recorders.drops.page_layout import (
    FAILED,
    FAMILY,
    KEY4,
    KEY6,
    KEY_HIGH,
    KEY_LOW,
    NEIGHBOUR_COUNT,
    NEIGHBOUR_FAMILY,
    NEIGHBOUR_NAME_HIGH,
    NEIGHBOUR_NAME_LOW,
    NEIGHBOUR_REASON,
    QUEUE_FULL,
    SEND_ID,
    UNRESOLVED,
    UNRESOLVED_NS,
    UNRESOLVED_REASON,
)

SEND_DONE, TIMER = "events/neigh/neigh_event_send_done", "events/neigh/neigh_timer_handler"
NUD_INCOMPLETE, NUD_FAILED = 0x01, 0x20
"""states of a neighbour (linux/neighbour.h)"""
_AGE_NS = np.uint64(1_000_000)
"""both are done at once, with the softirq of that CPU held"""
_AF_INET = int(socket.AF_INET)

Longs = npt.NDArray[np.uint64]
Table = npt.NDArray[np.int64]


@piece
def wait_for_neighbour(reason: Any, now: Any, layout: Table, state: Longs) -> Any:
    """Note a drop whose neighbour the next event may name; whether it is such a one."""
    if reason != layout[QUEUE_FULL] and reason != layout[FAILED]:
        return False
    if reason != state[UNRESOLVED_REASON] or now - state[UNRESOLVED_NS] > _AGE_NS:
        state[UNRESOLVED] = 0
    state[UNRESOLVED] += 1
    state[UNRESOLVED_REASON], state[UNRESOLVED_NS] = reason, now
    return True


@piece
def name_neighbour(data: Bytes, start: int, now: Any, low: Any, high: Any, tables: Any) -> Any:
    """Take the event that names a neighbour; low, high: its device. The last row is for overflow.

    Only a sender's event tells of a full queue, and only a timer's of what waited in vain.
    """
    layout, state = tables.layout, tables.state
    count, reason = state[UNRESOLVED], state[UNRESOLVED_REASON]
    by_sender = file16(data, start, False) == layout[SEND_ID]
    fits = reason == np.uint64(layout[QUEUE_FULL] if by_sender else layout[FAILED])
    if count == 0 or not fits or now - state[UNRESOLVED_NS] > _AGE_NS:
        return
    state[UNRESOLVED] = 0
    family = np.uint64(file32(data, start + layout[NEIGHBOUR_FAMILY], False))
    if family == _AF_INET:
        key_low, key_high = np.uint64(file32(data, start + layout[KEY4], False)), np.uint64(0)
    else:
        key_low = native64(data, start + layout[KEY6])
        key_high = native64(data, start + layout[KEY6] + 8)
    table = tables.neighbours
    for i in range(len(table)):
        row = table[i]
        if row[NEIGHBOUR_COUNT] == 0:
            row[NEIGHBOUR_REASON], row[FAMILY] = reason, family
            row[NEIGHBOUR_NAME_LOW], row[NEIGHBOUR_NAME_HIGH] = low, high
            row[KEY_LOW], row[KEY_HIGH] = key_low, key_high
        same = row[NEIGHBOUR_REASON] == reason and row[FAMILY] == family
        same = same and row[NEIGHBOUR_NAME_LOW] == low and row[NEIGHBOUR_NAME_HIGH] == high
        if same and row[KEY_LOW] == key_low and row[KEY_HIGH] == key_high:
            row[NEIGHBOUR_COUNT] += count
            return


def name_neighbours(table: Longs, layout: Table, device: Any) -> dict[tuple[str, str, str], int]:
    """(reason, device, next hop) → packets; device: the name of two words."""
    names: Mapping[int, str] = {
        int(layout[QUEUE_FULL]): "NEIGH_QUEUEFULL",
        int(layout[FAILED]): "NEIGH_FAILED",
    }
    counts: dict[tuple[str, str, str], int] = {}
    for reason, low, high, family, key_low, key_high, count in table.tolist():
        if count:
            key = key_low.to_bytes(8, "little") + key_high.to_bytes(8, "little")
            address = ipaddress.ip_address(key[:4] if family == _AF_INET else key)
            counts[names[reason], device(low, high), str(address)] = count
    return counts
