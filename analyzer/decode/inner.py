"""Packets inside packets: what an ICMP error quotes, and what a VXLAN tunnel carries.

Both are frames of their own further on in the same bytes, so the first pass decodes them, with
another offset and link type. ``marks`` has MARK_INNER set.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.decode.frames import decode_frames
from analyzer.decode.icmp import ICMP_HEADER
from analyzer.decode.identity import KEY_BYTES
from analyzer.decode.ipv6 import IPV6_HEADER
from analyzer.decode.rows import Columns, Rows, frames_of, transport_rows
from analyzer.decode.udp import UDP_HEADER
from analyzer.model.frames import MARK_INNER, FrameChunk
from analyzer.net.ethernet import HEADER_BYTES
from analyzer.net.icmp import ERRORS, ERRORS_V6
from analyzer.net.ip import ICMP, ICMPV6, UDP
from analyzer.net.link_types import ETHERNET, RAW
from analyzer.net.ports import VXLAN_PORTS

_VXLAN_HEADER = 8
TUNNEL_BYTES = HEADER_BYTES + IPV6_HEADER + UDP_HEADER + _VXLAN_HEADER
"""in front of the frame inside, at the most without a VLAN tag"""
_VNI_VALID = 0x08
_WHOLE = 1 << 16
"""a quoted packet was this long at the most: how much of it is quoted is no contradiction"""

Decoded = dict[str, npt.NDArray[Any]]


def is_icmp_error(columns: Columns) -> npt.NDArray[np.bool_]:
    """[n] whether the packet is an ICMP or ICMPv6 error (or a redirect), which quotes another."""
    protocol, kind = columns["protocol"], columns["icmp_type"]
    errors = (protocol == ICMP) & np.isin(kind, ERRORS)
    errors |= (protocol == ICMPV6) & np.isin(kind, ERRORS_V6)
    whole: npt.NDArray[np.bool_] = errors & (columns["l4_offset"] != 0)
    return whole


def quoted_packets(chunk: FrameChunk, columns: Columns) -> tuple[Rows, Decoded]:
    """(rows of ICMP errors, the columns of the packets that they quote, and ``rest``).

    rest: the header's second word: the MTU of "fragmentation needed" and "packet too big", the
    gateway of a redirect. An error whose quoted packet was not captured is left out.
    """
    rows = np.flatnonzero(is_icmp_error(columns))
    at, stop = frames_of(chunk, columns, rows)
    rows = rows[stop - at > ICMP_HEADER]
    at, _ = frames_of(chunk, columns, rows)
    quoted = _decode_at(chunk, rows, at + ICMP_HEADER, _WHOLE, RAW)
    quoted["rest"] = _be32(chunk, at + 4)
    return rows, quoted


def tunnelled_frames(
    chunk: FrameChunk, columns: Columns, key_bytes: int = KEY_BYTES
) -> tuple[Rows, Decoded]:
    """(rows of VXLAN packets, the columns of the frames inside, and ``vni``): RFC 7348."""
    rows, at = _tunnel_headers(chunk, columns, _VXLAN_HEADER)
    wire = columns["payload_len"][rows].astype(np.int64) - _VXLAN_HEADER
    inside = _decode_at(chunk, rows, at + UDP_HEADER + _VXLAN_HEADER, wire, ETHERNET, key_bytes)
    inside["vni"] = _be32(chunk, at + UDP_HEADER + 4) >> 8
    return rows, inside


def tunnel_ends(chunk: FrameChunk, columns: Columns) -> pl.DataFrame:
    """row of each VXLAN packet, its vni, and the MACs of the frame inside: eth_dst, eth_src."""
    rows, at = _tunnel_headers(chunk, columns, _VXLAN_HEADER + HEADER_BYTES)
    inside = at + UDP_HEADER + _VXLAN_HEADER
    four, eight = (_be32(chunk, inside + n).astype(np.uint64) for n in (4, 8))
    return pl.DataFrame(
        {
            "row": rows.astype(np.uint32),
            "vni": _be32(chunk, at + UDP_HEADER + 4) >> 8,
            "eth_dst": _be32(chunk, inside).astype(np.uint64) << 16 | four >> 16,
            "eth_src": (four & 0xFFFF) << 32 | eight,
        }
    )


def _tunnel_headers(
    chunk: FrameChunk, columns: Columns, least: int
) -> tuple[Rows, npt.NDArray[np.int64]]:
    """(rows of VXLAN packets, where their UDP headers stand); least: bytes behind those."""
    rows = transport_rows(columns, UDP, *VXLAN_PORTS)
    rows = rows[np.isin(columns["dst_port"][rows], VXLAN_PORTS)]
    at, stop = frames_of(chunk, columns, rows)
    whole = stop - at >= UDP_HEADER + least
    rows, at = rows[whole], at[whole]
    valid = (chunk.buffer[at + UDP_HEADER] & _VNI_VALID) != 0
    return rows[valid], at[valid]


def follow_tunnels(chunk: FrameChunk, columns: Columns, key_bytes: int) -> None:
    """Let ``natkey`` of VXLAN packets be the ``l2key`` of the frame inside; in place.

    That is what such a packet has in common with the frame before and behind the tunnel.
    """
    rows, inside = tunnelled_frames(chunk, columns, key_bytes)
    columns["natkey"][rows] = inside["l2key"]


def _decode_at(
    chunk: FrameChunk,
    rows: Rows,
    start: npt.NDArray[np.int64],
    wire: npt.NDArray[np.int64] | int,
    linktype: int,
    key_bytes: int = KEY_BYTES,
) -> Decoded:
    """The frames that begin at ``start`` within these rows, decoded as any other."""
    caplen = chunk.offset[rows] + chunk.caplen[rows] - start
    wirelen = np.maximum(np.broadcast_to(wire, caplen.shape), 0)
    inner = FrameChunk(
        chunk.buffer,
        start,
        np.minimum(caplen, wirelen).astype(np.uint32),
        wirelen.astype(np.uint32),
        chunk.ts_ns[rows],
        np.zeros(len(rows), np.int32),
        np.zeros(len(rows), np.uint32),
    )
    columns = decode_frames(inner, [linktype], key_bytes)
    columns["marks"] = columns["marks"] | np.uint8(MARK_INNER)
    return columns


def _be32(chunk: FrameChunk, at: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """The 32-bit words there, which are within the captured bytes."""
    word = np.zeros(len(at), np.uint32)
    for i in range(4):
        word = (word << np.uint32(8)) | chunk.buffer[at + i].astype(np.uint32)
    return word
