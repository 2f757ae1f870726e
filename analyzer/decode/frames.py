"""The pass: link layer, network layer, transport, keys — one loop over the frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
from analyzer.decode.identity import KEY_BYTES, other_key, store_ip_keys, store_l2_key
from analyzer.decode.ipv4 import parse_ipv4
from analyzer.decode.ipv6 import parse_ipv6
from analyzer.decode.link import parse_link
from analyzer.decode.tcp import parse_tcp
from analyzer.decode.udp import parse_udp
from analyzer.model.frames import (
    FLAG_CSUM_NOT_READY,
    MARK_CSUM_NOT_READY,
    MARK_FRAGMENT,
    MARK_MORE_FRAGMENTS,
    MARK_TRUNCATED,
    NO_PROTOCOL,
    FrameChunk,
)
from analyzer.native.compiled import compiled, piece
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
    buffer = chunk.buffer.view()
    buffer.flags.writeable = False  # one type of array, one compilation
    _decode(
        buffer,
        np.ascontiguousarray(chunk.offset, np.int64),
        np.ascontiguousarray(chunk.caplen, np.uint32),
        np.ascontiguousarray(chunk.wirelen, np.uint32),
        np.ascontiguousarray(chunk.interface, np.int32),
        np.ascontiguousarray(chunk.flags, np.uint32),
        np.ascontiguousarray(linktypes, np.int32),
        key_bytes,
        out,
        base,
    )
    return {name: column[base : base + len(chunk)] for name, column in columns_of(out).items()}


@compiled
def _decode(
    data: Bytes,
    offset: npt.NDArray[np.int64],
    caplen: npt.NDArray[np.uint32],
    wirelen: npt.NDArray[np.uint32],
    interface: npt.NDArray[np.int32],
    flags: npt.NDArray[np.uint32],
    linktypes: npt.NDArray[np.int32],
    key_bytes: int,
    out: Out,
    base: int,
) -> None:
    for row in range(len(offset)):
        start = offset[row]
        end = start + np.int64(caplen[row])
        if start < 0 or end > len(data):
            out.u8[MARKS, base + row] = MARK_TRUNCATED
            continue
        at = interface[row]
        linktype = linktypes[at] if 0 <= at < len(linktypes) else np.int32(_UNKNOWN_LINK)
        wire = max(np.int64(wirelen[row]), end - start)
        marks = _decode_frame(data, start, end, wire, linktype, key_bytes, base + row, out)
        if flags[row] & FLAG_CSUM_NOT_READY:
            marks |= MARK_CSUM_NOT_READY
        out.u8[MARKS, base + row] = marks


@piece
def _decode_frame(
    data: Bytes,
    start: int,
    end: int,
    wire: int,
    linktype: Any,
    key_bytes: int,
    row: int,
    out: Out,
) -> Any:
    l3, told, ethertype, marks = parse_link(data, start, end, linktype, row, out)
    out.u16[ETHERTYPE, row] = ethertype
    length = wire - (l3 - start)
    if 0 <= told < length:
        length = told
    stop = min(end, l3 + length)
    if ethertype in (ETHERTYPE_IPV4, ETHERTYPE_IPV6):
        key, found = _decode_ip(data, start, l3, stop, length, ethertype, key_bytes, row, out)
        marks |= found
    elif ethertype == ETHERTYPE_ARP:
        marks |= parse_arp(data, l3, stop, row, out)
        key = other_key(data, l3, min(stop, l3 + ARP_LENGTH), ARP_LENGTH)
    else:
        key = other_key(data, l3, min(stop, l3 + key_bytes), length)
    store_l2_key(key, ethertype, row, out)
    return marks


@piece
def _decode_ip(
    data: Bytes,
    start: int,
    l3: int,
    stop: int,
    length: int,
    ethertype: int,
    key_bytes: int,
    row: int,
    out: Out,
) -> Any:
    """(key, marks) of the packet data[l3:stop], ``length`` bytes on the wire at most."""
    version = 4 if ethertype == ETHERTYPE_IPV4 else 6
    if version == 4:
        l4, l4_len, marks = parse_ipv4(data, l3, stop, length, row, out)
    else:
        l4, l4_len, marks = parse_ipv6(data, l3, stop, length, row, out)
    if l4 < 0:
        return other_key(data, l3, min(stop, l3 + key_bytes), length), marks
    stop = min(stop, l4 + l4_len)
    out.u32[PAYLOAD_LEN, row] = l4_len
    protocol = np.int64(_NO_HEADER if marks & MARK_FRAGMENT else out.u8[PROTOCOL, row])
    if protocol != _NO_HEADER:
        marks |= _decode_transport(data, start, l4, stop, l4_len, protocol, marks, row, out)
    limit = min(stop, l3 + key_bytes)
    length = l4 - l3 + l4_len
    return store_ip_keys(data, l3, l4, limit, length, version, protocol, row, out), marks


@piece
def _decode_transport(
    data: Bytes,
    start: int,
    at: int,
    stop: int,
    length: int,
    protocol: Any,
    marks: int,
    row: int,
    out: Out,
) -> Any:
    if at < stop and at - start <= _MAX_L4_OFFSET and protocol != NO_PROTOCOL:
        out.u16[L4_OFFSET, row] = at - start
    if protocol == TCP:
        return parse_tcp(data, at, stop, length, row, out)
    if protocol == UDP:
        return parse_udp(data, at, stop, length, marks & MARK_MORE_FRAGMENTS != 0, row, out)
    if protocol in (ICMP, ICMPV6):
        return parse_icmp(data, at, stop, length, protocol, row, out)
    return 0
