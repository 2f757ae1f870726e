"""The pass: link layer, network layer, transport, keys — one loop over the frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.decode.arp import ARP_LENGTH, parse_arp
from analyzer.decode.columns import (
    ETHERTYPE,
    L4_OFFSET,
    MARKS,
    PAYLOAD_LEN,
    PROTOCOL,
    Out,
    columns_of,
    new_out,
)
from analyzer.decode.icmp import parse_icmp
from analyzer.decode.identity import KEY_BYTES, IpPacket, other_key, store_ip_keys, store_l2_key
from analyzer.decode.ipv4 import parse_ipv4
from analyzer.decode.ipv6 import parse_ipv6
from analyzer.decode.link import parse_link
from analyzer.decode.rows import ChunkFrames, chunk_frames
from analyzer.decode.tcp import parse_tcp
from analyzer.decode.udp import parse_udp
from analyzer.model.frames import (
    FLAG_CSUM_NOT_READY,
    FLAG_UNTIMED,
    MARK_CSUM_NOT_READY,
    MARK_FRAGMENT,
    MARK_MORE_FRAGMENTS,
    MARK_TRUNCATED,
    MARK_UNTIMED,
    NO_PROTOCOL,
    FrameChunk,
)
from analyzer.native.compiled import compiled, piece
from analyzer.native.keys import SECRET
from analyzer.native.loads import Bytes
from analyzer.net.ethernet import ARP as ETHERTYPE_ARP
from analyzer.net.ethernet import IPV4 as ETHERTYPE_IPV4
from analyzer.net.ethernet import IPV6 as ETHERTYPE_IPV6
from analyzer.net.ip import ICMP, ICMPV6, TCP, UDP

_NO_HEADER = -1
_UNKNOWN_LINK = -1
_MAX_L4_OFFSET = 0xFFFF


def decode_frames(
    chunk: FrameChunk,
    linktypes: Sequence[int] | npt.NDArray[np.int32],
    key_bytes: int = KEY_BYTES,
    into: Out | None = None,
    base: int = 0,
) -> dict[str, npt.NDArray[Any]]:
    """The columns of `analyzer.model.frames.DECODED`, each [len(chunk)] and contiguous.

    linktypes: [interfaces] LINKTYPE_ of each interface that ``chunk.interface`` points to; a
    frame of any other or of an unknown link type gets an l2key and nothing else. key_bytes:
    how many bytes from the L3 header on go into the keys; all where it is larger than any
    frame (see `analyzer.decode.identity.key_bytes_for`). Releases the GIL. into: columns to use
    instead of new ones, from row ``base`` on; as `analyzer.decode.columns.new_out` leaves them.

    Never raises for what a frame holds: ``marks`` tells what is cut or contradictory.
    """
    out = into or new_out(len(chunk))
    interfaces = np.ascontiguousarray(linktypes, np.int32)
    hashing = _Hashing(key_bytes, np.uint64(SECRET))
    _decode(chunk_frames(chunk), interfaces, hashing, out, base)
    return {name: column[base : base + len(chunk)] for name, column in columns_of(out).items()}


class _Hashing(NamedTuple):
    """What keys are made with."""

    key_bytes: int
    """from the L3 header on"""
    secret: np.uint64
    """of this process; nothing that is told depends on it"""


class _FrameBytes(NamedTuple):
    """One frame."""

    data: Bytes
    """[bytes] of the chunk that it lies in"""
    start: int
    end: int
    """its captured bytes: data[start:end]"""
    wire: int
    """bytes of it on the wire"""


class _Payload(NamedTuple):
    """A header and what follows it, in one frame."""

    data: Bytes
    """[bytes] of the chunk that it lies in"""
    frame: int
    """where the frame begins"""
    at: int
    stop: int
    """its captured bytes: data[at:stop]"""
    length: int
    """bytes of it on the wire, at the most"""


@compiled
def _decode(
    frames: ChunkFrames,
    linktypes: npt.NDArray[np.int32],
    hashing: _Hashing,
    out: Out,
    base: int,
) -> None:
    for number in range(len(frames.offset)):
        row = base + number
        start = frames.offset[number]
        end = start + np.int64(frames.caplen[number])
        if start < 0 or end > len(frames.data):
            out.u8[MARKS, row] = MARK_TRUNCATED
            continue
        at = frames.interface[number]
        linktype = linktypes[at] if 0 <= at < len(linktypes) else np.int32(_UNKNOWN_LINK)
        wire = max(np.int64(frames.wirelen[number]), end - start)
        frame = _FrameBytes(frames.data, start, end, wire)
        marks = _decode_frame(frame, linktype, hashing, row, out)
        if frames.flags[number] & FLAG_CSUM_NOT_READY:
            marks |= MARK_CSUM_NOT_READY
        if frames.flags[number] & FLAG_UNTIMED:
            marks |= MARK_UNTIMED
        out.u8[MARKS, row] |= marks


@piece
def _decode_frame(frame: _FrameBytes, linktype: Any, hashing: _Hashing, row: int, out: Out) -> Any:
    """The frame's marks."""
    key_bytes, secret = hashing
    data, start, end, wire = frame
    l3, link_length, ethertype, marks = parse_link(data, start, end, linktype, row, out)
    out.u16[ETHERTYPE, row] = ethertype
    length = wire - (l3 - start)
    if 0 <= link_length < length:
        length = link_length
    stop = min(end, l3 + length)
    if ethertype in (ETHERTYPE_IPV4, ETHERTYPE_IPV6):
        packet = _Payload(data, start, l3, stop, length)
        key, ip_marks = _decode_ip(packet, ethertype, hashing, row, out)
        marks |= ip_marks
    elif ethertype == ETHERTYPE_ARP:
        marks |= parse_arp(data, l3, stop, row, out)
        key = other_key(data, l3, min(stop, l3 + ARP_LENGTH), ARP_LENGTH, secret)
    else:
        key = other_key(data, l3, min(stop, l3 + key_bytes), length, secret)
    store_l2_key(key, ethertype, row, out, secret)
    return marks


