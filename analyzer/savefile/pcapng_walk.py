"""The walk over the blocks of a pcapng file (draft-ietf-opsawg-pcapng), one loop.

Packet blocks (EPB, SPB, the obsolete PB) are turned into rows here; unknown and secret blocks
are stepped over; at a block that says something about the section or its interfaces, and at a
block of our own kind, the walk hands over to Python (`analyzer.savefile.pcapng`) and is called
again behind it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from analyzer.model.frames import FLAG_LACKING, FLAG_UNTIMED
from analyzer.native.compiled import compiled, piece
from analyzer.native.loads import Bytes, file16, file32
from analyzer.native.padding import padded_in_loop
from analyzer.savefile.blocks import (
    ENHANCED_PACKET,
    EPB_DROPCOUNT,
    EPB_FLAGS,
    INTERFACE_DESCRIPTION,
    INTERFACE_STATISTICS,
    NAME_RESOLUTION,
    OPT_ENDOFOPT,
    OWN,
    SECTION_HEADER,
)
from analyzer.savefile.clocks import Clocks, stamp_ns
from analyzer.savefile.columns import (
    BAD_CAPLEN,
    BAD_LENGTH,
    CONTROL,
    FULL,
    LENGTHS_DIFFER,
    MAX_RECORD,
    MORE,
    NO_INTERFACE,
    WHOLE,
    Columns,
)

OBSOLETE_PACKET = 2
SIMPLE_PACKET = 3

CONTROL_KINDS = (
    SECTION_HEADER,
    INTERFACE_DESCRIPTION,
    NAME_RESOLUTION,
    INTERFACE_STATISTICS,
    OWN,
)
"""what Python reads"""
MIN_BLOCK = 12
"""type, length and length again"""
_PACKET_DATA = 28
"""offset of the data in an EPB and in a PB"""
_MIN_PACKET = _PACKET_DATA + 4
_SIMPLE_DATA = 12
_TOLD_FLAGS = ~(FLAG_UNTIMED | FLAG_LACKING)
_MIN_SIMPLE = _SIMPLE_DATA + 4


class SectionView(NamedTuple):
    """What the walk has to know of the section that it is in."""

    swapped: bool
    """against this machine's byte order"""
    first: int
    """number of its first interface among the file's"""
    behind: int
    """one more than the number of its last one"""


class _Block(NamedTuple):
    """A block that is all there."""

    position: int
    """of its first byte in the data"""
    length: int
    """of all of it"""
    swapped: bool
    """as its section"""


@piece
def _find_flags(data: Bytes, position: int, end: int, swapped: bool) -> Any:
    """The epb_flags among the options from ``position`` on, 0 where there are none; with
    FLAG_LACKING where epb_dropcount is among them."""
    flags, lacking = 0, 0
    while end - position >= 4:
        code = file16(data, position, swapped)
        length = file16(data, position + 2, swapped)
        position += 4
        if code == OPT_ENDOFOPT or length > end - position:
            break
        if code == EPB_FLAGS and length == 4:
            flags = file32(data, position, swapped) & _TOLD_FLAGS
        elif code == EPB_DROPCOUNT and length == 8:
            told = file32(data, position, swapped) | file32(data, position + 4, swapped)
            lacking = FLAG_LACKING if told else 0
        position += padded_in_loop(length)
    return flags | lacking


@piece
def _is_control(kind: int) -> Any:
    return kind in CONTROL_KINDS


@compiled
def check_block(data: Bytes, position: int, swapped: bool) -> Any:
    """(length, status) of the block that starts at ``position``.

    status: WHOLE; MORE where the window ends before the block does; BAD_LENGTH or
    LENGTHS_DIFFER where it is damaged.
    """
    left = len(data) - position
    if left < MIN_BLOCK:
        return 0, MORE
    length = file32(data, position + 4, swapped)
    if length < MIN_BLOCK or length & 3 or length > MAX_RECORD:
        return length, BAD_LENGTH
    if length > left:
        return length, MORE
    if file32(data, position + length - 4, swapped) != length:
        return length, LENGTHS_DIFFER
    return length, WHOLE


