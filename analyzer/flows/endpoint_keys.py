"""What tells one end of a frame from another, as one key, and of what kind addresses are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.native.compiled import compiled
from analyzer.native.keys import mix
from analyzer.net.ip import MAPPED, address_value


class EndpointColumns(NamedTuple):
    """What a name depends on, of each frame."""

    vantage: npt.NDArray[np.int32]
    ts_ns: npt.NDArray[np.int64]
    mac: npt.NDArray[np.uint64]
    version: npt.NDArray[np.uint8]
    """of IP"""
    hi: npt.NDArray[np.uint64]
    """of the address"""
    lo: npt.NDArray[np.uint64]


@compiled
def fill_keys(
    rows: Any, columns: EndpointColumns, segment: Any, passes: Any, changes: Any, keys: Any
) -> None:
    """One key an endpoint: of its segment, door, MAC, IP version and address, between changes.

    segment: [v]. passes: door [rows], and whether it sends. changes: in order, the first is 0.
    """
    at = 0
    door, sends = passes
    side = np.uint64(256 if sends else 0)
    for k in range(len(rows)):
        i = rows[k]
        while columns.ts_ns[i] < changes[at] and at > 0:
            at -= 1
        while at + 1 < len(changes) and columns.ts_ns[i] >= changes[at + 1]:
            at += 1
        where = np.uint64(segment[columns.vantage[i]]) << np.uint64(32) | np.uint64(door[k])
        where = mix(where, changes[at]) ^ np.uint64(columns.version[i]) ^ side
        keys[k] = mix(mix(columns.mac[i], where), mix(columns.hi[i], columns.lo[i]))


def is_link_scoped(hi: int, lo: int) -> bool:
    """Unspecified or link-local: an address that no router passes on (RFC 4291, RFC 3927)."""
    v4_link_local = lo >> 16 == (MAPPED | 169 << 24 | 254 << 16) >> 16
    return hi >> 54 == 0xFE80 >> 6 or (hi == 0 and (lo in (0, MAPPED) or v4_link_local))


def is_address(text: str) -> bool:
    try:
        address_value(text)
    except ValueError:
        return False
    return True
