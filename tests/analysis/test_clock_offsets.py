"""Files of two hosts whose clocks are apart: told, and no packet is taken for another one."""

from __future__ import annotations

from pathlib import Path

import pytest
from odd_files import IP_A, IP_B, back, ethernet, reply, request, write_pcap
from scapy.layers.inet import IP, TCP

from analyzer.analysis.analyse import report_files
from analyzer.model.report import Report

MS = 1_000_000
AHEAD_NS = 17_300 * MS
WAY_NS = 2 * MS
"""a packet is so long on its way"""


def connection() -> list[tuple[int, bool, bytes]]:
    """(when it is sent, by the client, packet) of a handshake and ten segments with their ACKs."""

    def segment(client: bool, number: int, flags: str, seq: int, ack: int, size: int = 0) -> bytes:
        ends = (IP_A, IP_B) if client else (IP_B, IP_A)
        ports = (40000, 80) if client else (80, 40000)
        head = IP(src=ends[0], dst=ends[1], id=number, flags="DF")
        tcp = TCP(sport=ports[0], dport=ports[1], flags=flags, seq=seq, ack=ack)
        return bytes(head / tcp / (b"d" * size))

    sent = [(0, True, segment(True, 1, "S", 99, 0))]
    sent.append((3 * MS, False, segment(False, 1, "SA", 499, 100)))
    for n in range(10):
        at = (10 + 10 * n) * MS
        sent.append((at, True, segment(True, 2 + n, "PA", 100 + 100 * n, 500, 100)))
        sent.append((at + 3 * MS, False, segment(False, 2 + n, "A", 500, 200 + 100 * n)))
    return sent


def captured(at_client: bool, ahead_ns: int, path: Path, only_client: bool = False) -> str:
    frames = []
    for sent_ns, by_client, packet in connection():
        if only_client and not by_client:
            continue
        seen_ns = sent_ns + (0 if by_client == at_client else WAY_NS) + ahead_ns
        # behind a router the frames have other addresses
        frame = ethernet(packet) if at_client else ethernet(packet, "02:00:00:00:00:01")
        frames.append((seen_ns, frame))
    return write_pcap(path, frames)


def report_of(*paths: str) -> Report:
    report, errors = report_files(paths)
    assert not errors
    return report


@pytest.mark.parametrize("ahead_ns", [AHEAD_NS, -AHEAD_NS, 40 * MS, -40 * MS])
def test_an_offset_is_told_and_makes_no_retransmissions(ahead_ns: int, tmp_path: Path) -> None:
    one = captured(True, 0, tmp_path / "client.pcap")
    two = captured(False, ahead_ns, tmp_path / "server.pcap")
    report = report_of(one, two)
    (row,) = report.flows["tcp"]
    assert (row.packets, row.retransmissions, row.lost, row.duplicate_acks) == (22, 0, 0, 0)
    assert [one.code for one in report.findings] == ["clock-offset"]
    words = "ahead of" if ahead_ns > 0 else "behind"
    assert f"server.pcap is {'17.3 s' if abs(ahead_ns) == AHEAD_NS else '40'}" in (
        report.findings[0].text
    )
    assert words in report.findings[0].text
    delays = {(hop.from_, hop.to): (hop.p50_ns, hop.packets) for hop in report.hops}
    assert delays == {("client", "server"): (WAY_NS, 11), ("server", "client"): (WAY_NS, 11)}


def test_an_offset_that_only_one_direction_shows(tmp_path: Path) -> None:
    one = captured(True, 0, tmp_path / "client.pcap", only_client=True)
    two = captured(False, AHEAD_NS, tmp_path / "server.pcap", only_client=True)
    report = report_of(one, two)
    assert report.flows["tcp"][0].retransmissions == 0
    assert "take the quickest to need no time" in report.findings[0].text


def test_files_of_one_clock_have_none(tmp_path: Path) -> None:
    one = captured(True, 0, tmp_path / "client.pcap")
    two = captured(False, 0, tmp_path / "server.pcap")
    report = report_of(one, two)
    assert report.findings == []
    assert report.flows["tcp"][0].retransmissions == 0


def test_files_that_follow_each_other_have_none(tmp_path: Path) -> None:
    early = [(n * MS, ethernet(request(n))) for n in range(5)]
    early += [(n * MS + 1000, back(reply(n))) for n in range(5)]
    late = [(10**10 + n * MS, ethernet(request(9 + n))) for n in range(5)]
    report = report_of(
        write_pcap(tmp_path / "a.pcap", early), write_pcap(tmp_path / "b.pcap", late)
    )
    assert "clock-offset" not in [one.code for one in report.findings]