@piece
def _store_packet(
    data: Bytes, block: _Block, interface: int, clocks: Clocks, columns: Columns, row: int
) -> Any:
    """One EPB or PB into ``row``; False where its captured length does not fit into it."""
    position, length, swapped = block
    caplen = file32(data, position + 20, swapped)
    start = position + _PACKET_DATA
    options = start + padded_in_loop(caplen)
    end = position + length - 4
    if options > end:
        return False
    high = file32(data, position + 12, swapped)
    low = file32(data, position + 16, swapped)
    columns.offset[row] = start
    columns.caplen[row] = caplen
    columns.wirelen[row] = file32(data, position + 24, swapped)
    columns.ts_ns[row] = stamp_ns(high, low, interface, clocks)
    columns.interface[row] = interface
    columns.flags[row] = _find_flags(data, options, end, swapped)
    return True


@piece
def _store_simple(
    data: Bytes, block: _Block, interface: int, clocks: Clocks, columns: Columns, row: int
) -> Any:
    """One SPB into ``row``: no stamp (see `fill_times`), captured length from the interface's
    snaplen."""
    wirelen = file32(data, block.position + 8, block.swapped)
    snaplen = clocks.snaplen[interface]
    caplen = min(wirelen, snaplen) if snaplen else wirelen
    if caplen > block.length - _MIN_SIMPLE:
        return False
    columns.offset[row] = block.position + _SIMPLE_DATA
    columns.caplen[row] = caplen
    columns.wirelen[row] = wirelen
    columns.ts_ns[row] = 0
    columns.interface[row] = interface
    columns.flags[row] = FLAG_UNTIMED
    return True


@piece
def _interface_of(data: Bytes, position: int, length: int, kind: int, swapped: bool) -> Any:
    """Index within the section; -1 where the block is too short for its fixed fields."""
    if length < (_MIN_SIMPLE if kind == SIMPLE_PACKET else _MIN_PACKET):
        return -1
    if kind == ENHANCED_PACKET:
        return file32(data, position + 8, swapped)
    return file16(data, position + 8, swapped) if kind == OBSOLETE_PACKET else 0


@compiled
def walk_blocks(
    data: Bytes,
    position: int,
    section: SectionView,
    clocks: Clocks,
    columns: Columns,
    row: int,
) -> Any:
    """Fill ``columns`` from ``row`` on with the packets from ``position`` on.

    Returns (position, row, status): where it stopped, the number of rows filled, and why (MORE,
    FULL, CONTROL or a kind of damage; see `analyzer.savefile.columns`). It is FULL only at a
    packet that finds no row, so that all that is described before is known by then.
    """
    swapped = section.swapped
    while True:
        if len(data) - position < MIN_BLOCK:
            return position, row, MORE
        kind = file32(data, position, swapped)
        if _is_control(kind):
            return position, row, CONTROL
        length, status = check_block(data, position, swapped)
        if status != WHOLE:
            return position, row, status
        if kind in (ENHANCED_PACKET, OBSOLETE_PACKET, SIMPLE_PACKET):
            if row == len(columns.offset):
                return position, row, FULL
            interface = _interface_of(data, position, length, kind, swapped)
            if interface < 0:
                return position, row, BAD_LENGTH
            interface += section.first
            if interface >= section.behind:
                return position, row, NO_INTERFACE
            block = _Block(position, length, swapped)
            if kind == SIMPLE_PACKET:
                whole = _store_simple(data, block, interface, clocks, columns, row)
            else:
                whole = _store_packet(data, block, interface, clocks, columns, row)
            if not whole:
                return position, row, BAD_CAPLEN
            row += 1
        position += length
