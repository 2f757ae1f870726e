"""ICMP (RFC 792) and ICMPv6 (RFC 4443): type, code, and what identifies a query."""

from __future__ import annotations

from typing import Any

from numba import njit

from analyzer.decode.columns import (
    ICMP_CODE,
    ICMP_ID,
    ICMP_SEQ,
    ICMP_TYPE,
    PAYLOAD_LEN,
    Out,
)
from analyzer.loads import Bytes, be16
from analyzer.model.frames import MARK_MALFORMED, MARK_TRUNCATED

ICMP, ICMPV6 = 1, 58
ICMP_HEADER = 8
_MIN_HEADER = 4
_ECHO_REPLY, _ECHO = 0, 8
_TIMESTAMP, _ADDRESS_MASK_REPLY = 13, 18
"""13 to 18: timestamp, information and address mask, each request and reply (RFC 792, 950)"""
_V6_ECHO_REQUEST, _V6_ECHO_REPLY = 128, 129


@njit(nogil=True)
def is_query(protocol: Any, kind: Any) -> Any:
    """Whether an identifier and a sequence number follow the checksum (NAT changes the first)."""
    if protocol == ICMPV6:
        return kind in (_V6_ECHO_REQUEST, _V6_ECHO_REPLY)
    return kind in (_ECHO_REPLY, _ECHO) or _TIMESTAMP <= kind <= _ADDRESS_MASK_REPLY


@njit(nogil=True)
def parse_icmp(
    data: Bytes, at: int, stop: int, length: int, protocol: Any, row: int, out: Out
) -> Any:
    """marks. length: bytes from ``at`` on, on the wire; data ends at ``stop``."""
    out.u32[PAYLOAD_LEN, row] = max(length - ICMP_HEADER, 0)
    if stop - at < 2:
        return MARK_MALFORMED if length < _MIN_HEADER else MARK_TRUNCATED
    out.u8[ICMP_TYPE, row] = data[at]
    out.u8[ICMP_CODE, row] = data[at + 1]
    if is_query(protocol, data[at]):
        if stop - at < ICMP_HEADER:
            return MARK_MALFORMED if length < ICMP_HEADER else MARK_TRUNCATED
        out.u16[ICMP_ID, row] = be16(data, at + 4)
        out.u16[ICMP_SEQ, row] = be16(data, at + 6)
    return MARK_MALFORMED if length < _MIN_HEADER else 0
