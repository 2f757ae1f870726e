"""ICMP (RFC 792) and ICMPv6 (RFC 4443): type, code, and what identifies a query."""

from __future__ import annotations

from typing import Any

from analyzer.decode.columns import (
    ICMP_CODE,
    ICMP_ID,
    ICMP_SEQ,
    ICMP_TYPE,
    PAYLOAD_LEN,
    Out,
)
from analyzer.model.frames import MARK_MALFORMED, MARK_TRUNCATED
from analyzer.native.compiled import piece
from analyzer.native.loads import Bytes, be16
from analyzer.net.icmp import QUERIES, QUERIES_V6
from analyzer.net.ip import ICMPV6

ICMP_HEADER = 8
_MIN_HEADER = 4


@piece
def is_query(protocol: Any, kind: Any) -> Any:
    """Whether an identifier and a sequence number follow the checksum (NAT changes the first)."""
    return kind in QUERIES_V6 if protocol == ICMPV6 else kind in QUERIES


@piece
def parse_icmp(
    data: Bytes, at: int, stop: int, length: int, protocol: Any, row: int, out: Out
) -> Any:
    """marks. length: bytes from ``at`` on, on the wire; data ends at ``stop``."""
    out.u32[PAYLOAD_LEN, row] = max(length - ICMP_HEADER, 0)
    if stop - at >= 2:
        out.u8[ICMP_TYPE, row] = data[at]
        out.u8[ICMP_CODE, row] = data[at + 1]
        if is_query(protocol, data[at]):
            if stop - at >= 6:
                out.u16[ICMP_ID, row] = be16(data, at + 4)
            if stop - at >= ICMP_HEADER:
                out.u16[ICMP_SEQ, row] = be16(data, at + 6)
            elif length < ICMP_HEADER:
                return MARK_MALFORMED
    if length < _MIN_HEADER:
        return MARK_MALFORMED
    return MARK_TRUNCATED if stop - at < min(length, ICMP_HEADER) else 0
