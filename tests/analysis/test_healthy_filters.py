"""Of healthy traffic, whatever a filter leaves and whoever captured it: nothing is lost or silent.

A filter that takes one direction, one protocol or large frames only hides what the others would
show; a file of another tool does not even tell which filter it was taken with.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st
from odd_files import (
    ETHERNET,
    IP_A,
    IP_B,
    OUT,
    SLL,
    SLL2,
    A,
    B,
    back,
    ethernet,
    reply,
    request,
    sll,
    sll2,
    write_pcap,
)
from savefile_builder import padded
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from test_healthy_selections import EPB, IDB, block, blocks

from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.model.report import Report

CAPTURES = Path(__file__).parents[2] / "captures"
MS = 1_000_000
IF_FILTER = 11
Keeps = Callable[[bytes], bool]


def ip_of(frame: bytes) -> IP | None:
    layer = Ether(frame).getlayer(IP)
    return layer if isinstance(layer, IP) else None


def from_address(address: str) -> Keeps:
    return lambda frame: getattr(ip_of(frame), "src", None) == address


def to_address(address: str) -> Keeps:
    return lambda frame: getattr(ip_of(frame), "dst", None) == address


FILTERS: dict[str, Keeps] = {
    f"src host {IP_A}": from_address(IP_A),
    f"src host {IP_B}": from_address(IP_B),
    f"dst host {IP_A}": to_address(IP_A),
    f"dst host {IP_B}": to_address(IP_B),
    "icmp[icmptype] = icmp-echo": lambda frame: frame[23:24] == b"\x01" and frame[34:35] == b"\x08",
    "icmp": lambda frame: frame[12:14] == b"\x08\x00" and frame[23:24] == b"\x01",
    "arp": lambda frame: frame[12:14] == b"\x08\x06",
    "arp[7] = 1": lambda frame: frame[12:14] == b"\x08\x06" and frame[21:22] == b"\x01",
    "greater 60": lambda frame: len(frame) >= 60,
    "less 60": lambda frame: len(frame) < 60,
}


def check(report: Report) -> None:
    assert report.losses == []
    assert [row for row in report.hops if row.lost] == []
    for row in report.icmp:
        assert (row.lost, row.answered + row.unmatched <= row.sent) == (0, True)
        assert [echo for echo in row.echoes if echo.lost_after] == []
    assert [row.state for row in report.tcp if row.state in ("unanswered", "refused")] == []
    assert [row for row in (*report.tcp, *report.udp) if row.lost] == []
    assert sum(row.retransmissions for row in report.tcp) == 0
    assert [row for row in report.flows["dns"] if row.unanswered] == []
    assert [row.state for row in report.arp if row.state in ("unanswered", "conflict")] == []
    assert [(f.code, f.text) for f in report.findings if f.severity != "info"] == []


def filtered(data: bytes, expression: str) -> bytes:
    """One of our captures as it would be with this filter."""
    parts, keeps = [], FILTERS[expression]
    option = b"\0" + expression.encode()
    first = struct.pack("<HH", IF_FILTER, len(option)) + padded(option)
    for kind, body in blocks(data):
        if kind == IDB:
            parts.append(block(kind, body[:8] + first + body[8:]))
        elif kind != EPB or keeps(body[20 : 20 + int.from_bytes(body[12:16], "little")]):
            parts.append(block(kind, body))
    return b"".join(parts)


@pytest.mark.parametrize("expression", FILTERS)
def test_whatever_a_filter_leaves_nothing_is_lost(expression: str, tmp_path: Path) -> None:
    whole = (CAPTURES / "tomcat-ping.pcapng").read_bytes()
    path = tmp_path / "part.pcapng"
    path.write_bytes(filtered(whole, expression))
    report, errors = report_files([str(path)], AnalysisOptions(packets=True))
    assert errors == []
    check(report)


def healthy() -> Iterator[tuple[int, bytes]]:
    """(ns, frame) at A's interface: ARP, DNS, a TCP connection and echoes, all of them answered."""
    yield 0, bytes(Ether(src=A, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=A, psrc=IP_A, pdst=IP_B))
    answer = ARP(op=2, hwsrc=B, psrc=IP_B, hwdst=A, pdst=IP_A)
    yield MS, bytes(Ether(src=B, dst=A) / answer)
    name = DNSQR(qname="db.example")
    for at, ends, ports, dns in (
        (2 * MS, (IP_A, IP_B), (40001, 53), DNS(id=9, qd=name)),
        (3 * MS, (IP_B, IP_A), (53, 40001), DNS(id=9, qr=1, qd=name, an=DNSRR(rdata="10.0.0.9"))),
    ):
        data = bytes(IP(src=ends[0], dst=ends[1], id=7) / UDP(sport=ports[0], dport=ports[1]) / dns)
        yield at, ethernet(data) if ends[0] == IP_A else back(data)
    for number, (client, flags, seq, ack, size) in enumerate(
        [
            (True, "S", 99, 0, 0),
            (False, "SA", 499, 100, 0),
            (True, "A", 100, 500, 0),
            (True, "PA", 100, 500, 80),
            (False, "PA", 500, 180, 900),
            (True, "A", 180, 1400, 0),
            (True, "FA", 180, 1400, 0),
            (False, "FA", 1400, 181, 0),
            (True, "A", 181, 1401, 0),
        ]
    ):
        ends, ports = ((IP_A, IP_B), (40000, 80)) if client else ((IP_B, IP_A), (80, 40000))
        head = IP(src=ends[0], dst=ends[1], id=20 + number, flags="DF")
        tcp = TCP(sport=ports[0], dport=ports[1], flags=flags, seq=seq, ack=ack)
        data = bytes(head / tcp / (b"d" * size))
        yield (4 + number) * MS, ethernet(data) if client else back(data)
    for number in range(3):
        yield (20 + 10 * number) * MS, ethernet(request(number))
        yield (21 + 10 * number) * MS, back(reply(number))
    yield 2000 * MS, ethernet(bytes(IP(src=IP_A, dst=IP_B, id=99) / UDP(sport=9, dport=9) / b"end"))


