"""Are TCP's and UDP's checksums right, wrong, or not finished yet (RFC 1071, 9293, 768)?

A sender on this machine leaves its checksum to the device, and a veth has none: so on veths it
stays as the stack left it, the sum over the pseudo header alone. The kernel marks such frames
(TP_STATUS_CSUMNOTREADY), and where a file has no marks the value itself tells. That is no fault.
What is neither right nor unfinished is corrupt, and the receiver's kernel drops it.

Looked at are short UDP packets, a quarter of short TCP segments, a sixteenth of what is longer,
each at all vantages or none, and nothing that the snaplen cut. Marked frames are all counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.decode.rows import Columns, view_of
from analyzer.model.frames import (
    FLAG_CSUM_NOT_READY,
    MARK_FRAGMENT,
    MARK_MALFORMED,
    MARK_MORE_FRAGMENTS,
    MARK_TRUNCATED,
    FrameChunk,
)
from analyzer.native.compiled import compiled, piece
from analyzer.native.loads import Bytes, be16, be32
from analyzer.net.ip import TCP, UDP

UNKNOWN, RIGHT, UNFINISHED, WRONG = range(4)
SHORT = 256
"""bytes from the L4 header on"""
_LONG, _STREAM = np.uint64(15), np.uint64(3)
"""of what is longer, and of TCP, which has many segments, each 16th and each 4th is looked at"""
_NO_SUM = MARK_FRAGMENT | MARK_MORE_FRAGMENTS | MARK_MALFORMED | MARK_TRUNCATED
_TCP_SUM, _UDP_SUM, _DATA_OFFSET = 16, 6, 12
_IPV6_HEADER, _NEXT_HEADER = 40, 6


def checksum_states(chunk: FrameChunk, columns: Columns) -> npt.NDArray[np.uint8]:
    """[n] UNKNOWN, RIGHT, UNFINISHED or WRONG; UNKNOWN also where it was not looked at."""
    states = np.zeros(len(chunk), np.uint8)
    _judge(
        view_of(chunk),
        chunk.offset,
        chunk.caplen,
        chunk.wirelen,
        chunk.flags,
        columns["protocol"],
        columns["marks"],
        columns["ip_version"],
        columns["l4_offset"],
        columns["payload_len"],
        columns["l3key"],
        tuple(columns[name] for name in ("src_hi", "src_lo", "dst_hi", "dst_lo")),
        states,
    )
    return states


@compiled
def _judge(
    data: Any,
    offset: Any,
    caplen: Any,
    wirelen: Any,
    flags: Any,
    protocol: Any,
    marks: Any,
    version: Any,
    l4_offset: Any,
    payload: Any,
    key: Any,
    ends: Any,
    states: Any,
) -> None:
    for row in range(len(states)):
        kind = protocol[row]
        if (kind != TCP and kind != UDP) or marks[row] & _NO_SUM or l4_offset[row] == 0:
            continue
        if flags[row] & FLAG_CSUM_NOT_READY:
            states[row] = UNFINISHED
            continue
        size = np.int64(caplen[row]) - np.int64(l4_offset[row])
        rest = _LONG if size > SHORT else (_STREAM if kind == TCP else np.uint64(0))
        if caplen[row] < wirelen[row] or key[row] & rest:
            continue
        at = offset[row] + np.int64(l4_offset[row])
        stop = at + size
        if at + 20 > stop and (kind == TCP or at + 8 > stop):
            continue
        head = np.int64(data[at + _DATA_OFFSET] >> 4) * 4 if kind == TCP else np.int64(8)
        length = head + np.int64(payload[row])
        told = be16(data, at + (_TCP_SUM if kind == TCP else _UDP_SUM))
        plain = version[row] == 4 or (
            l4_offset[row] >= _IPV6_HEADER and data[at - _IPV6_HEADER + _NEXT_HEADER] == kind
        )
        if told == 0 or not plain or length >= 1 << 16:
            continue
        pseudo = _pseudo(row, ends, np.int64(kind), length)
        if _folded(pseudo) == told:
            states[row] = UNFINISHED
        elif at + length <= stop:
            total = _folded(_sum(data, at, at + length, pseudo))
            states[row] = RIGHT if total == 0xFFFF else WRONG


@piece
def _pseudo(row: int, ends: Any, kind: Any, length: Any) -> Any:
    """Addresses, protocol and length; IPv4's are the low halves of ::ffff:a.b.c.d."""
    src_hi, src_lo, dst_hi, dst_lo = ends
    total = np.int64(kind) + length
    mapped = src_hi[row] == 0 and src_lo[row] >> np.uint64(32) == np.uint64(0xFFFF)
    for low in (src_lo[row], dst_lo[row]):
        total += np.int64(low & np.uint64(0xFFFF)) + np.int64(
            (low >> np.uint64(16)) & np.uint64(0xFFFF)
        )
        if not mapped:
            total += np.int64((low >> np.uint64(32)) & np.uint64(0xFFFF)) + np.int64(
                low >> np.uint64(48)
            )
    if not mapped:
        for high in (src_hi[row], dst_hi[row]):
            for shift in (0, 16, 32, 48):
                total += np.int64((high >> np.uint64(shift)) & np.uint64(0xFFFF))
    return total


@piece
def _sum(data: Bytes, at: int, stop: int, total: Any) -> Any:
    """In words of 32 bits, which come to the same in ones' complement."""
    while at + 4 <= stop:
        total += be32(data, at)
        at += 4
    if at + 2 <= stop:
        total += be16(data, at)
        at += 2
    if at < stop:
        total += np.int64(data[at]) << 8
    return total


@piece
def _folded(total: Any) -> Any:
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total
