"""Captures of all interfaces at once (``tcpdump -i any``), and of several link types: the frames of
one packet are one packet, each at its device."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from odd_files import (
    IN,
    OUT,
    RAW,
    SLL,
    SLL2,
    A,
    described,
    ethernet,
    packet,
    reply,
    request,
    sll,
    sll2,
    write_pcap,
    write_pcapng,
)

from analyzer import read, read_frames
from analyzer.analysis.analyse import report_files
from analyzer.engines.lab import Lab
from analyzer.model.report import Report


def report_of(path: str) -> Report:
    report, errors = report_files([path])
    assert not errors
    return report


@pytest.fixture
def any_device(tmp_path: Path) -> str:
    asked = [(2, OUT), (3, IN), (5, IN), (7, OUT)]
    answered = [(7, IN), (5, IN), (3, OUT)]
    frames = [sll2(request(), *at) for at in asked] + [sll2(reply(), *at) for at in answered]
    return write_pcap(tmp_path / "any.pcap", [(1000 * n, f) for n, f in enumerate(frames)], SLL2)


def test_each_device_of_a_capture_of_all_is_a_vantage(any_device: str) -> None:
    report = report_of(any_device)
    seen = [(v.name, v.ifindex, v.frames, v.inferred) for v in report.vantages]
    assert seen == [(f"if{n}", n, count, True) for n, count in ((2, 1), (3, 2), (5, 2), (7, 2))]
    (row,) = report.icmp
    assert (row.sent, row.answered, row.lost, row.duplicates, row.rtt_p50_ns) == (1, 1, 0, 0, None)
    assert {hop.packets for hop in report.hops} == {1}
    assert [(hop.from_, hop.to) for hop in report.hops] == [
        *(("if2", "if3"), ("if3", "if5"), ("if5", "if7")),
        *(("if7", "if5"), ("if5", "if3")),
    ]


def test_the_header_tells_device_and_direction(any_device: str) -> None:
    frames = read_frames(any_device)
    assert frames["vantage"].to_list() == ["if2", "if3", "if5", "if7", "if7", "if5", "if3"]
    ways = ["egress", "ingress", "ingress", "egress", "ingress", "ingress", "egress"]
    assert frames["direction"].to_list() == ways
    packets = read(any_device).packets
    assert packets["frames"].to_list() == [4, 3]
    assert packets["path"].to_list() == [["if2", "if3", "if5", "if7"], ["if7", "if5", "if3"]]


def test_without_a_device_all_copies_are_still_one_packet(tmp_path: Path) -> None:
    frames = [sll(request(seq), way) for seq in (1, 2, 3) for way in (IN, IN, OUT)]
    frames += [sll(reply(seq), way) for seq in (1, 2, 3) for way in (IN, IN, OUT)]
    at = [10**9 * (n // 3 % 3) + 10_000 * (n // 9) + n for n in range(18)]
    stamped = sorted(zip(at, frames, strict=True))
    report = report_of(write_pcap(tmp_path / "cooked.pcap", stamped, SLL))
    (row,) = report.icmp
    assert (row.sent, row.answered, row.lost, row.duplicates) == (3, 3, 0, 0)
    assert report.hops == []
    assert [(len(one.nodes), one.rounds) for one in report.paths] == [(1, 0)]


def test_link_types_do_not_matter_to_what_is_inside(tmp_path: Path) -> None:
    kinds = [(1, ethernet(request())), (SLL2, sll2(request(), 3)), (RAW, request())]
    kinds.append((SLL, sll(request())))
    interfaces = [described(linktype) for linktype, _ in kinds]
    blocks = [packet(frame, 4000 * n, n) for n, (_, frame) in enumerate(kinds)]
    report = report_of(write_pcapng(tmp_path / "mixed.pcapng", interfaces, blocks))
    assert [row.sent for row in report.icmp] == [1]
    assert [hop.packets for hop in report.hops] == [1, 1, 1]
    assert sum(vantage.frames for vantage in report.vantages) == 4


def test_a_router_between_two_interfaces_leaves_one_packet(tmp_path: Path) -> None:
    frames = [ethernet(request(ttl=64)), ethernet(request(ttl=63), "02:00:00:00:00:01", A)]
    blocks = [packet(frame, 4000 * n, n) for n, frame in enumerate(frames)]
    interfaces = [described(name="eth0"), described(name="eth1")]
    report = report_of(write_pcapng(tmp_path / "routed.pcapng", interfaces, blocks))
    assert [(hop.from_, hop.to, hop.packets) for hop in report.hops] == [("eth0", "eth1", 1)]


@pytest.mark.parametrize("names", [("veth1", "docker0", "veth2"), ("docker0", "veth1", "veth2")])
def test_of_equal_stamps_the_bridges_copy_is_behind_its_port(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    interfaces = [described(name=name) for name in names]
    late = {"veth2": 5000}
    blocks = [packet(ethernet(request()), late.get(name, 0), n) for n, name in enumerate(names)]
    path = write_pcapng(tmp_path / "equal.pcapng", interfaces, blocks)
    assert read(path).packets["path"].to_list() == [["veth1", "docker0", "veth2"]]


@pytest.mark.root
@pytest.mark.parametrize("linktype", ["LINUX_SLL2", "LINUX_SLL"])
def test_a_clean_ping_captured_everywhere_has_no_duplicates(
    linktype: str, lab: Lab, tmp_path: Path
) -> None:
    path = str(tmp_path / "any.pcap")
    words = ["tcpdump", "-i", "any", "-y", linktype, "--immediate-mode", "-U", "-w", path, "icmp"]
    tcpdump = lab.start("host", words, stderr=-1, text=True)
    assert tcpdump.stderr is not None
    while "listening" not in tcpdump.stderr.readline():
        assert tcpdump.poll() is None
    lab.run("tomcat01", ["ping", "-c3", "-i0.01", "172.17.0.3"])
    lab.run("tomcat01", ["ping", "-c1", "-p", "5a", "172.17.0.1"])
    patience = time.monotonic() + 20
    while b"\x5a" * 32 not in Path(path).read_bytes():  # what came before it is in the file, too
        assert time.monotonic() < patience
    tcpdump.send_signal(signal.SIGINT)
    tcpdump.communicate(timeout=20)
    row = report_of(path).icmp[0]
    assert (row.sent, row.answered, row.lost, row.duplicates) == (3, 3, 0, 0)
    assert row.rtt_p50_ns is not None
