"""The bytes of the packets of `truth_bed`: Ethernet, IPv4, and UDP, TCP or a fragment."""

from __future__ import annotations

import numpy as np
from world import mac_of

ROOM = 160
"""bytes of a frame that are made; no snaplen is larger"""
SEGMENT = 1448
UDP, TCP, GSO, FRAGMENTS = range(4)
"""kinds of packets; FRAGMENTS + 1 is the second fragment of a datagram"""


def bytes_of(sights: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """([n, ROOM] bytes, [n] lengths on the wire)."""
    kind, piece = sights["kind"], sights["piece"]
    n = len(kind)
    data = np.zeros((n, ROOM), np.uint8)
    tcp = (kind == TCP) | (kind == GSO)
    payload = np.where(kind == TCP, SEGMENT, np.where(kind == GSO, 3 * SEGMENT, 200))
    payload = np.where((kind == GSO) & (piece >= 0), SEGMENT, payload)
    header = np.where(tcp, 20, np.where(kind == FRAGMENTS + 1, 0, 8))
    for at, end in ((0, "target"), (6, "source")):
        mac = np.array([mac_of(c) for c in range(64)])[sights[end]]
        _put(data, at, mac, 6)
    _put(data, 12, np.full(n, 0x0800), 2)
    _put(data, 14, np.full(n, 0x4500), 2)
    _put(data, 16, 20 + header + payload, 2)
    _put(data, 18, (sights["ident"] + np.where(piece > 0, piece, 0)) & 0xFFFF, 2)
    fragment = np.where(kind == FRAGMENTS, 0x2000, np.where(kind == FRAGMENTS + 1, 26, 0x4000))
    _put(data, 20, fragment, 2)
    _put(data, 22, np.where(tcp, 0x4006, 0x4011), 2)
    for at, end in ((26, "source"), (30, "target")):
        _put(data, at, 0xAC110002 + sights[end], 4)
    _put_transport(data, sights, tcp, payload, header)
    return data, 34 + header + payload


def _put_transport(data, sights, tcp, payload, header) -> None:
    """Ports, numbers, and a payload that tells its content."""
    content, piece = sights["content"], np.maximum(sights["piece"], 0)
    first = np.flatnonzero(header > 0)
    rows = data[first]
    _put(rows, 34, 40000 + sights["source"][first], 2)
    _put(rows, 36, np.where(tcp[first], 80, 53), 2)
    seq = content * 3 * SEGMENT + piece * SEGMENT
    udp = (8 + payload) << 32
    _put(rows, 38, np.where(tcp, seq & 0xFFFFFFFF, udp >> 16 & 0xFFFFFFFF)[first], 4)
    _put(rows, 46, np.where(tcp[first], 0x5018, 0), 2)
    data[first] = rows
    at = np.where(tcp, 54, np.where(header > 0, 42, 34))
    for start in (34, 42, 54):
        here = np.flatnonzero(at == start)
        rows = data[here]
        _put(rows, start, content[here], 8)
        data[here] = rows


def _put(data: np.ndarray, at: int, value: np.ndarray, width: int) -> None:
    """Big-endian into columns at … at+width-1."""
    for k in range(width):
        data[:, at + k] = (value >> (8 * (width - 1 - k))) & 0xFF
