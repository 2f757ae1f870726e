"""Which frames are cut where: the kernel's program, run by a few lines of interpreter here."""

from __future__ import annotations

import random
from typing import Any

import pytest
from cut_payload import is_bulk
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
)
from scapy.layers.l2 import ARP, Dot1Q, Dot3, Ether

from analyzer.capture import bpf
from analyzer.capture.bpf_payload import Lengths, by_bytes, keep
from analyzer.capture.payload import CUT_BYTES

OUTGOING, INCOMING = 4, 3
SNAPLEN = 4096


def returned(program: bpf.Program, frame: bytes, ifindex: int, kind: int) -> int:
    """What cBPF returns; a load behind the frame's end returns 0, a jump out of it fails."""
    at, a = 0, 0
    while True:
        code, jt, jf, k = program[at]
        at += 1
        if code == 0x06:
            return k
        if code == 0x80:
            a = len(frame)
        elif code == 0x20:
            a = {0xFFFFF004: kind, 0xFFFFF008: ifindex}[k]
        elif code in (0x28, 0x30):
            size = 2 if code == 0x28 else 1
            if k + size > len(frame):
                return 0
            a = int.from_bytes(frame[k : k + size], "big")
        elif code == 0x05:
            at += k
        else:
            holds = {0x15: a == k, 0x25: a > k, 0x35: a >= k, 0x45: bool(a & k)}[code]
            assert max(jt, jf) <= 255
            at += jt if holds else jf


PAYLOAD = bytes(range(256)) * 2
V4, V6 = IP(src="172.17.0.2", dst="172.17.0.3"), IPv6(src="fd00::2", dst="fd00::3")
BULK = {
    "TCP": V4 / TCP() / PAYLOAD,
    "TCP, IPv6": V6 / TCP() / PAYLOAD,
    "UDP": V4 / UDP(sport=5001, dport=5002) / PAYLOAD,
    "UDP, IPv6": V6 / UDP(sport=5001, dport=5002) / PAYLOAD,
    "first fragment": IP(flags="MF") / UDP(sport=5001, dport=5002) / PAYLOAD,
    "later fragment": IP(flags="MF", frag=64, proto=17) / PAYLOAD,
    "later fragment, IPv6": V6 / IPv6ExtHdrFragment(offset=64, nh=17) / PAYLOAD,
    "echo": V4 / ICMP() / PAYLOAD,
    "echo reply": V4 / ICMP(type=0) / PAYLOAD,
    "echo, IPv6": V6 / ICMPv6EchoRequest() / PAYLOAD,
    "echo reply, IPv6": V6 / ICMPv6EchoReply() / PAYLOAD,
    "unknown EtherType": PAYLOAD,
}
WHOLE = {
    "short TCP": V4 / TCP() / bytes(128 - 54),
    "DNS": V4 / UDP(sport=53, dport=40000) / PAYLOAD,
    "DNS, IPv6": V6 / UDP(sport=40000, dport=53) / PAYLOAD,
    "DNS over TCP": V4 / TCP(sport=53, dport=40000) / PAYLOAD,
    "mDNS": V4 / UDP(sport=5353, dport=5353) / PAYLOAD,
    "DHCP": V4 / UDP(sport=68, dport=67) / PAYLOAD,
    "VXLAN": V4 / UDP(sport=50000, dport=4789) / PAYLOAD,
    "ICMP error": V4 / ICMP(type=3, code=4) / PAYLOAD,
    "ICMPv6 error": V6 / ICMPv6PacketTooBig() / PAYLOAD,
    "options": IP(options=[IPOption_RR()]) / TCP() / PAYLOAD,
    "extension header": V6 / IPv6ExtHdrDestOpt() / TCP() / PAYLOAD,
    "first fragment, IPv6": V6 / IPv6ExtHdrFragment(m=1, nh=17) / PAYLOAD,
    "IGMP": IP(proto=2) / PAYLOAD,
    "ARP": ARP() / PAYLOAD,
    "two VLAN tags": Dot1Q(vlan=3) / V4 / TCP() / PAYLOAD,
    "802.3": Dot3() / PAYLOAD,
}


def ether(packet: Any) -> bytes:
    if isinstance(packet, Dot3):
        return bytes(packet)
    return bytes(Ether(src="02:42:ac:11:00:02", dst="02:42:ac:11:00:03") / packet)


@pytest.mark.parametrize("name", [*BULK, *WHOLE])
def test_only_what_is_read_no_further_is_cut(name: str) -> None:
    frame = ether((BULK | WHOLE)[name])
    lengths = Lengths(SNAPLEN, CUT_BYTES, everywhere=True)
    program = keep(bpf.compile_filter("tcp or not tcp", SNAPLEN), lengths)
    cut = name in BULK
    assert returned(program, frame, 1, INCOMING) == (CUT_BYTES if cut else SNAPLEN)
    assert is_bulk(frame) == (cut or name == "short TCP")


@pytest.mark.parametrize("count", [1, 8, 9, 400])
def test_cut_by_interface_and_direction(count: int) -> None:
    pick = random.Random(count)
    ingress, egress = (sorted(pick.sample(range(1, 2000), count)) for _ in range(2))
    program = keep(bpf.accept(SNAPLEN), Lengths(SNAPLEN, CUT_BYTES, ingress, egress))
    frame = ether(BULK["TCP"])
    for ifindex in range(1, 2000):
        for kind, side in ((OUTGOING, egress), *((kind, ingress) for kind in (0, 1, 2, 3))):
            length = CUT_BYTES if ifindex in side else SNAPLEN
            assert returned(program, frame, ifindex, kind) == length
            assert returned(program, ether(WHOLE["DNS"]), ifindex, kind) == SNAPLEN


def test_what_the_filter_refuses_stays_out_and_each_of_its_ways_ends_in_a_length() -> None:
    plain = bpf.compile_filter("(ip and tcp) or (ip6 and udp) or arp", SNAPLEN)
    program = keep(plain, Lengths(SNAPLEN, CUT_BYTES, everywhere=True))
    for packet, length in (
        (BULK["TCP"], CUT_BYTES),
        (BULK["UDP"], 0),
        (BULK["UDP, IPv6"], CUT_BYTES),
        (BULK["TCP, IPv6"], 0),
        (V4 / TCP(dport=80), SNAPLEN),
        (WHOLE["ARP"], SNAPLEN),
    ):
        assert returned(program, ether(packet), 1, INCOMING) == length


@pytest.mark.parametrize(
    "lengths",
    [
        Lengths(SNAPLEN, CUT_BYTES),
        Lengths(96, CUT_BYTES, everywhere=True),
        Lengths(CUT_BYTES, CUT_BYTES, [1], [1]),
    ],
)
def test_where_nothing_is_to_be_cut_the_filter_stays_as_it_is(lengths: Lengths) -> None:
    program = bpf.accept(lengths.snaplen)
    assert keep(program, lengths) is program


@pytest.mark.parametrize(
    ("expression", "asks"),
    [
        ("", True),
        ("tcp port 80 and host 172.17.0.2", True),
        ("tcp[tcpflags] & tcp-syn != 0", True),
        ("ether host 02:42:ac:11:00:02", True),
        ("inbound", False),
        ("greater 200", False),
        ("tcp and len < 100", False),
    ],
)
def test_what_a_filter_asks_for(expression: str, asks: bool) -> None:
    assert by_bytes(bpf.compile_filter(expression, SNAPLEN)) is asks
