"""IPv4 (RFC 791)."""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.decode.columns import (
    DST_LO,
    FRAGMENT_OFFSET,
    IP_ID,
    IP_LEN,
    IP_VERSION,
    PROTOCOL,
    SRC_LO,
    TTL,
    Out,
)
from analyzer.decode.options import options_contradict
from analyzer.model.frames import (
    MARK_FRAGMENT,
    MARK_MALFORMED,
    MARK_MORE_FRAGMENTS,
    MARK_TRUNCATED,
)
from analyzer.native.compiled import piece
from analyzer.native.loads import Bytes, be16, be32
from analyzer.net.ip import MAPPED

IPV4_HEADER = 20
TOTAL_LENGTH, IDENTIFICATION, FRAGMENT, TIME_TO_LIVE, PROTOCOL_AT = 2, 4, 6, 8, 9
SOURCE, DESTINATION = 12, 16
_MORE_FRAGMENTS = 0x2000
_OFFSET = 0x1FFF


@piece
def parse_ipv4(data: Bytes, at: int, end: int, wire: int, row: int, out: Out) -> Any:
    """(l4, l4_len, marks): l4_len bytes from l4 on, on the wire; l4 is -1 where no header is.

    wire: bytes from ``at`` on, on the wire: the length where the header says 0, as it does in
    frames larger than 64 KiB that a device is to cut (GSO).
    """
    if end - at < IPV4_HEADER:
        return -1, 0, MARK_TRUNCATED
    header = (data[at] & 0x0F) * 4
    if data[at] >> 4 != 4 or header < IPV4_HEADER:
        return -1, 0, MARK_MALFORMED
    total = be16(data, at + TOTAL_LENGTH)
    marks = _fill(data, at, total, row, out)
    length = min(total, wire) if total else wire
    if length < header or total > wire:
        marks |= MARK_MALFORMED
    if end - at < header:
        marks |= MARK_TRUNCATED
    elif options_contradict(data, at + IPV4_HEADER, at + header):
        marks |= MARK_MALFORMED
    return at + header, max(length - header, 0), marks


@piece
def _fill(data: Bytes, at: int, total: int, row: int, out: Out) -> Any:
    fragment = be16(data, at + FRAGMENT)
    offset = (fragment & _OFFSET) * 8
    out.u32[IP_LEN, row] = total
    out.u32[IP_ID, row] = be16(data, at + IDENTIFICATION)
    out.u16[FRAGMENT_OFFSET, row] = offset
    out.u64[SRC_LO, row] = np.uint64(MAPPED | be32(data, at + SOURCE))
    out.u64[DST_LO, row] = np.uint64(MAPPED | be32(data, at + DESTINATION))
    out.u8[IP_VERSION, row] = 4
    out.u8[TTL, row] = data[at + TIME_TO_LIVE]
    out.u8[PROTOCOL, row] = data[at + PROTOCOL_AT]
    more = MARK_MORE_FRAGMENTS if fragment & _MORE_FRAGMENTS else 0
    return (MARK_FRAGMENT if offset else 0) | more
