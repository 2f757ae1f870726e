"""Columns and marks: what tshark does not tell, and frames that are cut or wrong."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from crafted import DATA, ETHERNET, FRAGMENTS, IP4, IP6, A, B, E, chunk_of, decode, ethernet_frames
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from analyzer.decode.frames import decode_frames
from analyzer.model.frames import (
    DECODED,
    FLAG_CSUM_NOT_READY,
    MARK_CSUM_NOT_READY,
    MARK_FRAGMENT,
    MARK_MALFORMED,
    MARK_MORE_FRAGMENTS,
    MARK_TRUNCATED,
    NO_PROTOCOL,
    NO_VLAN,
    FrameChunk,
)

MAC_A, MAC_B = 0x0242AC110002, 0x0242AC110003
V4 = 0xFFFF00000000


def one(frame: bytes, **options: int) -> dict[str, int]:
    return decode(frame, **options)[0]


def test_columns_are_the_model_s() -> None:
    columns = decode_frames(chunk_of(ethernet_frames()), [1])
    assert {name: values.dtype.name for name, values in columns.items()} == DECODED
    assert list(columns) == list(DECODED)
    assert all(values.flags.c_contiguous for values in columns.values())
    assert {len(values) for values in columns.values()} == {len(ethernet_frames())}


def test_no_frames() -> None:
    columns = decode_frames(chunk_of([]), [1])
    assert list(columns) == list(DECODED)
    assert {len(values) for values in columns.values()} == {0}


def test_echo_request() -> None:
    found = one(bytes(ETHERNET["echo request"]))
    keys = {name: found.pop(name) for name in ("l2key", "l3key", "natkey")}
    assert 0 not in keys.values()
    assert found == dict.fromkeys(found, 0) | {
        "eth_src": MAC_A,
        "eth_dst": MAC_B,
        "ethertype": 0x0800,
        "vlan": NO_VLAN,
        "src_lo": V4 | 0xAC110002,
        "dst_lo": V4 | 0xAC110003,
        "ip_id": 0x1234,
        "ip_len": 84,
        "ip_version": 4,
        "protocol": 1,
        "ttl": 63,
        "icmp_type": 8,
        "icmp_id": 0x4711,
        "icmp_seq": 9,
        "payload_len": 56,
        "l4_offset": 34,
    }


def test_arp_request() -> None:
    found = one(bytes(ETHERNET["who-has"]))
    assert found.pop("l2key") != 0
    assert found == dict.fromkeys(found, 0) | {
        "eth_src": MAC_A,
        "eth_dst": 0xFFFFFFFFFFFF,
        "ethertype": 0x0806,
        "vlan": NO_VLAN,
        "arp_op": 1,
        "arp_sha": MAC_A,
        "arp_spa": 0xAC110002,
        "arp_tpa": 0xAC110003,
        "protocol": NO_PROTOCOL,
    }


@pytest.mark.parametrize(
    ("name", "protocol", "l4_offset", "payload"),
    [
        ("tcp data", 6, 34, 56),
        ("padded", 6, 34, 0),
        ("udp", 17, 34, 56),
        ("qinq", 1, 42, 0),
        ("tcp 6", 6, 54, 56),
        ("extensions", 17, 54 + 8 + 8 + 8, 56),
        ("authenticated", 17, 54 + 24, 56),
        ("igmp", 2, 34, 8),
        ("no next header", 59, 0, 0),
        ("snap", 17, 42, 56),
    ],
)
def test_transport(name: str, protocol: int, l4_offset: int, payload: int) -> None:
    found = one(bytes(ETHERNET[name]))
    assert (found["protocol"], found["l4_offset"], found["payload_len"], found["marks"]) == (
        (protocol, l4_offset, payload, 0)
    )


def test_vlan_is_the_outer_tag_and_ethertype_the_inner_type() -> None:
    assert (one(bytes(ETHERNET["qinq"]))["vlan"], one(bytes(ETHERNET["qinq"]))["ethertype"]) == (
        (100, 0x0800)
    )
    assert one(bytes(ETHERNET["802.1ad"]))["vlan"] == 300
    assert one(bytes(ETHERNET["vlan"]))["vlan"] == 10  # without the priority bits


def test_llc_has_no_ethertype_and_snap_has() -> None:
    stp = one(bytes(ETHERNET["spanning tree"]))
    assert (stp["ethertype"], stp["ip_version"], stp["marks"]) == (0, 0, 0)
    assert one(bytes(ETHERNET["snap"]))["ethertype"] == 0x0800
    between = bytes(Ether(src=A, dst=B, type=1501) / DATA)
    assert (one(between)["ethertype"], one(between)["marks"]) == (0, MARK_MALFORMED)


def test_fragments() -> None:
    first, second, third = decode(*FRAGMENTS)
    assert [row["marks"] for row in (first, second, third)] == [
        MARK_MORE_FRAGMENTS,
        MARK_FRAGMENT | MARK_MORE_FRAGMENTS,
        MARK_FRAGMENT,
    ]
    assert (first["src_port"], first["dst_port"], first["l4_offset"]) == (5, 6, 34)
    assert (second["src_port"], second["l4_offset"], second["protocol"]) == (0, 0, 17)
    offsets = [row["fragment_offset"] for row in (first, second, third)]
    assert offsets[0] == 0
    assert offsets[1] == first["payload_len"] + 8
    assert offsets[2] + third["payload_len"] == 3008


def test_fragments_of_ipv6() -> None:
    row = one(bytes(ETHERNET["fragment 6"]))
    assert (row["ip_id"], row["fragment_offset"], row["protocol"]) == (77, 800, 17)
    assert row["marks"] == MARK_FRAGMENT | MARK_MORE_FRAGMENTS
    assert row["l4_offset"] == 0
    first = one(bytes(ETHERNET["first fragment 6"]))
    assert (first["src_port"], first["marks"]) == (3, MARK_MORE_FRAGMENTS)
    atomic = one(bytes(E / IP6 / IPv6ExtHdrFragment(id=5) / UDP(sport=1, dport=2)))
    assert (atomic["ip_id"], atomic["src_port"], atomic["marks"]) == (5, 1, 0)


@pytest.mark.parametrize(
    ("size", "known", "unknown"),
    [
        (0, [], ["eth_dst", "l4_offset"]),
        (6, ["eth_dst"], ["eth_src"]),
        (13, ["eth_dst", "eth_src"], ["ethertype"]),
        (14, ["ethertype"], ["ip_version", "ttl"]),
        (33, ["ethertype"], ["ip_version", "ttl"]),
        (34, ["ip_version", "ttl", "src_lo", "l3key"], ["src_port", "l4_offset"]),
        (38, ["src_port", "dst_port", "l4_offset"], ["tcp_seq"]),
        (46, ["tcp_seq"], ["tcp_window"]),
        (53, ["tcp_seq"], ["tcp_window"]),
    ],
)
def test_a_cut_keeps_the_layers_below(size: int, known: list[str], unknown: list[str]) -> None:
    frame = bytes(ETHERNET["tcp"])
    (found,) = decode(frame[:size], wirelen=[len(frame)])
    assert found["marks"] == MARK_TRUNCATED
    assert all(found[name] for name in known)
    assert not any(found[name] for name in unknown)
    assert found["l2key"]


def test_cut_between_tags() -> None:
    frame = bytes(E / Dot1Q(vlan=5) / Dot1Q(vlan=6) / IP4 / UDP())
    (found,) = decode(frame[:19], wirelen=[len(frame)])
    assert (found["vlan"], found["ethertype"], found["marks"]) == (5, 0, MARK_TRUNCATED)


def edited(frame: bytes, at: int, value: bytes) -> bytes:
    return frame[:at] + value + frame[at + len(value) :]


UDP4 = bytes(E / IP4 / UDP(sport=1, dport=2) / DATA)
TCP4 = bytes(E / IP4 / TCP(sport=1, dport=2) / DATA)
UDP6 = bytes(E / IP6 / UDP(sport=1, dport=2) / DATA)


@pytest.mark.parametrize(
    ("frame", "usable"),
    [
        (edited(UDP4, 14, b"\x65"), False),  # version 6 in an IPv4 frame
        (edited(UDP4, 14, b"\x44"), False),  # header of 16 bytes
        (edited(UDP4, 16, b"\x00\x13"), True),  # total length less than the header
        (edited(UDP4, 16, b"\x01\x00"), True),  # total length more than the frame
        (edited(UDP4, 38, b"\x00\x07"), True),  # UDP length less than its header
        (edited(UDP4, 38, b"\x01\x00"), True),  # UDP length more than the packet
        (edited(TCP4, 46, b"\x40"), True),  # TCP header of 16 bytes
        (edited(TCP4, 16, b"\x00\x2c")[:58], True),  # TCP: 24 bytes, header says 20: fine
        (edited(UDP6, 14, b"\x45"), False),  # version 4 in an IPv6 frame
        (edited(UDP6, 18, b"\x01\x00"), True),  # payload length more than the frame
        (bytes(E / IPv6(src="::1", dst="::2", nh=0, plen=4) / Raw(bytes(4))), True),
        (bytes(Ether(src=A, dst=B) / ARP(hwlen=8)), False),
    ],
)
def test_contradictions_are_marked(frame: bytes, usable: bool) -> None:
    found = one(frame)
    fine = frame[46:47] == b"\x50" and len(frame) == 58
    assert bool(found["marks"] & MARK_MALFORMED) is not fine
    assert bool(found["ip_version"]) is usable
    assert bool(found["l3key"]) is usable
    assert found["l2key"]


def test_what_a_frame_says_larger_than_it_is_reads_nothing_beyond() -> None:
    """The bytes behind a frame are the next frame's: they must not show up in it."""
    frame = edited(TCP4, 16, b"\xff\xff")
    cut = [frame[:size] for size in range(len(frame) + 1)]
    for other in (b"\x00", b"\xff"):
        rows = [decode(part, other * 200)[0] for part in cut]
        if other == b"\x00":
            first = rows
    assert rows == first


