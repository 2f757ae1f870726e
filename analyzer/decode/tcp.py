"""TCP (RFC 9293)."""

from __future__ import annotations

from typing import Any

from analyzer.decode.columns import (
    DST_PORT,
    PAYLOAD_LEN,
    SRC_PORT,
    TCP_ACK,
    TCP_FLAGS,
    TCP_SEQ,
    TCP_WINDOW,
    Out,
)
from analyzer.decode.options import options_contradict
from analyzer.model.frames import MARK_MALFORMED, MARK_TRUNCATED
from analyzer.native.compiled import piece
from analyzer.native.loads import Bytes, be16, be32

TCP_HEADER = 20
_SEQ, _ACK, _DATA_OFFSET, _FLAGS, _WINDOW = 4, 8, 12, 13, 14


@piece
def parse_tcp(data: Bytes, at: int, stop: int, length: int, row: int, out: Out) -> Any:
    """marks. length: bytes from ``at`` on, on the wire; data ends at ``stop``."""
    if stop - at < TCP_HEADER:
        _fill_start(data, at, stop, row, out)
        return MARK_MALFORMED if length < TCP_HEADER else MARK_TRUNCATED
    out.u16[SRC_PORT, row] = be16(data, at)
    out.u16[DST_PORT, row] = be16(data, at + 2)
    out.u32[TCP_SEQ, row] = be32(data, at + _SEQ)
    out.u32[TCP_ACK, row] = be32(data, at + _ACK)
    out.u8[TCP_FLAGS, row] = data[at + _FLAGS]
    out.u16[TCP_WINDOW, row] = be16(data, at + _WINDOW)
    header = (data[at + _DATA_OFFSET] >> 4) * 4
    if header < TCP_HEADER or header > length:
        return MARK_MALFORMED
    out.u32[PAYLOAD_LEN, row] = length - header
    if stop - at < header:
        return MARK_TRUNCATED
    return MARK_MALFORMED if options_contradict(data, at + TCP_HEADER, at + header) else 0


@piece
def _fill_start(data: Bytes, at: int, stop: int, row: int, out: Out) -> None:
    """Of a header that is cut: ports and sequence number where they are there."""
    if stop - at >= 4:
        out.u16[SRC_PORT, row] = be16(data, at)
        out.u16[DST_PORT, row] = be16(data, at + 2)
    if stop - at >= _ACK:
        out.u32[TCP_SEQ, row] = be32(data, at + _SEQ)
