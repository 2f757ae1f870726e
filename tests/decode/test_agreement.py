"""Frame by frame what tshark says: every protocol, every link type."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from crafted import ETHERNET, IP4, IP6, UDP, ethernet_frames, sll2
from scapy.layers.inet import ICMP
from tshark import assert_agrees, count, fields

from analyzer.savefile import blocks


def pcap_of(path: Path, frames: list[bytes], linktype: int, snaplen: int = 262144) -> Path:
    out = struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, snaplen, linktype)
    for i, frame in enumerate(frames):
        cut = frame[:snaplen]
        out += struct.pack("=IIII", 1_700_000_000, i, len(cut), len(frame)) + cut
    path.write_bytes(out)
    return path


def test_ethernet(tmp_path: Path) -> None:
    frames = ethernet_frames()
    path = pcap_of(tmp_path / "a.pcap", frames, 1)
    assert assert_agrees(path) == len(frames) == count(path)


@pytest.mark.parametrize("snaplen", [13, 14, 20, 34, 36, 40, 42, 48, 54, 60, 64, 68, 96])
def test_cut_by_the_snaplen(tmp_path: Path, snaplen: int) -> None:
    frames = ethernet_frames()
    assert assert_agrees(pcap_of(tmp_path / "a.pcap", frames, 1, snaplen)) == len(frames)


PACKETS4 = [bytes(IP4 / UDP(sport=1, dport=2) / b"data"), bytes(IP4 / ICMP(id=1, seq=2))]
PACKETS6 = [bytes(IP6 / UDP(sport=1, dport=2) / b"data")]
MAC = bytes.fromhex("0242ac110002")


@pytest.mark.parametrize(
    ("linktype", "head4", "head6"),
    [
        (101, b"", b""),
        (228, b"", None),
        (229, None, b""),
        (0, struct.pack("<I", 2), struct.pack("<I", 30)),
        (0, struct.pack(">I", 2), struct.pack(">I", 28)),
        (108, struct.pack(">I", 2), struct.pack(">I", 24)),
        (
            113,
            struct.pack("!HHH6s2xH", 4, 1, 6, MAC, 0x0800),
            struct.pack("!HHH6s2xH", 0, 1, 6, MAC, 0x86DD),
        ),
        (276, sll2(0x0800, b""), sll2(0x86DD, b"")),
    ],
    ids=["raw", "ipv4", "ipv6", "null-le", "null-be", "loop", "sll", "sll2"],
)
def test_link_types(
    tmp_path: Path, linktype: int, head4: bytes | None, head6: bytes | None
) -> None:
    frames = [] if head4 is None else [head4 + packet for packet in PACKETS4]
    frames += [] if head6 is None else [head6 + packet for packet in PACKETS6]
    path = pcap_of(tmp_path / "a.pcap", frames, linktype)
    assert assert_agrees(path) == len(frames)
    assert all(row["udp.dstport"] or row["icmp.seq"] for row in fields(path))


def test_our_own_file(tmp_path: Path) -> None:
    names = ["tomcat01:eth0", "veth3d64d10", "docker0"]
    out = blocks.section_header()
    for name in names:
        out += blocks.interface_description(name, snaplen=262144)
    frames = ethernet_frames()
    for i, frame in enumerate(frames):
        out += blocks.enhanced_packet(i % 3, 1_700_000_000_123_456_789 + i, frame, len(frame))
    path = tmp_path / "a.pcapng"
    path.write_bytes(out)
    assert assert_agrees(path) == len(frames)
    assert {row["frame.interface_name"] for row in fields(path)} == set(names)


def test_the_comparison_notices_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import analyzer

    path = pcap_of(tmp_path / "a.pcap", [bytes(ETHERNET["tcp"])], 1)
    right = analyzer.read_frames(path)
    for column in ("ttl", "src_port", "tcp_seq", "ip_id", "wirelen", "ts_ns", "payload_len"):
        wrong = right.with_columns(right[column] + 1)
        monkeypatch.setattr(analyzer, "read_frames", lambda _, table=wrong: table, raising=False)
        with pytest.raises(AssertionError, match=column):
            assert_agrees(path)