def test_jumbo_length_is_the_wire_s() -> None:
    """GSO frames of 64 KiB and more say 0; ours is only the captured beginning."""
    four = edited(TCP4, 16, b"\0\0")
    six = edited(bytes(E / IP6 / TCP(sport=1, dport=2)), 18, b"\0\0")
    rows = decode(four, six, wirelen=[100_054, 100_074])
    for row in rows:
        assert (row["ip_len"], row["payload_len"], row["marks"]) == (0, 100_000, 0)


def test_udp_payload_is_what_udp_says() -> None:
    frame = bytes(E / IP4 / UDP(sport=1, dport=2, len=12) / DATA)
    assert (one(frame)["payload_len"], one(frame)["marks"]) == (4, 0)
    zero = bytes(E / IP4 / UDP(sport=1, dport=2, len=0) / DATA)
    assert (one(zero)["payload_len"], one(zero)["marks"]) == (56, 0)


def test_unfinished_checksums_are_marked() -> None:
    chunk = chunk_of([TCP4, TCP4], flags=FLAG_CSUM_NOT_READY | 2)
    marks = decode_frames(chunk, [1])["marks"]
    assert marks.tolist() == [MARK_CSUM_NOT_READY] * 2


def test_link_types_by_interface() -> None:
    chunk = chunk_of([TCP4, TCP4[14:], TCP4, TCP4])
    chunk = FrameChunk(
        chunk.buffer,
        chunk.offset,
        chunk.caplen,
        chunk.wirelen,
        chunk.ts_ns,
        np.array([0, 1, 2, 7], np.int32),
        chunk.flags,
    )
    found = decode_frames(chunk, [1, 101, 147])
    assert found["dst_port"].tolist() == [2, 2, 0, 0]
    assert found["eth_src"].tolist() == [MAC_A, 0, 0, 0]
    assert found["ethertype"].tolist() == [0x0800, 0x0800, 0, 0]
    assert found["l3key"][0] == found["l3key"][1]
    assert (found["l2key"] != 0).all()


