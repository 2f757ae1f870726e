"""UDP in fragments: the datagram is counted, by its first fragment, and duplicates are told."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
from odd_files import IP_A, IP_B, ethernet, write_pcap
from scapy.layers.inet import IP, UDP, fragment

from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.model.flow_rows import UdpRow


def pieces(ident: int, size: int = 3000) -> list[bytes]:
    datagram = IP(src=IP_A, dst=IP_B, id=ident) / UDP(sport=5000, dport=6000) / (b"d" * size)
    return [ethernet(bytes(part)) for part in fragment(datagram, fragsize=1480)]


def udp_of(frames: list[bytes], tmp_path: Path, chunk: int = 1 << 17) -> list[UdpRow]:
    path = write_pcap(tmp_path / "f.pcap", [(1000 * n, frame) for n, frame in enumerate(frames)])
    report, errors = report_files([path], AnalysisOptions())
    assert not errors
    rows: list[UdpRow] = report.udp
    return rows


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_datagram_is_counted_once(order: tuple[int, ...], tmp_path: Path) -> None:
    parts = pieces(99)
    (row,) = udp_of([parts[n] for n in order], tmp_path)
    assert (row.client_port, row.server_port) == (5000, 6000)
    assert (row.packets, row.bytes, row.fragments, row.duplicate_fragments) == (1, 3000, 3, 0)


@pytest.mark.parametrize("again", [0, 1, 2])
def test_a_fragment_that_comes_again_is_a_duplicate(again: int, tmp_path: Path) -> None:
    parts = pieces(99)
    (row,) = udp_of([*parts, parts[again]], tmp_path)
    assert (row.packets, row.bytes, row.fragments, row.duplicate_fragments) == (1, 3000, 3, 1)


def test_without_the_first_fragment_nobody_knows_the_ports(tmp_path: Path) -> None:
    whole, headless = pieces(99), pieces(100)[1:]
    first, second = udp_of([*whole[::-1], whole[1], *headless], tmp_path)
    assert (first.packets, first.bytes, first.duplicate_fragments) == (1, 3000, 1)
    assert (second.client_port, second.server_port) == (None, None)
    assert (second.client, second.server, second.packets) == (IP_A, IP_B, 1)
    assert (second.bytes, second.fragments, second.lost) == (1528, 2, 0)


def test_each_datagram_counts(tmp_path: Path) -> None:
    small = ethernet(bytes(IP(src=IP_A, dst=IP_B, id=7) / UDP(sport=5000, dport=6000) / b"x"))
    (row,) = udp_of([*pieces(1), *pieces(2), small], tmp_path)
    assert (row.packets, row.bytes, row.fragments) == (3, 6001, 6)
