"""UDP (RFC 768)."""

from __future__ import annotations

from typing import Any

from analyzer.decode.columns import DST_PORT, PAYLOAD_LEN, SRC_PORT, Out
from analyzer.model.frames import MARK_MALFORMED, MARK_TRUNCATED
from analyzer.native.compiled import piece
from analyzer.native.loads import Bytes, be16

UDP_HEADER = 8
_LENGTH = 4


@piece
def parse_udp(
    data: Bytes, at: int, stop: int, length: int, fragmented: bool, row: int, out: Out
) -> Any:
    """marks. length: bytes from ``at`` on, on the wire; data ends at ``stop``.

    A first fragment's length field tells the whole datagram; 0 is a jumbogram's (RFC 2675).
    """
    if stop - at >= 4:
        out.u16[SRC_PORT, row] = be16(data, at)
        out.u16[DST_PORT, row] = be16(data, at + 2)
    if length < UDP_HEADER:
        return MARK_MALFORMED
    out.u32[PAYLOAD_LEN, row] = length - UDP_HEADER
    if stop - at < UDP_HEADER:
        return MARK_TRUNCATED
    datagram = be16(data, at + _LENGTH)
    if datagram == 0 or fragmented:
        return 0
    if datagram < UDP_HEADER or datagram > length:
        return MARK_MALFORMED
    out.u32[PAYLOAD_LEN, row] = datagram - UDP_HEADER
    return 0