def test_linux_s_ipv6_family_in_null_headers() -> None:
    """AF_INET6 is 10 on Linux, which tshark does not know."""
    packet = bytes(IP6 / UDP(sport=1, dport=2))
    for head in (struct.pack("<I", 10), struct.pack(">I", 10), struct.pack("<I", 24)):
        assert one(head + packet, linktype=0)["dst_port"] == 2
    assert one(struct.pack("<I", 7) + packet, linktype=0)["ip_version"] == 0


def test_a_chunk_that_points_outside_is_marked_not_read() -> None:
    chunk = chunk_of([TCP4, TCP4])
    wrong = FrameChunk(
        chunk.buffer,
        np.array([-5, 200], np.int64),
        chunk.caplen,
        chunk.wirelen,
        chunk.ts_ns,
        chunk.interface,
        chunk.flags,
    )
    found = decode_frames(wrong, [1])
    assert found["marks"].tolist() == [MARK_TRUNCATED] * 2
    assert not found["eth_src"].any()


def test_strided_and_writable_columns_are_taken() -> None:
    chunk = chunk_of([TCP4, UDP4, TCP4, UDP4])
    every = FrameChunk(
        chunk.buffer.copy(),
        chunk.offset[::2],
        chunk.caplen[::2],
        chunk.wirelen[::2],
        chunk.ts_ns[::2],
        chunk.interface[::2],
        chunk.flags[::2],
    )
    assert decode_frames(every, np.array([1]))["protocol"].tolist() == [6, 6]


