"""The loop that turns a ring's block into Enhanced Packet Blocks: one pass, compiled.

Per frame it finds the vantage by interface index in a hash table, writes an EPB with
``epb_flags``, puts the VLAN tag back that Linux keeps out of band, and counts. Header
offsets are those of ``struct tpacket3_hdr`` and the ``sockaddr_ll`` behind it
(linux/if_packet.h); an EPB takes 44 bytes beside the padded data.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from analyzer.capture.copying import copy_within, prefetch
from analyzer.model.frames import FLAG_CSUM_NOT_READY
from analyzer.native.compiled import compiled, piece
from analyzer.native.padding import padded_in_loop
from analyzer.net.ethernet import VLAN

Ints: TypeAlias = npt.NDArray[np.int64]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Words: TypeAlias = npt.NDArray[np.uint32]
Table: TypeAlias = npt.NDArray[np.int32]
"""shape (slots, 2): ifindex, interface id; see `build_table`"""
Counters: TypeAlias = npt.NDArray[np.int64]
"""shape (interfaces, 2): frames, bytes on the wire"""
Index: TypeAlias = npt.NDArray[np.int64]
"""shape (2, frames): sort key in ns, offset"""

AT, LEFT, END, LATEST, WALKED, SKIPPED, CURIOUS, NEWCOMER, DROPS, BLOCK = range(10)
"""A ring's cursor: offset of the next frame, frames left in the block, end of the block's
data; greatest stamp so far; frames walked, and of these those of no known vantage; 1 where the
walk has to stop at an interface that the table does not know, and the ifindex at which it did;
frames that the ring had no room for just before the next one; number of the block."""
CURSOR = 10
IGNORED, UNKNOWN = -2, -1
"""instead of an interface id: the table says to pass the frame over; it does not say anything"""

MAX_OVERHEAD = 28 + 4 + 3 + 12 + 16
"""bytes of an EPB beside its data, at most: head, VLAN tag, padding, options, end"""

_AHEAD = 1024
"""bytes that are fetched before they are walked: they come from another processor's cache"""
_MULTIPLIER = 0x9E3779B1
_LITTLE = sys.byteorder == "little"
_EPB_FLAGS_OPTION = 4 << 16 | 2 if _LITTLE else 2 << 16 | 4
_EPB_DROPCOUNT_OPTION = 8 << 16 | 4 if _LITTLE else 4 << 16 | 8
"""code and length as one word"""
_CSUM_NOT_READY, _VLAN_VALID, _VLAN_TPID_VALID = 1 << 3, 1 << 4, 1 << 6
# By sll_pkttype: direction and reception type of epb_flags; HOST, BROADCAST, MULTICAST,
# OTHERHOST, OUTGOING, and what else there may be.
_FLAGS = np.array([1 | 1 << 2, 1 | 3 << 2, 1 | 2 << 2, 1 | 4 << 2, 2, 1, 1, 1], np.uint32)


class Views(NamedTuple):
    """The same memory three times: compiled loops can make no array themselves."""

    octets: Bytes
    halves: npt.NDArray[np.uint16]
    words: Words


class Recording(NamedTuple):
    """What becomes of frames."""

    table: Table
    """which interface is which in the file; see `build_table`"""
    counters: Counters
    """of the frames that are written"""
    snaplen: int
    """bytes kept of a frame"""


class Frame(NamedTuple):
    """One frame in a ring."""

    at: int
    """offset of its header"""
    end: int
    """of the block's data"""
    readable: int
    """end of the ring's memory"""
    drops: int
    """frames that the ring had no room for just before it"""


class Header(NamedTuple):
    """What an EPB tells of its frame."""

    identifier: int
    """interface id of the file"""
    stamp: int
    """ns since the epoch"""
    caplen: int
    wirelen: int
    flags: int
    """epb_flags"""


def views(memory: Bytes) -> Views:
    """Memory as bytes, 16-bit and 32-bit words."""
    return Views(memory, memory.view(np.uint16), memory.view(np.uint32))


