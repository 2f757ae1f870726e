"""Packet identity: what may change without changing a key, and that nothing else may."""

from __future__ import annotations

import struct

import pytest
from crafted import COOKED, DATA, ETHERNET, FRAGMENTS, IP4, IP6, A, B, E, decode
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.packet import Packet, Raw

from analyzer.decode.identity import KEY_BYTES, key_bytes_for

PAYLOAD = Raw(bytes(range(1, 41)))
ADDRESSES4, ADDRESSES6 = set(range(12, 20)), set(range(8, 40))
PORTS, QUERY_ID = set(range(4)), {4, 5}

# name → (packet, L3 header's length, L4 bytes out of every key, L4 bytes out of natkey)
CASES: dict[str, tuple[Packet, int, set[int], set[int]]] = {
    "tcp": (
        E / IP4 / TCP(sport=40000, dport=80, options=[("MSS", 1460)]) / PAYLOAD,
        20,
        {16, 17},
        PORTS,
    ),
    "udp": (E / IP4 / UDP(sport=53, dport=5353) / PAYLOAD, 20, {6, 7}, PORTS),
    "echo": (E / IP4 / ICMP(type=8, id=7, seq=9) / PAYLOAD, 20, {2, 3}, QUERY_ID),
    "error": (
        E / IP4 / ICMP(type=3, code=1) / IP(src="1.2.3.4", dst="4.3.2.1") / UDP(),
        20,
        {2, 3},
        set(),
    ),
    "sctp": (
        E / IP4 / SCTP(sport=7, dport=8, tag=5) / SCTPChunkData(data=b"hello"),
        20,
        {8, 9, 10, 11},
        PORTS,
    ),
    "other": (E / IP(src="172.17.0.2", dst="172.17.0.3", proto=47) / PAYLOAD, 20, set(), set()),
    "tcp 6": (E / IP6 / TCP(sport=40000, dport=80) / PAYLOAD, 40, {16, 17}, PORTS),
    "udp 6": (E / IP6 / UDP(sport=53, dport=5353) / PAYLOAD, 40, {6, 7}, PORTS),
    "echo 6": (E / IP6 / ICMPv6EchoRequest(id=7, seq=9, data=b"z" * 40), 40, {2, 3}, QUERY_ID),
    "hop by hop": (
        E / IP6 / IPv6ExtHdrHopByHop() / UDP(sport=1, dport=2) / PAYLOAD,
        48,
        {6, 7},
        PORTS,
    ),
}
KEYS = ("natkey", "l3key", "l2key")
MASK = (1 << 64) - 1


def keys(frame: bytes, **options: int) -> dict[str, int]:
    (row,) = decode(frame, **options)
    return {name: row[name] for name in KEYS}


def changed(frame: bytes, at: int, by: int) -> bytes:
    return frame[:at] + bytes([frame[at] ^ by]) + frame[at + 1 :]


def kept(name: str, offset: int) -> set[str]:
    """The keys that a change of the byte ``offset`` of the L3 packet may not change."""
    packet, header, checksum, private = CASES[name]
    version = 4 if packet.haslayer("IP") and packet.type == 0x0800 else 6
    if offset >= header:
        if offset - header in checksum:
            return set(KEYS)
        return {"natkey"} if offset - header in private else set()
    if version == 4:
        if offset in {1, 10, 11}:  # DSCP and ECN, checksum
            return set(KEYS)
        if offset == 8:
            return {"natkey", "l3key"}
        return {"natkey"} if offset in ADDRESSES4 else set()
    if offset == 7:
        return {"natkey", "l3key"}
    return {"natkey"} if offset in ADDRESSES6 else set()


def structural(name: str, offset: int) -> bool:
    """Bytes that say where the rest stands: another value makes it another kind of packet."""
    packet, header, _, _ = CASES[name]
    if packet.type == 0x0800:
        # version and IHL, total length, fragment offset, protocol, type of an ICMP message
        return offset in {0, 2, 3, 6, 7, 9} or (packet.haslayer(ICMP) and offset == header)
    # version and traffic class (half a byte each), payload length, next header, extensions
    icmp = packet.haslayer(ICMPv6EchoRequest) and offset == header
    return offset in {0, 1, 4, 5, 6} or bool(icmp) or 40 <= offset < header


@pytest.mark.parametrize("name", CASES)
def test_every_byte_of_a_packet(name: str) -> None:
    """Each byte, each bit: the keys change, or do not, as the table says."""
    frame = bytes(CASES[name][0])
    before = keys(frame)
    assert 0 not in before.values()
    limit = min(len(frame) - 14, KEY_BYTES)
    for offset in range(limit):
        if structural(name, offset):
            continue
        for bit in (0x01, 0x10, 0x80):
            after = keys(changed(frame, 14 + offset, bit))
            same = {key for key in KEYS if after[key] == before[key]}
            assert same == kept(name, offset), (offset, bit)