BASES = ethernet_frames()


@drawn(500)
@given(st.data())
def test_any_damage_gives_marks_not_exceptions(data: st.DataObject) -> None:
    """And what lies behind the frame has no influence: nothing is read there."""
    frame = bytearray(data.draw(st.sampled_from(BASES)))
    for at in data.draw(st.lists(st.integers(0, len(frame) - 1), max_size=5)):
        frame[at] = data.draw(st.integers(0, 255))
    cut = bytes(frame[: data.draw(st.integers(0, len(frame)))])
    linktype = data.draw(st.sampled_from([1, 1, 1, 0, 101, 113, 276, 228, 9]))
    wire = data.draw(st.sampled_from([0, len(cut), len(frame), 70000, 2**32 - 1]))
    rows = [
        decode(cut, behind * 100, linktype=linktype, wirelen=[wire, 100])[0]
        for behind in (b"\x00", b"\xff")
    ]
    assert rows[0] == rows[1]
    assert rows[0]["l2key"]
    assert rows[0]["l4_offset"] <= len(cut)
    assert bool(rows[0]["l3key"]) == bool(rows[0]["ip_version"])


def test_ip_options_are_skipped() -> None:
    row = one(bytes(ETHERNET["options"]))
    length = (bytes(ETHERNET["options"])[14] & 15) * 4
    assert length > 20
    assert row["l4_offset"] == 14 + length
    assert IP(bytes(ETHERNET["options"])[14:]).ihl * 4 == length


def test_extension_headers_that_are_cut() -> None:
    frame = bytes(E / IP6 / IPv6ExtHdrHopByHop() / UDP(sport=1, dport=2))
    (found,) = decode(frame[:58], wirelen=[len(frame)])
    assert (found["marks"], found["protocol"]) == (MARK_TRUNCATED, NO_PROTOCOL)
    assert found["ip_version"] == 6
