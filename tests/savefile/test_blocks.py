"""The blocks are what other programs read: scapy's and tshark's word counts."""

from __future__ import annotations

import json
import re
import struct
import subprocess
from pathlib import Path

import pytest
from scapy.utils import RawPcapNgReader

from analyzer.savefile import blocks

FRAME = bytes(range(61))


def a_file() -> bytes:
    return b"".join(
        [
            blocks.section_header(comment='{"a":1}', hardware="x86_64", application="vethscope"),
            blocks.interface_description(
                "tomcat01:eth0",
                snaplen=262144,
                description="eth0 of tomcat01",
                mac="02:42:ac:11:00:02",
                addresses=("172.17.0.2/16", "fe80::1/64", "10.0.0.1"),
                filter_text="icmp or arp",
                comment='{"vethscope":1}',
            ),
            blocks.interface_description("docker0", snaplen=262144),
            blocks.name_resolution({"172.17.0.2": "tomcat01", "fd00::2": "tomcat02"}),
            blocks.enhanced_packet(0, 1_700_000_000_123_456_789, FRAME, 1500, flags=0x2),
            blocks.enhanced_packet(
                1, 1_700_000_000_123_456_790, FRAME[:60], 60, packet_id=7, comment="first hop"
            ),
            blocks.interface_statistics(
                0,
                1_700_000_001_000_000_000,
                start_ns=5,
                end_ns=6,
                received=9,
                dropped=2,
                delivered=7,
            ),
        ]
    )


def tshark(path: Path, *fields: str) -> list[list[str]]:
    command = ["tshark", "-r", str(path), "-n", "-T", "fields"]
    for field in fields:
        command += ["-e", field]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "damaged" not in done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "a.pcapng"
    found.write_bytes(a_file())
    return found


def test_scapy_reads_frames_as_written(path: Path) -> None:
    with RawPcapNgReader(str(path)) as reader:
        first, second = list(reader)
    assert first[0] == FRAME
    assert first[1].wirelen == 1500
    stamp = (first[1].tshigh << 32) + first[1].tslow
    assert (stamp, first[1].tsresol) == (1_700_000_000_123_456_789, 10**9)
    assert first[1].ifname == b"tomcat01:eth0"
    assert (second[0], second[1].ifname) == (FRAME[:60], b"docker0")


def test_tshark_reads_what_stands_beside_the_frames(path: Path) -> None:
    fields = ("frame.interface_name", "frame.interface_description", "frame.packet_flags")
    more = ("frame.packet_id", "frame.comment", "frame.time_epoch", "frame.len", "frame.cap_len")
    first, second = tshark(path, *fields, *more)
    assert first[:3] == ["tomcat01:eth0", "eth0 of tomcat01", "0x00000002"]
    assert first[5:] == ["1700000000.123456789", "1500", "61"]
    assert second[0] == "docker0"
    assert (second[3], second[4]) == ("7", "first hop")


def test_capinfos_reads_interfaces_and_statistics(path: Path) -> None:
    done = subprocess.run(["capinfos", str(path)], check=True, capture_output=True, text=True)
    for line in (
        "Number of interfaces in file: 2",
        "Capture application: vethscope",
        'Capture comment:     {"a":1}',
        "Filter string = icmp or arp",
        'Comment = {"vethscope":1}',
        "Number of stat entries = 1",
        "Time resolution = 0x09",
        "Number of resolved IPv4 addresses in file: 1",
        "Number of resolved IPv6 addresses in file: 1",
    ):
        assert line in done.stdout


def test_tcpdump_reads_it(path: Path) -> None:
    done = subprocess.run(["tcpdump", "-r", str(path)], check=True, capture_output=True, text=True)
    assert len(re.findall(r"^\d\d:", done.stdout, re.MULTILINE)) == 2


def options_of(block: bytes, start: int) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = {}
    while start < len(block) - 4:
        code, length = struct.unpack_from("=HH", block, start)
        if not code:
            return found
        found.setdefault(code, []).append(block[start + 4 : start + 4 + length])
        start += 4 + (length + 3 & ~3)
    raise AssertionError("no opt_endofopt")


def test_interface_addresses_are_binary() -> None:
    block = blocks.interface_description(
        "e", snaplen=1, mac="02:42:ac:11:00:02", addresses=("172.17.0.2/16", "fe80::1/64")
    )
    found = options_of(block, 16)
    assert found[blocks.IF_IPV4ADDR] == [bytes([172, 17, 0, 2, 255, 255, 0, 0])]
    assert found[blocks.IF_IPV6ADDR] == [bytes.fromhex("fe80" + "00" * 13 + "01" + "40")]
    assert found[blocks.IF_MACADDR] == [bytes([2, 0x42, 0xAC, 0x11, 0, 2])]
    assert found[blocks.IF_TSRESOL] == [b"\x09"]


def test_statistics_leave_out_what_is_unknown() -> None:
    known = options_of(blocks.interface_statistics(0, 1, received=9, dropped=0, delivered=9), 20)
    assert known[blocks.ISB_OSDROP] == [struct.pack("=Q", 0)]
    assert known[blocks.ISB_IFRECV] == known[blocks.ISB_USRDELIV] == [struct.pack("=Q", 9)]
    unknown = options_of(blocks.interface_statistics(0, 1, delivered=9), 20)
    assert set(unknown) == {blocks.ISB_USRDELIV}


def test_statistics_times_are_two_words_high_first() -> None:
    ts_ns = 1_700_000_000_123_456_789
    found = options_of(blocks.interface_statistics(0, 0, end_ns=ts_ns), 20)
    high, low = struct.unpack("=II", found[blocks.ISB_ENDTIME][0])
    assert high << 32 | low == ts_ns


@pytest.mark.parametrize("size", range(5))
def test_every_block_is_whole_and_padded(size: int) -> None:
    block = blocks.enhanced_packet(0, 0, b"x" * size, size, flags=1)
    length = struct.unpack_from("=I", block, 4)[0]
    assert length == len(block) == struct.unpack_from("=I", block, len(block) - 4)[0]
    assert length % 4 == 0


def test_an_option_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="65536 bytes"):
        blocks.option(blocks.OPT_COMMENT, bytes(65536))


def test_a_name_that_is_no_text_is_written_all_the_same(tmp_path: Path) -> None:
    name = b"ve\xff\x1b[31m".decode("utf-8", "surrogateescape")
    path = tmp_path / "odd.pcapng"
    path.write_bytes(
        blocks.section_header(comment=json.dumps({"name": name}))
        + blocks.interface_description(name, snaplen=96)
        + blocks.enhanced_packet(0, 1, FRAME, 61)
    )
    assert tshark(path, "frame.number") == [["1"]]
