"""Captures of other tools, made by hand: cooked headers, several link types, any stamps."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from savefile_builder import Pcapng, pcap
from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import Ether

ETHERNET, RAW, SLL, SLL2 = 1, 101, 113, 276
A, B = "02:42:ac:11:00:02", "02:42:ac:11:00:03"
MAC_A = bytes.fromhex(A.replace(":", ""))
IP_A, IP_B = "172.17.0.2", "172.17.0.3"
IN, OUT = 0, 4
"""packet types of cooked headers"""
START_NS = 1_764_230_400_000_000_000
NANOSECONDS = (9, b"\x09")
"""the option if_tsresol"""


def request(seq: int = 1, **ip: Any) -> bytes:
    """An echo request from A to B, from its IP header on."""
    return bytes(IP(src=IP_A, dst=IP_B, id=seq, **ip) / ICMP(type=8, id=7, seq=seq) / (b"q" * 56))


def reply(seq: int = 1, **ip: Any) -> bytes:
    """What answers it."""
    head = IP(src=IP_B, dst=IP_A, id=1000 + seq, **ip)
    return bytes(head / ICMP(type=0, id=7, seq=seq) / (b"q" * 56))


def ethernet(packet: bytes, src: str = A, dst: str = B, ethertype: int = 0x0800) -> bytes:
    return bytes(Ether(src=src, dst=dst, type=ethertype)) + packet


def back(packet: bytes) -> bytes:
    """From B to A."""
    return ethernet(packet, B, A)


def sll(packet: bytes, kind: int = IN, mac: bytes = MAC_A) -> bytes:
    """With a header of Linux cooked capture, the first version."""
    return struct.pack(">HHH8sH", kind, 1, len(mac), mac.ljust(8, b"\0"), 0x0800) + packet


def sll2(packet: bytes, ifindex: int, kind: int = IN, mac: bytes = MAC_A) -> bytes:
    """The second version, which tells the device."""
    fields = (0x0800, 0, ifindex, 1, kind, len(mac), mac.ljust(8, b"\0"))
    return struct.pack(">HHIHBB8s", *fields) + packet


def write_pcap(path: Path, frames: Sequence[tuple[int, bytes]], linktype: int = ETHERNET) -> str:
    """A file with nanoseconds: (ns since START_NS, frame) each."""
    stamps = [divmod(START_NS + ns, 10**9) for ns, _ in frames]
    data = [frame for _, frame in frames]
    path.write_bytes(pcap(data, magic=0xA1B23C4D, linktype=linktype, stamps=stamps))
    return str(path)


def write_pcapng(path: Path, interfaces: Sequence[bytes], blocks: Sequence[bytes]) -> str:
    """A file of these interfaces and blocks; see `described` and `packet`."""
    path.write_bytes(Pcapng().section() + b"".join([*interfaces, *blocks]))
    return str(path)


def described(linktype: int = ETHERNET, snaplen: int = 0, name: str = "") -> bytes:
    """An interface with stamps of nanoseconds."""
    names = [(2, name.encode())] if name else []
    return Pcapng().interface(*names, NANOSECONDS, linktype=linktype, snaplen=snaplen)


def packet(frame: bytes, ns: int, interface: int = 0, wirelen: int | None = None) -> bytes:
    """An Enhanced Packet Block, so much after START_NS."""
    return Pcapng().packet(frame, START_NS + ns, interface=interface, wirelen=wirelen)
