"""IPv6 and its extension headers (RFC 8200; AH: RFC 4302; numbers: IANA)."""

from __future__ import annotations

from typing import Any

from analyzer.decode.columns import (
    DST_HI,
    DST_LO,
    FRAGMENT_OFFSET,
    IP_ID,
    IP_LEN,
    IP_VERSION,
    PROTOCOL,
    SRC_HI,
    SRC_LO,
    TTL,
    Out,
)
from analyzer.model.frames import (
    MARK_FRAGMENT,
    MARK_MALFORMED,
    MARK_MORE_FRAGMENTS,
    MARK_TRUNCATED,
    NO_PROTOCOL,
)
from analyzer.native.compiled import piece
from analyzer.native.loads import Bytes, be16, be32, be64

IPV6_HEADER = 40
PAYLOAD_LENGTH, NEXT_HEADER, HOP_LIMIT, SOURCE, DESTINATION = 4, 6, 7, 8, 24
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, NO_NEXT = 0, 43, 44, 51, 59
DESTINATION_OPTIONS, MOBILITY, HIP, SHIM6 = 60, 135, 139, 140
_EXTENSIONS = (
    HOP_BY_HOP,
    ROUTING,
    FRAGMENT,
    AUTHENTICATION,
    DESTINATION_OPTIONS,
    MOBILITY,
    HIP,
    SHIM6,
)
_MIN_EXTENSION = 8
_OFFSET = 0xFFF8
"""of the fragment header's second word: in bytes as it stands"""


@piece
def parse_ipv6(data: Bytes, at: int, end: int, wire: int, row: int, out: Out) -> Any:
    """(l4, l4_len, marks): l4_len bytes from l4 on, on the wire; l4 is -1 where no header is.

    A payload length of 0 is that of a jumbogram (RFC 2675) or of a frame that a device is to
    cut (BIG TCP): then ``wire``, the bytes from ``at`` on, tells the length.
    """
    if end - at < IPV6_HEADER:
        return -1, 0, MARK_TRUNCATED
    if data[at] >> 4 != 6:
        return -1, 0, MARK_MALFORMED
    payload = be16(data, at + PAYLOAD_LENGTH)
    jumbo = payload == 0 and data[at + NEXT_HEADER] != NO_NEXT
    told = IPV6_HEADER + payload
    length = wire if jumbo else min(told, wire)
    out.u32[IP_LEN, row] = 0 if jumbo else told
    out.u64[SRC_HI, row] = be64(data, at + SOURCE)
    out.u64[SRC_LO, row] = be64(data, at + SOURCE + 8)
    out.u64[DST_HI, row] = be64(data, at + DESTINATION)
    out.u64[DST_LO, row] = be64(data, at + DESTINATION + 8)
    out.u8[IP_VERSION, row] = 6
    out.u8[TTL, row] = data[at + HOP_LIMIT]
    l4, marks = _skip_extensions(data, at, min(end, at + length), length > end - at, row, out)
    if (told > wire and not jumbo) or length < IPV6_HEADER:
        marks |= MARK_MALFORMED
    return l4, max(at + length - l4, 0), marks


@piece
def _skip_extensions(data: Bytes, at: int, stop: int, cut: bool, row: int, out: Out) -> Any:
    """(l4, marks). A header that does not fit is TRUNCATED where the capture is ``cut``."""
    marks = 0
    next_header = int(data[at + NEXT_HEADER])
    at += IPV6_HEADER
    while next_header in _EXTENSIONS and not marks & MARK_FRAGMENT:
        size = _extension_size(data, at, stop, next_header)
        if size == 0:
            out.u8[PROTOCOL, row] = NO_PROTOCOL
            return at, marks | (MARK_TRUNCATED if cut else MARK_MALFORMED)
        if next_header == FRAGMENT:
            marks |= _fill_fragment(data, at, row, out)
        next_header = int(data[at])
        at += size
    out.u8[PROTOCOL, row] = next_header
    return at, marks


@piece
def _extension_size(data: Bytes, at: int, stop: int, kind: int) -> Any:
    """Bytes of the extension header there; 0 where it does not fit."""
    if stop - at < _MIN_EXTENSION:
        return 0
    size = (int(data[at + 1]) + 1) * 8
    if kind == FRAGMENT:
        size = 8
    elif kind == AUTHENTICATION:
        size = (int(data[at + 1]) + 2) * 4
    return size if size <= stop - at else 0


@piece
def _fill_fragment(data: Bytes, at: int, row: int, out: Out) -> Any:
    word = be16(data, at + 2)
    out.u16[FRAGMENT_OFFSET, row] = word & _OFFSET
    out.u32[IP_ID, row] = be32(data, at + 4)
    more = MARK_MORE_FRAGMENTS if word & 1 else 0
    return (MARK_FRAGMENT if word & _OFFSET else 0) | more
