"""Packet blocks with ``epb_packetid`` and a comment more (draft-ietf-opsawg-pcapng), in one loop.

A pcapng is copied block by block, whatever is in it, in its own byte order; only packet blocks
get options. The format's obsolete packet block becomes an enhanced one, and a simple one, which
cannot have options, stays as it is. What comes from a pcap is written anew.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.model.frames import FrameChunk
from analyzer.native.compiled import compiled, piece
from analyzer.native.loads import Bytes, file16, file32
from analyzer.native.padding import padded_in_loop

_SECTION = 0x0A0D0D0A
OBSOLETE, SIMPLE, ENHANCED = 2, 3, 6
"""types of packet blocks"""
COMMENT, _PACKETID, END = 1, 5, 0
HEAD, TAIL, _MIN_BLOCK = 28, 4, 12
"""bytes of an Enhanced Packet Block before its data and behind its options"""
_ROOM = 32
"""bytes that a packet's options need besides the comment's own"""
_BIG = sys.byteorder == "big"
DONE, SECTION, MORE = 0, 1, 2
"""why `scan` stopped: enough blocks; a section begins; the next block is not all there"""


class Notes(NamedTuple):
    """What is put on n frames."""

    packet: npt.NDArray[np.int64]
    """[n] epb_packetid; negative: neither that nor a comment"""
    end: npt.NDArray[np.int64]
    """[n] of each comment in ``text``"""
    text: Bytes
    """all comments one behind the other, UTF-8"""


class _Frames(NamedTuple):
    """n frames of a chunk: columns of `FrameChunk`."""

    offset: npt.NDArray[np.int64]
    """[n] of the frame in the chunk's bytes"""
    caplen: npt.NDArray[np.uint32]
    """[n]"""
    wirelen: npt.NDArray[np.uint32]
    """[n]"""
    ts_ns: npt.NDArray[np.int64]
    """[n]"""
    interface: npt.NDArray[np.int32]
    """[n]"""


def annotate(data: Bytes, start: int, stop: int, swapped: bool, notes: Notes) -> Bytes:
    """The blocks data[start:stop] (as `scan` found them), their packets with notes."""
    out = np.empty(stop - start + _ROOM * len(notes.packet) + len(notes.text), np.uint8)
    size = _copy_blocks(data, start, stop, swapped, notes, out)
    return out[:size]


def build_blocks(chunk: FrameChunk, notes: Notes) -> Bytes:
    """Enhanced packet blocks of a chunk's frames: nanoseconds, this machine's byte order."""
    size = int(chunk.caplen.sum(dtype=np.int64)) + (HEAD + 8 + _ROOM) * len(chunk)
    out = np.empty(size + len(notes.text), np.uint8)
    frames = _Frames(chunk.offset, chunk.caplen, chunk.wirelen, chunk.ts_ns, chunk.interface)
    return out[: _build(chunk.buffer, frames, notes, out)]


@compiled
def scan(data: Any, start: Any, limit: Any, swapped: Any, most: Any) -> Any:
    """(stop, packets, why) of the whole blocks from ``start`` on.

    limit: no block may end behind it; most: blocks. A section header is taken only as the first
    block, since its byte order may be another.
    """
    position: Any = np.int64(start)
    packets = 0
    for number in range(most):
        if limit - position < _MIN_BLOCK:
            return position, packets, MORE
        kind = file32(data, position, swapped)
        if kind == _SECTION and number:
            return position, packets, SECTION
        length = file32(data, position + 4, swapped)
        if length < _MIN_BLOCK or length > limit - position:
            return position, packets, MORE
        packets += kind in (ENHANCED, OBSOLETE, SIMPLE)
        position += length
    return position, packets, DONE


@piece
def put16(out: Any, at: Any, value: Any, big: Any) -> Any:
    out[at + (1 if big else 0)] = value & 0xFF
    out[at + (0 if big else 1)] = (value >> 8) & 0xFF


