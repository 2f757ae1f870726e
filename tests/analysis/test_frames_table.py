"""``analyzer.read_frames``, and that the package costs nothing until it is used."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest

import analyzer
from analyzer.savefile import blocks

ARP = bytes.fromhex(
    "ffffffffffff0242ac110002080600010800060400010242ac110002ac110002000000000000ac110003"
)
ECHO = bytes.fromhex(
    "0242ac1100030242ac11000208004500001c1234000040010000ac110002ac1100030800000047110001"
)
NAMES = ["tomcat01:eth0", "veth3d64d10"]


def write_file(path: Path) -> bytes:
    data = blocks.section_header()
    data += b"".join(blocks.interface_description(name, snaplen=0) for name in NAMES)
    data += blocks.enhanced_packet(0, 10**18, ARP, 42, flags=2)
    data += blocks.enhanced_packet(1, 10**18 + 1, ECHO, 42, flags=1)
    path.write_bytes(data)
    return data


def test_table(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    write_file(path)
    frames = analyzer.read_frames(path)
    assert len(frames) == 2
    arp, echo = frames.iter_rows(named=True)
    assert {name: value for name, value in arp.items() if value is not None} == {
        "frame": 1,
        "ts_ns": 10**18,
        "vantage": "tomcat01:eth0",
        "direction": "egress",
        "caplen": 42,
        "wirelen": 42,
        "eth_src": "02:42:ac:11:00:02",
        "eth_dst": "ff:ff:ff:ff:ff:ff",
        "ethertype": 0x0806,
        "arp_op": 1,
        "arp_sha": "02:42:ac:11:00:02",
        "arp_spa": "172.17.0.2",
        "arp_tha": "00:00:00:00:00:00",
        "arp_tpa": "172.17.0.3",
        "marks": 0,
    }
    assert {name: value for name, value in echo.items() if value is not None} == {
        "frame": 2,
        "ts_ns": 10**18 + 1,
        "vantage": "veth3d64d10",
        "direction": "ingress",
        "caplen": 42,
        "wirelen": 42,
        "eth_src": "02:42:ac:11:00:02",
        "eth_dst": "02:42:ac:11:00:03",
        "ethertype": 0x0800,
        "ip_version": 4,
        "src": "172.17.0.2",
        "dst": "172.17.0.3",
        "protocol": 1,
        "ttl": 64,
        "ip_id": 0x1234,
        "ip_len": 28,
        "fragment_offset": 0,
        "icmp_type": 8,
        "icmp_code": 0,
        "icmp_id": 0x4711,
        "icmp_seq": 1,
        "payload_len": 0,
        "marks": 0,
    }


def test_a_cut_file_s_prefix_is_in_the_exception(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    whole = write_file(path)
    full = analyzer.read_frames(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(analyzer.SavefileError, match="cut short in the middle") as caught:
        analyzer.read_frames(path)
    assert caught.value.frames.equals(full[:1])


@pytest.mark.parametrize("data", [b"", b"nonsense", struct.pack("<I", 0xA1B2C3D4)])
def test_what_is_no_capture_file_has_no_frames(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(analyzer.SavefileError) as caught:
        analyzer.read_frames(path)
    assert len(caught.value.frames) == 0
    assert caught.value.frames.columns[:3] == ["frame", "ts_ns", "vantage"]


def test_a_file_without_frames_has_the_same_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    path.write_bytes(blocks.section_header())
    empty = analyzer.read_frames(path)
    write_file(path)
    assert len(empty) == 0
    assert empty.schema == analyzer.read_frames(path).schema


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(analyzer.UsageProblem, match="no such file"):
        analyzer.read_frames(tmp_path / "nothing")


def test_names_of_the_package() -> None:
    for name in analyzer.__all__:
        assert getattr(analyzer, name) is not None
        assert name in dir(analyzer)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = analyzer.nothing


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, analyzer; analyzer.VethscopeError; analyzer.__version__; "
        "print(*(sys.modules.keys() & {'numpy', 'numba', 'polars', 'scapy', 'docker', 'click'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