def build_table(identifiers: Mapping[int, int]) -> Table:
    """Hash table ifindex → interface id of the file, for `encode_block`.

    Shape (slots, 2), slots a power of two and at most a quarter in use; ifindex 0 marks an
    empty slot. Whatever the size of the indexes, a lookup is one or two steps.
    """
    slots = 1 << max(4, (4 * len(identifiers)).bit_length())
    table = np.zeros((slots, 2), np.int32)
    for ifindex, identifier in identifiers.items():
        slot = (ifindex * _MULTIPLIER >> 16) & (slots - 1)
        while table[slot, 0]:
            slot = (slot + 1) & (slots - 1)
        table[slot] = ifindex, identifier
    return table


@piece
def word_at(words: Words, place: int) -> Any:
    """Signed and wide: numba makes a float of what uint64 and int64 give together."""
    return np.int64(words[place])


@piece
def lookup(table: Table, first: int, slots: int, ifindex: int) -> Any:
    """Interface id of the file, IGNORED or UNKNOWN; the table is ``slots`` rows from ``first``."""
    mask = slots - 1
    slot = (ifindex * _MULTIPLIER >> 16) & mask
    while table[first + slot, 0] != ifindex:
        if table[first + slot, 0] == 0:
            return np.int64(UNKNOWN)
        slot = (slot + 1) & mask
    return np.int64(table[first + slot, 1])


@piece
def _pad(out: Bytes, end: int) -> Any:
    """Zeros up to a multiple of four, which is returned."""
    padded = padded_in_loop(end)
    for place in range(end, padded):
        out[place] = 0
    return padded


@piece
def _tag(words: Words, head: int, status: int) -> Any:
    """The VLAN tag that the kernel took off: TPID and TCI as one number."""
    tpid = VLAN
    if status & _VLAN_TPID_VALID:
        tpid = word_at(words, head + 9) & 0xFFFF if _LITTLE else word_at(words, head + 9) >> 16
    return tpid << 16 | (word_at(words, head + 8) & 0xFFFF)


@piece
def _drop_count(out32: Words, end: int, drops: int) -> Any:
    """epb_dropcount at ``end``, where there is something to tell; where further options begin."""
    if drops == 0:
        return end
    word = end >> 2
    low, high = drops & 0xFFFFFFFF, drops >> 32
    out32[word] = _EPB_DROPCOUNT_OPTION
    out32[word + 1], out32[word + 2] = (low, high) if _LITTLE else (high, low)
    return end + 12


@piece
def _frame_block(out32: Words, start: int, end: int, header: Header) -> None:
    """What stands before and after an EPB's data; ``end`` is where its options begin."""
    word, tail, length = start >> 2, end >> 2, end + 16 - start
    out32[word], out32[word + 1], out32[word + 2] = 6, length, header.identifier
    out32[word + 3], out32[word + 4] = header.stamp >> 32, header.stamp & 0xFFFFFFFF
    out32[word + 5], out32[word + 6] = header.caplen, header.wirelen
    out32[tail], out32[tail + 1] = _EPB_FLAGS_OPTION, header.flags
    out32[tail + 2], out32[tail + 3] = 0, length


@piece
def fetch(ring8: Bytes, at: int) -> None:
    """Have what will be walked soon brought into this processor's cache."""
    for line in range(3):
        prefetch(ring8, at + _AHEAD + 64 * line)


@piece
def stamp_at(ring32: Words, at: int) -> Any:
    """When the frame at ``at`` was heard, in ns since the epoch."""
    head = at >> 2
    return word_at(ring32, head + 1) * 1_000_000_000 + word_at(ring32, head + 2)


@piece
def interface_at(ring32: Words, at: int) -> Any:
    """The ifindex of the frame at ``at``."""
    return word_at(ring32, (at >> 2) + 13)


@piece
def room_for(ring32: Words, at: int, snaplen: int) -> Any:
    """Bytes that the EPB of the frame at ``at`` may take."""
    return min(word_at(ring32, (at >> 2) + 3), snaplen) + MAX_OVERHEAD