WHOLE = list(healthy())


def everywhere(frames: Sequence[tuple[int, bytes]], linktype: int) -> list[tuple[int, bytes]]:
    """The same frames as ``tcpdump -i any`` would show them on the host: in, and out again."""
    shown = []
    for ns, frame in frames:
        away = frame[6:12] == bytes.fromhex(A.replace(":", ""))
        for step, device in enumerate((4, 5) if away else (5, 4)):
            kind, mac = step * OUT, frame[6:12]
            cooked = (
                sll2(frame[14:], device, kind, mac)
                if linktype == SLL2
                else sll(frame[14:], kind, mac)
            )
            ethertype = frame[12:14]
            at = 0 if linktype == SLL2 else 14
            shown.append((ns + 10_000 * step, cooked[:at] + ethertype + cooked[at + 2 :]))
    return sorted(shown)


@pytest.mark.parametrize("linktype", [ETHERNET, SLL, SLL2])
@drawn(60)
@given(data=st.data())
def test_of_other_tools_files_nothing_is_lost_whatever_is_left_out(
    linktype: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    frames = WHOLE
    if expression := data.draw(st.sampled_from(["", *FILTERS]), "filter"):
        frames = [one for one in frames if FILTERS[expression](one[1])]
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(frames))] * 2), "part of it"))
    frames = frames[first:last] or frames
    if linktype != ETHERNET:
        frames = everywhere(frames, linktype)
    path = tmp_path_factory.mktemp("part") / "part.pcap"
    report, errors = report_files(
        [write_pcap(path, frames, linktype)], AnalysisOptions(packets=True)
    )
    assert errors == []
    check(report)
