"""Frames of every kind that the decoder knows, made by scapy; nothing is sent."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_Timestamp, fragment
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, LLC, SNAP, STP, CookedLinux, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.packet import Raw

from analyzer.decode.frames import decode_frames
from analyzer.model.frames import FrameChunk

A, B = "02:42:ac:11:00:02", "02:42:ac:11:00:03"
E = Ether(src=A, dst=B)
IP4 = IP(src="172.17.0.2", dst="172.17.0.3", id=0x1234, ttl=63)
IP6 = IPv6(src="2001:db8::2", dst="fe80::42:acff:fe11:3", hlim=61, fl=0x12345)
DATA = Raw(bytes(range(56)))

ETHERNET: dict[str, Any] = {
    "echo request": E / IP4 / ICMP(type=8, id=0x4711, seq=9) / DATA,
    "echo reply": E / IP4 / ICMP(type=0, id=0x4711, seq=9) / DATA,
    "timestamp": E / IP4 / ICMP(type=13, id=3, seq=4),
    "unreachable": E / IP4 / ICMP(type=3, code=1) / IP(src="1.2.3.4", dst="5.6.7.8") / UDP() / DATA,
    "tcp": E / IP4 / TCP(sport=40000, dport=80, seq=2**32 - 1, ack=7, flags="SECU", window=512),
    "tcp data": E / IP4 / TCP(sport=1, dport=2, options=[("MSS", 1460), ("NOP", None)]) / DATA,
    "udp": E / IP4 / UDP(sport=53, dport=65535) / DATA,
    "udp without payload": E / IP4 / UDP(sport=9, dport=10),
    "options": E / IP(src="10.0.0.1", dst="10.0.0.2", options=IPOption_Timestamp()) / UDP() / DATA,
    "padded": E / IP4 / TCP(sport=1, dport=2) / Raw(b""),
    "igmp": E
    / IP(src="10.0.0.1", dst="224.0.0.1", ttl=1, proto=2)
    / Raw(bytes.fromhex("1164ee9b00000000")),
    "sctp": E / IP4 / SCTP(sport=7, dport=8) / SCTPChunkData(data=b"hello"),
    "ip in ip": E / IP4 / IP(src="1.1.1.1", dst="2.2.2.2") / UDP(sport=5, dport=6) / DATA,
    "vlan": E / Dot1Q(vlan=10, prio=5) / IP4 / UDP(sport=1, dport=2) / DATA,
    "qinq": E / Dot1Q(vlan=100) / Dot1Q(vlan=200) / IP4 / ICMP(id=1, seq=2),
    "802.1ad": E / Dot1AD(vlan=300) / Dot1Q(vlan=400) / IP6 / ICMPv6EchoRequest(id=1, seq=2),
    "vlan arp": E / Dot1Q(vlan=1) / ARP(op=1, hwsrc=A, psrc="10.0.0.1", pdst="10.0.0.2"),
    "who-has": Ether(src=A, dst="ff:ff:ff:ff:ff:ff")
    / ARP(op=1, hwsrc=A, psrc="172.17.0.2", pdst="172.17.0.3"),
    "is-at": E / ARP(op=2, hwsrc=B, psrc="172.17.0.3", hwdst=A, pdst="172.17.0.2"),
    "echo request 6": E / IP6 / ICMPv6EchoRequest(id=0x4711, seq=9, data=b"x" * 56),
    "echo reply 6": E / IP6 / ICMPv6EchoReply(id=0x4711, seq=9, data=b"x" * 56),
    "neighbour": E / IP6 / ICMPv6ND_NS(tgt="2001:db8::3"),
    "tcp 6": E / IP6 / TCP(sport=443, dport=50000, seq=1, ack=2, flags="A") / DATA,
    "udp 6": E / IP6 / UDP(sport=1, dport=2) / DATA,
    "extensions": E
    / IP6
    / IPv6ExtHdrHopByHop()
    / IPv6ExtHdrRouting()
    / IPv6ExtHdrDestOpt()
    / UDP(sport=1, dport=2)
    / DATA,
    "authenticated": E
    / IP6
    / AH(nh=17, payloadlen=4, spi=1, seq=2, icv=bytes(12))
    / UDP(sport=3, dport=4)
    / DATA,
    "fragment 6": E / IP6 / IPv6ExtHdrFragment(id=77, offset=100, m=1, nh=17) / DATA,
    "first fragment 6": E
    / IP6
    / IPv6ExtHdrFragment(id=77, offset=0, m=1)
    / UDP(sport=3, dport=4, len=500)
    / DATA,
    "no next header": E / IPv6(src="::1", dst="::2", nh=59),
    "spanning tree": Dot3(src=A, dst="01:80:c2:00:00:00") / LLC() / STP(),
    "snap": Dot3(src=A, dst=B)
    / LLC(dsap=0xAA, ssap=0xAA, ctrl=3)
    / SNAP(code=0x0800)
    / IP4
    / UDP(sport=11, dport=12)
    / DATA,
    "lldp": Ether(src=A, dst="01:80:c2:00:00:0e", type=0x88CC) / Raw(bytes(4)),
    "unknown type": Ether(src=A, dst=B, type=0x9999) / DATA,
}

FRAGMENTS = [bytes(E / part) for part in fragment(IP4 / UDP(sport=5, dport=6) / Raw(bytes(3000)))]

COOKED = bytes(CookedLinux(pkttype=4, lladdrtype=1, lladdrlen=6, src=b"\x02\x42\xac\x11\x00\x02"))


def ethernet_frames() -> list[bytes]:
    """All of them as bytes, short ones padded as a network card does for one."""
    frames = [bytes(packet) for packet in ETHERNET.values()]
    padded = bytes(ETHERNET["padded"]).ljust(60, b"\0")
    return [*frames, *FRAGMENTS, padded]


def chunk_of(
    frames: list[bytes], *, wirelen: list[int] | None = None, flags: int = 0
) -> FrameChunk:
    sizes = np.array([len(frame) for frame in frames], np.uint32)
    ends = np.cumsum(sizes, dtype=np.int64)
    return FrameChunk(
        np.frombuffer(b"".join(frames), np.uint8),
        ends - sizes,
        sizes,
        sizes if wirelen is None else np.array(wirelen, np.uint32),
        np.arange(len(frames), dtype=np.int64),
        np.zeros(len(frames), np.int32),
        np.full(len(frames), flags, np.uint32),
    )


def decode(
    *frames: bytes, linktype: int = 1, wirelen: list[int] | None = None, key_bytes: int = 128
) -> list[dict[str, int]]:
    """A dictionary of the decoded columns per frame."""
    columns = decode_frames(chunk_of(list(frames), wirelen=wirelen), [linktype], key_bytes)
    return [
        {name: int(values[row]) for name, values in columns.items()} for row in range(len(frames))
    ]


def sll2(protocol: int, payload: bytes) -> bytes:
    return (
        struct.pack("!HHIHBB", protocol, 0, 3, 1, 4, 6)
        + bytes.fromhex("0242ac1100020000")
        + payload
    )