@piece
def _decode_ip(packet: _Payload, ethertype: int, hashing: _Hashing, row: int, out: Out) -> Any:
    """(key, marks) of an IPv4 or IPv6 packet."""
    data, frame, l3, stop, length = packet
    key_bytes, secret = hashing
    version = 4 if ethertype == ETHERTYPE_IPV4 else 6
    if version == 4:
        l4, l4_len, marks = parse_ipv4(data, l3, stop, length, row, out)
    else:
        l4, l4_len, marks = parse_ipv6(data, l3, stop, length, row, out)
    if l4 < 0:
        return other_key(data, l3, min(stop, l3 + key_bytes), length, secret), marks
    stop = min(stop, l4 + l4_len)
    out.u32[PAYLOAD_LEN, row] = l4_len
    protocol = np.int64(_NO_HEADER if marks & MARK_FRAGMENT else out.u8[PROTOCOL, row])
    if protocol != _NO_HEADER:
        segment = _Payload(data, frame, l4, stop, l4_len)
        marks |= _decode_transport(segment, protocol, marks, row, out)
    stop = min(stop, l3 + key_bytes)
    hashed = IpPacket(data, l3, l4, stop, l4 - l3 + l4_len, secret)
    return store_ip_keys(hashed, version, protocol, row, out), marks


@piece
def _decode_transport(segment: _Payload, protocol: Any, marks: int, row: int, out: Out) -> Any:
    """Further marks. marks: those of the layers below."""
    data, frame, at, stop, length = segment
    if at < stop and at - frame <= _MAX_L4_OFFSET and protocol != NO_PROTOCOL:
        out.u16[L4_OFFSET, row] = at - frame
    if protocol == TCP:
        return parse_tcp(data, at, stop, length, row, out)
    if protocol == UDP:
        return parse_udp(data, at, stop, length, marks & MARK_MORE_FRAGMENTS != 0, row, out)
    if protocol in (ICMP, ICMPV6):
        return parse_icmp(data, at, stop, length, protocol, row, out)
    return 0
