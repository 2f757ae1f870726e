"""Odd frames of other tools' files: stamps out of order, many tags, lengths that contradict."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner
from odd_files import (
    IP_A,
    IP_B,
    SLL,
    A,
    B,
    back,
    described,
    ethernet,
    packet,
    reply,
    request,
    sll,
    write_pcap,
    write_pcapng,
)
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

from analyzer import read, read_frames
from analyzer.analysis.analyse import report_files
from analyzer.cli import cli
from analyzer.model.report import Report

DAY_NS = 86_400 * 10**9
DOT1Q, DOT1AD = 0x8100, 0x88A8


def report_of(path: str) -> Report:
    report, errors = report_files([path])
    assert not errors
    return report


def told(report: Report) -> list[tuple[str, str]]:
    return [(one.severity, one.code) for one in report.findings]


def test_stamps_far_out_of_order_are_one_warning(tmp_path: Path) -> None:
    asked = {n: ethernet(request(n)) for n in (1, 2, 3, 4)}
    frames = [(300_000, back(reply(1))), (100_000, asked[1]), (100_000, asked[2])]
    frames += [(100_000, back(reply(2))), (0, asked[3]), (12 * DAY_NS, asked[4])]
    frames += [(250_000, back(reply(3)))]
    report = report_of(write_pcap(tmp_path / "order.pcap", frames))
    (row,) = report.icmp
    assert (row.sent, row.answered, row.lost, row.unmatched) == (4, 3, 0, 1)
    assert (row.rtt_min_ns, row.rtt_p50_ns, row.rtt_max_ns) == (0, 200_000, 250_000)
    assert told(report) == [("warning", "stamps-out-of-order")]
    assert "1,036,800 s" in report.findings[0].text


def test_frames_a_little_out_of_order_are_none(tmp_path: Path) -> None:
    frames = [(200_000_000, ethernet(request(2))), (0, ethernet(request(1)))]
    assert told(report_of(write_pcap(tmp_path / "order.pcap", frames))) == []


@pytest.mark.parametrize("tags", [(5,), (10, 5), (1, 2, 3), (0,), ()])
def test_every_vlan_tag_is_kept(tags: tuple[int, ...], tmp_path: Path) -> None:
    plain = ethernet(request())
    tpids = (DOT1AD, *[DOT1Q] * 9) if len(tags) > 1 else (DOT1Q,)
    inserted = b"".join(struct.pack(">HH", *both) for both in zip(tpids, tags, strict=False))
    path = write_pcap(tmp_path / "vlan.pcap", [(0, plain[:12] + inserted + plain[12:])])
    for table in (read_frames(path), read(path).packets):
        assert table["vlans"].to_list() == [list(tags) or None]
        assert table["vlan"].to_list() == [tags[0] if tags else None]
    out = CliRunner().invoke(cli, ["show", path]).output
    assert (f"vlan {','.join(map(str, tags))}: ICMP" in out) == bool(tags)


def capture_of(packets: list[bytes], tmp_path: Path, linktype: int = 1) -> str:
    frames = [(1000 * number, frame) for number, frame in enumerate(packets)]
    return write_pcap(tmp_path / "odd.pcap", frames, linktype)


@pytest.mark.parametrize(
    ("number", "name"), [(2, "igmp"), (132, "sctp"), (47, "gre"), (51, "ah"), (50, "esp")]
)
def test_protocols_are_told_by_name(number: int, name: str, tmp_path: Path) -> None:
    data = bytes(IP(src=IP_A, dst=IP_B, proto=number) / (b"x" * 24))
    path = capture_of([ethernet(data)], tmp_path)
    assert read(path).packets["protocol"].to_list() == [name]
    assert f"{name.upper()}, length 44" in CliRunner().invoke(cli, ["show", path]).output


@pytest.mark.parametrize(("ethertype", "shown"), [(0x8847, "MPLS"), (0x8864, "PPPoE")])
def test_what_is_beneath_ip_is_told_by_name(ethertype: int, shown: str, tmp_path: Path) -> None:
    path = capture_of([ethernet(b"x" * 46, ethertype=ethertype)], tmp_path)
    assert read(path).packets["protocol"].to_list() == [shown.lower()]
    assert f"{shown}, length 60" in CliRunner().invoke(cli, ["show", path]).output


def test_geneve_is_told_by_name(tmp_path: Path) -> None:
    data = bytes(IP(src=IP_A, dst=IP_B) / UDP(sport=40000, dport=6081) / (b"x" * 24))
    out = CliRunner().invoke(cli, ["show", capture_of([ethernet(data)], tmp_path)]).output
    assert "Geneve, UDP 40000 → 6081" in out


def test_mapped_addresses_of_ipv6_stay_ipv6(tmp_path: Path) -> None:
    data = bytes(IPv6(src="::ffff:10.0.0.1", dst="::ffff:10.0.0.2") / UDP(sport=1, dport=2))
    path = capture_of([ethernet(data, ethertype=0x86DD)], tmp_path)
    assert read_frames(path)["src"].to_list() == ["::ffff:10.0.0.1"]
    assert read(path).packets["source"].to_list() == ["::ffff:10.0.0.1"]


def test_without_a_link_layer_address_there_is_none(tmp_path: Path) -> None:
    path = capture_of([sll(request(), mac=b""), sll(request(2))], tmp_path, SLL)
    assert read_frames(path)["eth_src"].to_list() == [None, A]


def test_link_types_that_are_not_read_are_named_and_counted(tmp_path: Path) -> None:
    report = report_of(capture_of([b"x" * 40, b"y" * 40], tmp_path, 127))
    assert told(report) == [("info", "undecoded-link-type")]
    assert "link type 127 (IEEE802_11_RADIOTAP) is not decoded: 2 frames" in report.findings[0].text


def test_a_file_that_is_given_twice_is_read_once(tmp_path: Path) -> None:
    path = capture_of([ethernet(request()), back(reply())], tmp_path)
    copy = tmp_path / "copy.pcap"
    copy.write_bytes(Path(path).read_bytes())
    report, _ = report_files([path, path, str(copy)])
    assert (report.capture.frames, report.icmp[0].answered) == (2, 1)
    assert told(report) == [("warning", "same-file-twice")] * 2


def lying_options() -> bytes:
    segment = TCP(sport=1, dport=2, flags="A", options=[("Timestamp", (1, 2)), ("NOP", None)])
    data = bytearray(bytes(IP(src=IP_A, dst=IP_B) / segment))
    data[41] = 77  # the option's length
    return ethernet(bytes(data))


def too_long() -> bytes:
    return ethernet(bytes(IP(src=IP_A, dst=IP_B, len=5000) / UDP(sport=1, dport=2, len=4980)))


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (lying_options(), "lengths or options in a header cannot be"),
        (too_long(), "IP's length is larger than the frame"),
    ],
)
def test_frames_that_contradict_themselves_are_one_warning(
    frame: bytes, words: str, tmp_path: Path
) -> None:
    report = report_of(capture_of([ethernet(request()), frame, frame], tmp_path))
    assert told(report) == [("warning", "malformed-frames")]
    assert report.findings[0].text.startswith(f"{words}: 2 frames, the first is frame 2")
    assert sum(row.bytes for row in report.flows["udp"]) == 0  # not what the header says


def test_more_captured_than_there_was_is_one_warning(tmp_path: Path) -> None:
    blocks = [packet(ethernet(request()), 0, wirelen=60)]
    report = report_of(write_pcapng(tmp_path / "over.pcapng", [described()], blocks))
    assert told(report) == [("warning", "malformed-frames")]


def test_gratuitous_replies_are_no_requests(tmp_path: Path) -> None:
    reply_to_all = Ether(src=A, dst="ff:ff:ff:ff:ff:ff") / ARP(
        op=2, hwsrc=A, psrc=IP_A, hwdst="ff:ff:ff:ff:ff:ff", pdst=IP_A
    )
    report = report_of(capture_of([bytes(reply_to_all)] * 2, tmp_path))
    (row,) = report.flows["arp"]
    assert (row.state, row.requests, row.asker_mac) == ("gratuitous", 0, A)
    assert not [one for one in told(report) if one[0] != "info"]


def test_that_no_echo_was_lost_is_not_known_without_topology(tmp_path: Path) -> None:
    path = capture_of([ethernet(request()), ethernet(reply(), B, A)], tmp_path)
    out = CliRunner().invoke(cli, ["report", path]).output
    assert "1 answered, – lost" in out
    assert re.search(r" 1 +1 +– +0 ", out)