@pytest.mark.parametrize("name", CASES)
def test_structural_bytes_change_every_key(name: str) -> None:
    frame = bytes(CASES[name][0])
    before = keys(frame)
    for offset in range(len(frame) - 14):
        if not structural(name, offset):
            continue
        bit = 0x02 if offset else 0x40
        if CASES[name][0].type != 0x0800 and offset == 1:
            bit = 0x01  # flow label; the upper half is traffic class
        after = keys(changed(frame, 14 + offset, bit))
        assert all(after[key] != before[key] for key in KEYS), offset


@pytest.mark.parametrize("name", ["tcp 6", "udp 6"])
def test_traffic_class_is_in_no_key(name: str) -> None:
    frame = bytes(CASES[name][0])
    for offset, bits in ((0, 0x0F), (1, 0xF0)):
        assert keys(changed(frame, 14 + offset, bits)) == keys(frame)


@drawn(200)
@given(
    name=st.sampled_from([name for name in CASES if name not in ("error", "other")]),
    mac=st.binary(min_size=12, max_size=12),
    ttl=st.integers(1, 255),
    tag=st.integers(0, 4095),
    padding=st.integers(0, 20),
    checksum=st.binary(min_size=4, max_size=4),
)
def test_a_route_leaves_l3key(
    name: str, mac: bytes, ttl: int, tag: int, padding: int, checksum: bytes
) -> None:
    packet, header, sums, _ = CASES[name]
    frame = bytearray(bytes(packet))
    ours = keys(bytes(frame))
    frame[:12] = mac
    frame[14 + (8 if packet.type == 0x0800 else 7)] = ttl
    if packet.type == 0x0800:
        frame[24:26] = checksum[:2]
    for at, value in zip(sorted(sums), checksum, strict=False):
        frame[14 + header + at] = value
    tagged = frame[:12] + b"\x81\x00" + tag.to_bytes(2, "big") + frame[12:] + bytes(padding)
    theirs = keys(bytes(tagged))
    assert (theirs["l3key"], theirs["natkey"]) == (ours["l3key"], ours["natkey"])


@drawn(200)
@given(
    addresses=st.binary(min_size=8, max_size=8),
    ports=st.binary(min_size=4, max_size=4),
    tcp=st.booleans(),
)
def test_nat_leaves_natkey(addresses: bytes, ports: bytes, tcp: bool) -> None:
    frame = bytearray(bytes(CASES["tcp" if tcp else "udp"][0]))
    ours = keys(bytes(frame))
    frame[26:34], frame[34:38] = addresses, ports
    theirs = keys(bytes(frame))
    assert theirs["natkey"] == ours["natkey"]
    assert theirs["l3key"] != ours["l3key"]


def test_l2key_knows_macs_and_type_but_no_tag() -> None:
    frame = bytes(CASES["udp"][0])
    ours = keys(frame)["l2key"]
    for at in range(12):
        assert keys(changed(frame, at, 1))["l2key"] != ours
    assert (
        keys(bytes(E / Dot1Q(vlan=5) / IP4 / UDP(sport=53, dport=5353) / PAYLOAD))["l2key"] == ours
    )


def test_padding_is_in_no_key() -> None:
    for packet in (
        E / ARP(op=1, hwsrc=A, psrc="172.17.0.2", pdst="172.17.0.3"),
        E / IP4 / TCP(sport=1, dport=2),
        E / IP4 / ICMP(id=1, seq=2),
        ETHERNET["spanning tree"],
    ):
        frame = bytes(packet)
        assert keys(frame) == keys(frame.ljust(90, b"\xee")), packet.summary()


@pytest.mark.parametrize("at", range(28))
def test_every_byte_of_arp(at: int) -> None:
    frame = bytes(Ether(src=A, dst=B) / ARP(op=1, hwsrc=A, psrc="172.17.0.2", pdst="172.17.0.3"))
    before, after = keys(frame), keys(changed(frame, 14 + at, 1))
    assert before["l2key"] != after["l2key"]
    assert (before["l3key"], before["natkey"]) == (0, 0)


def test_what_is_not_ip_has_a_key_of_all_its_bytes() -> None:
    frame = bytes(Ether(src=A, dst=B, type=0x9999) / DATA)
    seen = {keys(changed(frame, at, 1))["l2key"] for at in range(len(frame))}
    assert len(seen | {keys(frame)["l2key"]}) == len(frame) + 1
    assert keys(frame + b"x")["l2key"] not in seen
    unknown = {keys(changed(frame, at, 1), linktype=147)["l2key"] for at in range(len(frame))}
    assert len(unknown) == len(frame)


def test_link_layers_agree_on_a_packet() -> None:
    packet = bytes(IP4 / UDP(sport=53, dport=5353) / PAYLOAD)
    ethernet = keys(bytes(CASES["udp"][0]))
    raw = keys(packet, linktype=101)
    cooked = keys(COOKED[:-2] + b"\x08\x00" + packet, linktype=113)
    assert raw["l3key"] == cooked["l3key"] == ethernet["l3key"]
    assert len({raw["l2key"], cooked["l2key"], ethernet["l2key"]}) == 3