@piece
def put32(out: Any, at: Any, value: Any, big: Any) -> Any:
    for k in range(4):
        out[at + (3 - k if big else k)] = (value >> (8 * k)) & 0xFF


@piece
def put_bytes(out: Any, at: Any, data: Any, start: Any, stop: Any) -> Any:
    """Copy, padded to 32 bits; returns where it goes on."""
    for k in range(stop - start):
        out[at + k] = data[start + k]
    at += stop - start
    while at & 3:
        out[at] = 0
        at += 1
    return at


@piece
def _put_notes(out: Any, at: Any, row: Any, notes: Notes, big: Any) -> Any:
    """The packet id, the comment and the end of the options; returns where it goes on."""
    packet, start, stop = notes.packet[row], notes.end[row - 1] if row else 0, notes.end[row]
    if packet >= 0:
        put16(out, at, _PACKETID, big)
        put16(out, at + 2, 8, big)
        put32(out, at + (4 if big else 8), packet >> 32, big)
        put32(out, at + (8 if big else 4), packet & 0xFFFFFFFF, big)
        at += 12
    if packet >= 0 and stop > start:
        put16(out, at, COMMENT, big)
        put16(out, at + 2, stop - start, big)
        at = put_bytes(out, at + 4, notes.text, start, stop)
    put32(out, at, END, big)
    return at + 4


@piece
def keep_options(data: Any, position: Any, stop: Any, swapped: Any, out: Any, at: Any) -> Any:
    """Copy a packet's own options but its id; returns where it goes on."""
    while stop - position >= 4:
        code = file16(data, position, swapped)
        size = padded_in_loop(file16(data, position + 2, swapped))
        if code == END or size > stop - position - 4:
            return at
        if code != _PACKETID:
            at = put_bytes(out, at, data, position, position + 4 + size)
        position += 4 + size
    return at


@compiled
def _copy_blocks(data: Any, start: Any, stop: Any, swapped: Any, notes: Notes, out: Any) -> Any:
    """Fill ``out`` with the blocks data[start:stop]; how many bytes that are."""
    position: Any = np.int64(start)
    big, at, row = swapped != _BIG, np.int64(0), 0
    while position < stop:
        kind = file32(data, position, swapped)
        behind = position + file32(data, position + 4, swapped)
        begin = at
        if kind in (ENHANCED, OBSOLETE):
            options = position + HEAD + padded_in_loop(file32(data, position + 20, swapped))
            at = put_bytes(out, at, data, position, options)
            put32(out, begin, ENHANCED, big)
            if kind == OBSOLETE:
                put32(out, begin + 8, file16(data, position + 8, swapped), big)
            at = keep_options(data, options, behind - TAIL, swapped, out, at)
            at = _put_notes(out, at, row, notes, big) + TAIL
            put32(out, begin + 4, at - begin, big)
            put32(out, at - TAIL, at - begin, big)
        else:
            at = put_bytes(out, at, data, position, behind)
        row += kind in (ENHANCED, OBSOLETE, SIMPLE)
        position = behind
    return at


@compiled
def _build(data: Any, frames: _Frames, notes: Notes, out: Any) -> Any:
    """Fill ``out`` with a block for each of the frames; how many bytes that are."""
    at = np.int64(0)
    for row in range(len(frames.offset)):
        begin, length, ts_ns = at, np.int64(frames.caplen[row]), frames.ts_ns[row]
        put32(out, at, ENHANCED, _BIG)
        put32(out, at + 8, frames.interface[row], _BIG)
        put32(out, at + 12, ts_ns >> 32, _BIG)
        put32(out, at + 16, ts_ns & 0xFFFFFFFF, _BIG)
        put32(out, at + 20, length, _BIG)
        put32(out, at + 24, np.int64(frames.wirelen[row]), _BIG)
        start = frames.offset[row]
        at = put_bytes(out, at + HEAD, data, start, start + length)
        at = _put_notes(out, at, row, notes, _BIG) + TAIL
        put32(out, begin + 4, at - begin, _BIG)
        put32(out, at - TAIL, at - begin, _BIG)
    return at
