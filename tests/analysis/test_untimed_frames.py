"""Frames of which the file tells no time (Simple Packet Blocks): counted, in no delay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from odd_files import START_NS, back, described, ethernet, packet, reply, request, write_pcapng
from savefile_builder import Pcapng

from analyzer import read, read_frames
from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.app.export import export_annotated
from analyzer.cli import cli

WIRE = 98


def simple(frame: bytes) -> bytes:
    return Pcapng().simple(frame[:60], WIRE)


@pytest.fixture
def mixed(tmp_path: Path) -> str:
    """A request at two interfaces, at the first without a time, and its reply; a second one."""
    asked, answered = ethernet(request()), back(reply())
    blocks = [simple(asked), packet(asked, 0, 1), packet(ethernet(request(2)), 5000, 1)]
    blocks += [packet(answered, 90_000, 1), simple(back(reply(2)))]
    return write_pcapng(
        tmp_path / "mixed.pcapng", [described(snaplen=60, name="a"), described(name="b")], blocks
    )


def test_they_are_counted_and_tied_but_in_no_delay(mixed: str) -> None:
    report, errors = report_files([mixed], AnalysisOptions(packets=True))
    assert not errors
    assert (report.capture.frames, report.capture.untimed) == (5, 2)
    assert (report.capture.start_ns, report.capture.end_ns) == (START_NS, START_NS + 90_000)
    (row,) = report.icmp
    assert (row.sent, row.lost, row.duplicates, row.rtt_max_ns) == (2, 0, 0, None)
    assert [(hop.packets, hop.p50_ns, hop.max_ns) for hop in report.hops] == [(1, None, None)]
    assert [one.code for one in report.findings] == ["no-times"]
    assert [one.deltas_ns for one in report.packets] == [[None, None], [0], [0], [None]]


def test_tables_tell_no_time_of_them(mixed: str) -> None:
    frames, tables = read_frames(mixed), read(mixed)
    assert [ts is None for ts in frames["ts_ns"]] == [True, False, False, False, True]
    assert [ts is None for ts in tables.packets["ts_ns"]] == [True, False, False, True]
    assert tables.packets["one_way_ns"].null_count() == 4
    assert tables.journeys["delay_ns"].null_count() == 5


@pytest.mark.parametrize("words", [(), ("--journey", "1")])
def test_show_prints_no_time(words: tuple[str, ...], mixed: str) -> None:
    out = CliRunner().invoke(cli, ["show", mixed, *words]).output
    assert "00:00:00.000000000" not in out
    assert "–" in out


def test_a_file_without_any_time_has_no_start_and_loses_nothing(tmp_path: Path) -> None:
    blocks = [simple(ethernet(request(n))) for n in (1, 2)] + [simple(back(reply()))]
    path = write_pcapng(tmp_path / "none.pcapng", [described(snaplen=60)], blocks)
    result = CliRunner().invoke(cli, ["report", "--json", "--packets", path])
    told: dict[str, Any] = json.loads(result.output)
    assert (told["capture"]["start_ns"], told["capture"]["end_ns"]) == (None, None)
    (row,) = told["icmp"]
    assert (row["sent"], row["answered"], row["lost"], row["rtt_p50_ns"]) == (2, 1, 0, None)
    assert [echo["lost_after"] for echo in row["echoes"]] == [None, None]
    assert "1970" not in CliRunner().invoke(cli, ["report", path]).output


def test_their_comments_tell_no_time(mixed: str, tmp_path: Path) -> None:
    target = tmp_path / "annotated.pcapng"
    export_annotated(mixed, str(target))
    assert "span hop a → b ? µs; ? µs since a".encode() in target.read_bytes()