def test_length_on_the_wire_counts_where_the_header_has_none() -> None:
    """A GSO frame of 64 KiB or more has a total length of 0."""
    frame = bytearray(bytes(CASES["tcp"][0]))
    frame[16:18] = b"\0\0"
    one, same, other = decode(
        bytes(frame), bytes(frame), bytes(frame), wirelen=[70000, 70000, 70001]
    )
    assert [one[key] for key in KEYS] == [same[key] for key in KEYS]
    assert all(one[key] != other[key] for key in KEYS)


def test_key_bytes_limit_what_is_hashed() -> None:
    frame = bytes(E / IP4 / UDP(sport=1, dport=2) / Raw(bytes(1000)))
    for key_bytes in (40, 128, 333, 1 << 20):
        before = keys(frame, key_bytes=key_bytes)
        edge = min(14 + key_bytes, len(frame))
        assert keys(changed(frame, edge - 1, 1), key_bytes=key_bytes)["l3key"] != before["l3key"]
        if edge < len(frame):
            assert keys(changed(frame, edge, 1), key_bytes=key_bytes) == before


def test_vantages_with_different_snaplens_agree() -> None:
    frame = bytes(E / IP4 / UDP(sport=1, dport=2) / Raw(bytes(range(200))))
    key_bytes = key_bytes_for([96, 0, 262144])
    cut, whole = decode(frame[:96], frame, wirelen=[len(frame)] * 2, key_bytes=key_bytes)
    assert [cut[key] for key in KEYS] == [whole[key] for key in KEYS]
    assert key_bytes == 74
    assert key_bytes_for([]) == key_bytes_for([0]) == key_bytes_for([65535]) == KEY_BYTES
    assert key_bytes_for([10]) == 0


def test_fragments_have_keys_of_their_own() -> None:
    """Payload that looks like ports and checksums is hashed as it is behind the first."""
    first, second, third = (keys(frame) for frame in FRAGMENTS)
    assert len({first["natkey"], second["natkey"], third["natkey"]}) == 3
    for at in (34, 35, 40, 41):
        assert keys(changed(FRAGMENTS[1], at, 1))["natkey"] != second["natkey"]


def test_keys_without_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analyzer.decode.frames.SECRET", 0)
    found = keys(bytes(E / IP4 / UDP(sport=53, dport=5353) / Raw(b"abc")))
    assert {name: hex(key) for name, key in found.items()} == {
        "natkey": "0x6be40b10b844f8fc",
        "l3key": "0xb5ce9ed47b1f4f4a",
        "l2key": "0x17a71b960d10b62d",
    }
    assert hex(keys(bytes(ETHERNET["who-has"]))["l2key"]) == "0x1c24065cad069eee"


def _crafted(word: int, difference: int) -> int:
    """Another word, of which a round of the hash makes what differs by ``difference``."""

    def turned(value: int, bits: int) -> int:
        return (value << bits | value >> (64 - bits)) & MASK

    p1, p2 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F
    wanted = turned(word * p2 & MASK, 31) * p1 & MASK ^ difference
    return turned(wanted * pow(p1, -1, 1 << 64) & MASK, 33) * pow(p2, -1, 1 << 64) & MASK


@pytest.mark.parametrize("secret", [None, 0])
def test_packets_that_were_made_to_have_one_key(
    monkeypatch: pytest.MonkeyPatch, secret: int | None
) -> None:
    """What a word changes in the state's highest bit alone, the next one can take back, whatever
    the state was: so only words that nobody can foresee help."""
    if secret is not None:
        monkeypatch.setattr("analyzer.decode.frames.SECRET", secret)
    one, other = 0x0102030405060708, 0x1112131415161718
    pairs = [(one, other), (_crafted(one, 1 << 36), _crafted(other, 1 << 63))]
    frames = [
        bytes(
            E / IP4 / UDP(sport=1, dport=2, chksum=0) / Raw(bytes(16) + struct.pack("<QQ", *both))
        )
        for both in pairs
    ]
    first, second = (row["l2key"] for row in decode(*frames))
    assert (first == second) is (secret == 0)


def test_many_packets_have_many_keys() -> None:
    head = bytes.fromhex("0242ac1100030242ac1100020800")
    head += bytes.fromhex("4500002400004000401100000a0000010a000002")
    frames = [
        head + ports.to_bytes(4, "big") + b"\0\x10\0\0" + payload.to_bytes(8, "big")
        for ports in range(100)
        for payload in range(100)
    ]
    rows = decode(*frames)
    assert len({row["l2key"] for row in rows}) == 10_000
    assert len({row["l3key"] for row in rows}) == 10_000
    assert len({row["natkey"] for row in rows}) == 100  # ports left out, payload counts
