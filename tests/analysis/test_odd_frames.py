"""Odd frames of other tools' files: stamps out of order, many tags, lengths that contradict."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from click.testing import CliRunner
from odd_files import back, ethernet, reply, request, write_pcap

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
