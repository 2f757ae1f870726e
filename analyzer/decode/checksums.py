"""Are TCP's and UDP's checksums right, wrong, or not finished yet (RFC 1071, 9293, 768)?

A sender on this machine leaves its checksum to the device, and a veth has none: so on veths it
stays as the stack left it, the sum over the pseudo header alone. The kernel marks such frames
(TP_STATUS_CSUMNOTREADY), and where a file has no marks the value itself tells. That is no fault.
What is neither right nor unfinished is corrupt, and the receiver's kernel drops it.

Looked at are short UDP packets, a quarter of short TCP segments, a sixteenth of what is longer,
each at all vantages or none. Marked frames are all counted. Of a frame that was cut, only whether
its checksum is unfinished can be told: that asks for its headers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.decode.ipv6 import IPV6_HEADER, NEXT_HEADER
from analyzer.decode.rows import ChunkFrames, Columns, chunk_frames
from analyzer.decode.tcp import TCP_HEADER
from analyzer.decode.udp import UDP_HEADER
from analyzer.model.bundles import bundle
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


class _Headers(NamedTuple):
    """What was decoded of the frames; [frames] of each, see `analyzer.model.frames.DECODED`."""

    protocol: npt.NDArray[np.uint8]
    marks: npt.NDArray[np.uint8]
    ip_version: npt.NDArray[np.uint8]
    l4_offset: npt.NDArray[np.uint16]
    payload_len: npt.NDArray[np.uint32]
    l3key: npt.NDArray[np.uint64]
    src_hi: npt.NDArray[np.uint64]
    src_lo: npt.NDArray[np.uint64]
    dst_hi: npt.NDArray[np.uint64]
    dst_lo: npt.NDArray[np.uint64]


def checksum_states(chunk: FrameChunk, columns: Columns) -> npt.NDArray[np.uint8]:
    """[n] UNKNOWN, RIGHT, UNFINISHED or WRONG; UNKNOWN also where it was not looked at."""
    states = np.zeros(len(chunk), np.uint8)
    _judge(chunk_frames(chunk), bundle(_Headers, columns), states)
    return states


@compiled
def _judge(frames: ChunkFrames, headers: _Headers, states: npt.NDArray[np.uint8]) -> None:
    for row in range(len(states)):
        protocol = headers.protocol[row]
        if (protocol != TCP and protocol != UDP) or headers.marks[row] & _NO_SUM:
            continue
        if headers.l4_offset[row] == 0:
            continue
        if frames.flags[row] & FLAG_CSUM_NOT_READY:
            states[row] = UNFINISHED
        elif _is_sampled(frames, headers, row):
            states[row] = _state(frames.data, _segment(frames, headers, row), headers, row)


class _Segment(NamedTuple):
    """A TCP segment or UDP datagram in a chunk's bytes."""

    at: np.int64
    stop: np.int64
    """its captured bytes"""
    length: np.int64
    """bytes of it on the wire, as its headers tell; 0: its header is not whole"""


@piece
def _is_sampled(frames: ChunkFrames, headers: _Headers, row: int) -> Any:
    """Whether the frame is one of those that are looked at."""
    size = np.int64(frames.wirelen[row]) - np.int64(headers.l4_offset[row])
    rest = _LONG if size > SHORT else (_STREAM if headers.protocol[row] == TCP else np.uint64(0))
    return headers.l3key[row] & rest == 0


@piece
def _segment(frames: ChunkFrames, headers: _Headers, row: int) -> Any:
    at = frames.offset[row] + np.int64(headers.l4_offset[row])
    stop = frames.offset[row] + np.int64(frames.caplen[row])
    size = np.int64(UDP_HEADER)
    if headers.protocol[row] == TCP and at + TCP_HEADER <= stop:
        size = np.int64(frames.data[at + _DATA_OFFSET] >> 4) * 4
    least = TCP_HEADER if headers.protocol[row] == TCP else UDP_HEADER
    length = size + np.int64(headers.payload_len[row]) if at + least <= stop else np.int64(0)
    return _Segment(at, stop, length)


@piece
def _state(data: Bytes, segment: _Segment, headers: _Headers, row: int) -> Any:
    at, stop, length = segment
    protocol = headers.protocol[row]
    if length == 0 or length >= 1 << 16:
        return UNKNOWN
    checksum = be16(data, at + (_TCP_SUM if protocol == TCP else _UDP_SUM))
    plain = headers.ip_version[row] == 4 or (
        headers.l4_offset[row] >= IPV6_HEADER and data[at - IPV6_HEADER + NEXT_HEADER] == protocol
    )
    if checksum == 0 or not plain:
        return UNKNOWN
    pseudo = _pseudo(headers, row, length)
    if _folded(pseudo) == checksum:
        return UNFINISHED
    if at + length > stop:
        return UNKNOWN
    return RIGHT if _folded(_sum(data, at, at + length, pseudo)) == 0xFFFF else WRONG


@piece
def _pseudo(headers: _Headers, row: int, length: Any) -> Any:
    """Addresses, protocol and length; IPv4's are the low halves of ::ffff:a.b.c.d."""
    src_hi, src_lo = headers.src_hi[row], headers.src_lo[row]
    dst_hi, dst_lo = headers.dst_hi[row], headers.dst_lo[row]
    total = np.int64(headers.protocol[row]) + length
    mapped = src_hi == 0 and src_lo >> np.uint64(32) == np.uint64(0xFFFF)
    for low in (src_lo, dst_lo):
        total += np.int64(low & np.uint64(0xFFFF)) + np.int64(
            (low >> np.uint64(16)) & np.uint64(0xFFFF)
        )
        if not mapped:
            total += np.int64((low >> np.uint64(32)) & np.uint64(0xFFFF)) + np.int64(
                low >> np.uint64(48)
            )
    if not mapped:
        for high in (src_hi, dst_hi):
            for shift in (0, 16, 32, 48):
                total += np.int64((high >> np.uint64(shift)) & np.uint64(0xFFFF))
    return total


@piece
def _sum(data: Bytes, at: Any, stop: Any, total: Any) -> Any:
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