@piece
def _copy_data(ring: Views, frame: Frame, out8: Bytes, to: int, snaplen: int) -> Any:
    """The frame's bytes to ``to``, with the VLAN tag in its place; their number."""
    head = frame.at >> 2
    data: Any = frame.at + np.int64(ring.halves[(frame.at >> 1) + 12])
    caplen = max(0, min(min(word_at(ring.words, head + 3), snaplen), frame.end - data))
    status = word_at(ring.words, head + 5)
    if not status & _VLAN_VALID or caplen < 12:
        copy_within(out8, to, ring.octets, data, caplen, frame.readable)
        return caplen
    copy_within(out8, to, ring.octets, data, 12, frame.readable)
    tag = _tag(ring.words, head, status)
    for place in range(4):
        out8[to + 12 + place] = tag >> (24 - 8 * place) & 0xFF
    caplen = min(caplen + 4, snaplen)
    copy_within(out8, to + 16, ring.octets, data + 12, max(0, caplen - 16), frame.readable)
    return caplen


@piece
def encode_frame(
    ring: Views, frame: Frame, out: Views, used: int, identifier: int, snaplen: int
) -> Any:
    """Write a frame as an EPB; where it ends, the frame's stamp, its wirelen."""
    head = frame.at >> 2
    caplen = _copy_data(ring, frame, out.octets, used + 28, snaplen)
    wirelen, status = word_at(ring.words, head + 4), word_at(ring.words, head + 5)
    wirelen += 4 if status & _VLAN_VALID else 0
    flags: Any = np.int64(_FLAGS[ring.octets[frame.at + 58] & 7])
    flags |= FLAG_CSUM_NOT_READY if status & _CSUM_NOT_READY else 0
    stamp = stamp_at(ring.words, frame.at)
    tail = _drop_count(out.words, _pad(out.octets, used + 28 + caplen), frame.drops)
    _frame_block(out.words, used, tail, Header(identifier, stamp, caplen, wirelen, flags))
    return tail + 16, stamp, wirelen


@piece
def count_frame(counters: Counters, identifier: int, wirelen: int) -> None:
    counters[identifier, 0] += 1
    counters[identifier, 1] += wirelen


@compiled
def encode_block(
    ring: Views,
    cursor: Ints,
    out: Views,
    index: Index,
    used: int,
    count: int,
    recording: Recording,
) -> tuple[int, int]:
    """Walk on from ``cursor`` until the block ends or ``out`` or ``index`` is full.

    ``used`` bytes of ``out`` and ``index[:, :count]`` are in use already; ``index`` has two rows:
    the greatest stamp of this ring so far (ns), the EPB's place in ``out``. Advances ``cursor``
    (LEFT > 0: call again, with room, or with a table that knows the NEWCOMER) and returns the
    new ``used`` and ``count``.
    """
    table, counters, snaplen = recording
    at, left, latest = cursor[AT], cursor[LEFT], cursor[LATEST]
    while left > 0:
        fetch(ring.octets, at)
        full = used + room_for(ring.words, at, snaplen) > out.octets.size
        if full or count == index.shape[1]:
            break
        identifier = lookup(table, 0, table.shape[0], interface_at(ring.words, at))
        if identifier == UNKNOWN and cursor[CURIOUS]:
            cursor[NEWCOMER] = interface_at(ring.words, at)
            break
        if identifier < 0:
            cursor[SKIPPED] += 1
        else:
            frame = Frame(at, cursor[END], ring.octets.size, cursor[DROPS])
            tail, stamp, wirelen = encode_frame(ring, frame, out, used, identifier, snaplen)
            cursor[DROPS] = 0
            latest = max(latest, stamp)
            index[0, count], index[1, count] = latest, used
            count_frame(counters, identifier, wirelen)
            used, count = tail, count + 1
        left -= 1
        at += word_at(ring.words, at >> 2)
    cursor[WALKED] += cursor[LEFT] - left
    cursor[AT], cursor[LEFT], cursor[LATEST] = at, left, latest
    return used, count
