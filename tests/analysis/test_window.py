"""``--since`` and ``--until``: what is understood, and that an edge is never a loss."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from drawn import LONG
from frames_report import report_on_frames
from msgspec.structs import replace
from world import MICRO, World

from analyzer.analysis import reading
from analyzer.analysis.analyse import report_files
from analyzer.analysis.frames_table import read_frames
from analyzer.analysis.notes import VantageNotes
from analyzer.analysis.options import AnalysisOptions
from analyzer.analysis.window import Moment, Window, parse_window
from analyzer.errors import UsageProblem
from analyzer.model.report import Report

CAPTURES = Path(__file__).parent.parent.parent / "captures"
PING = str(CAPTURES / "tomcat-ping.pcapng")
S = 1_000_000_000
FIRST = 1_795_478_202 * S + 123_456_789
"""2026-11-23T23:56:42.123456789Z"""


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One hour ahead of UTC in November: there the first frame is of the 24th."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(text: str) -> int:
    return Moment(text, "--since").at(FIRST)


@pytest.mark.parametrize(
    ("text", "seconds", "fraction"),
    [
        ("0", 0, 0),
        ("2.5", 2, S // 2),
        ("+2.5", 2, S // 2),
        ("3.", 3, 0),
        (".25", 0, S // 4),
        ("0.000000001", 0, 1),
        (" 7 ", 7, 0),
        ("0.1234567899", 0, 123_456_789),
    ],
)
def test_seconds_are_after_the_first_frame(text: str, seconds: int, fraction: int) -> None:
    assert at(text) == FIRST + seconds * S + fraction


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("text", "seconds", "fraction"),
    [
        ("00:56:42", 0, 0),
        ("00:57:02.25", 20, S // 4),
        ("00:56:42.123456789", 0, 123_456_789),
        ("2026-11-24T00:56:42", 0, 0),
        ("2026-11-24 00:56:43,5", 1, S // 2),
        ("2026-11-23T23:56:42Z", 0, 0),
        ("2026-11-23t23:56:42.5z", 0, S // 2),
        ("2026-11-23 23:56:42 +00:00", 0, 0),
        ("2026-11-24T01:56:42+02:00", 0, 0),
        ("2026-11-23T18:56:42-0500", 0, 0),
        ("2026-11-24T00:56:42+01", 0, 0),
    ],
)
def test_clocks_are_local_unless_they_say_otherwise(text: str, seconds: int, fraction: int) -> None:
    assert at(text) == FIRST // S * S + seconds * S + fraction


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "-1",
        "1e3",
        "nan",
        "2,5",
        "12:00",
        "12:00:60",
        "24:00:00",
        "1:2:3",
        "12:00:00Z",
        "2026-11-23",
        "2026-02-30T00:00:00",
        "2026-11-23T25:00:00",
        "2026-11-23T23:56:42+25:00",
        "٣",
        "now",
        "2026-11-23T23:56:42 CET",
    ],
)
def test_anything_else_is_one_line(text: str) -> None:
    with pytest.raises(UsageProblem, match="--until") as caught:
        parse_window(None, text)
    assert "\n" not in str(caught.value)
    assert "HH:MM:SS" in str(caught.value)


def test_times_far_away_are_only_far_away() -> None:
    assert at("99999999999999999999") == (1 << 63) - 1
    assert at("9999-12-31T00:00:00Z") == (1 << 63) - 1
    assert at("0001-01-02T00:00:00Z") == -(1 << 63)


@pytest.mark.parametrize(("since", "until"), [("2", "1"), ("1", "1"), ("5", "2000-01-01T00:00:00")])
def test_since_has_to_be_before_until(since: str, until: str) -> None:
    with pytest.raises(UsageProblem, match=f"--since {since} is not before --until {until}"):
        report_files([PING], AnalysisOptions(window=parse_window(since, until)))


def options(since: str | None, until: str | None) -> AnalysisOptions:
    return AnalysisOptions(window=parse_window(since, until))


def test_no_option_is_no_window() -> None:
    assert parse_window(None, None) is None


def halves(after_ns: int, report: Callable[[AnalysisOptions], Report]) -> tuple[Report, Report]:
    """The reports before and from an edge on, the edge in nanoseconds after the first frame."""
    after = f"{after_ns // S}.{after_ns % S:09}"
    early = report(AnalysisOptions(window=Window(until=Moment(after, "--until")), packets=True))
    late = report(AnalysisOptions(window=Window(since=Moment(after, "--since")), packets=True))
    return early, late


def assert_nothing_lost(report: Report) -> None:
    assert report.losses == []
    assert [hop for hop in report.hops if hop.lost] == []
    assert [row for row in report.icmp if row.lost] == []
    assert [
        echo for row in report.icmp for echo in row.echoes if echo.lost or echo.lost_after
    ] == []
    assert {row.state for row in report.arp} <= {"resolved"}
    assert {verdict.result for verdict in report.verdicts} <= {"proved"}


def test_wherever_it_is_cut_the_halves_are_the_whole_and_nothing_is_lost() -> None:
    of_frames = read_frames(PING)["ts_ns"].to_numpy()
    stamps = np.unique(of_frames)
    edges = [*stamps, stamps[-1] + 1]
    for edge in map(int, edges if LONG else edges[::3]):
        early, late = halves(edge - int(stamps[0]), lambda o: report_files([PING], o)[0])
        assert early.capture.frames + late.capture.frames == 110
        assert early.capture.frames == np.count_nonzero(of_frames < edge)
        assert sum(row.sent for half in (early, late) for row in half.icmp) == 10
        answered = sum(row.answered for half in (early, late) for row in half.icmp)
        assert answered in (9, 10)
        assert sum(r.unmatched for half in (early, late) for r in half.icmp) == 10 - answered
        assert_nothing_lost(early)
        assert_nothing_lost(late)


@pytest.mark.parametrize("name", ["tomcat-ping", "iptables-drop"])
@pytest.mark.parametrize("frames", [3, 20])
def test_a_window_of_a_capture_in_chunks(
    name: str, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = [str(CAPTURES / f"{name}.pcapng")]
    windows = [("0.05", None), (None, "0.1"), ("0.012", "0.3"), ("0.2", "0.2001"), ("90", None)]
    whole = [report_files(path, options(*window))[0].to_json() for window in windows]
    monkeypatch.setattr(reading, "CHUNK_FRAMES", frames)
    for window, expected in zip(windows, whole, strict=True):
        found, _ = report_files(path, replace(options(*window), jobs=1))
        assert found.to_json() == expected, window


def test_a_loss_inside_the_window_is_still_one() -> None:
    whole, _ = report_files([str(CAPTURES / "iptables-drop.pcapng")])
    (icmp,) = whole.icmp
    part, _ = report_files([str(CAPTURES / "iptables-drop.pcapng")], options("0.05", None))
    assert 0 < part.icmp[0].sent < icmp.sent
    assert part.icmp[0].lost == part.icmp[0].sent
    assert part.losses[0].packets == part.icmp[0].sent
    assert part.losses[0].expected == whole.losses[0].expected


def halves_of(world: World) -> Callable[[int], tuple[Report, Report]]:
    """Gives the reports before and from so many nanoseconds after the epoch."""
    for row in world.rows:
        row["ts_ns"] += S
        row.update(ethertype=0x0800, ip_version=4, protocol=17, l4_offset=34)
    frames = world.frames()
    notes = [VantageNotes(start_ns=1, end_ns=100 * S, ended=True) for _ in world.vantages]
    first_ns = int(frames["ts_ns"].min())

    def report(options: AnalysisOptions) -> Report:
        return report_on_frames(frames, world.vantages, notes, options)

    return lambda edge_ns: halves(edge_ns - first_ns, report)


def test_a_packet_that_a_queue_holds_over_the_edge_is_unmatched() -> None:
    world = World(qdisc="tbf")
    for n in range(10):
        world.send(0, 1, n * 200_000, key=n + 1, hop_us=(5, 900_000, 2))
    cut_at = halves_of(world)
    for edge in range(S + 3, S + 2_900 * 1000 * MICRO, 70_000 * MICRO):
        early, late = cut_at(edge)
        assert early.losses == late.losses == []


def test_a_loss_is_not_forgiven_for_another_packet_after_the_window() -> None:
    world = World()
    world.send(0, 1, 0, key=1)
    world.send(0, 1, 1_000, key=2, upto=2)
    world.send(0, 1, 900_000, key=3)
    early, late = halves_of(world)(S + 500_000 * MICRO)
    assert [loss.packets for loss in early.losses] == [1]
    assert late.losses == []


def test_the_bridges_copy_alone_is_no_delivery_to_the_host() -> None:
    world = World()
    for n in range(3):
        world.send(0, 1, n * 10_000, key=n + 1)
    copies = [row for row in world.rows if row["vantage"] == world.at("docker0")]
    for row in copies:  # TCP: the copy takes its own stamp
        row["ts_ns"] += 30 * MICRO
    _, late = halves_of(world)(S + 10_020 * MICRO)
    assert [verdict.result for verdict in late.verdicts] == ["undecided"]
    assert late.verdicts[0].packets == 1


def test_report_says_that_it_is_a_window(tmp_path: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "analyzer",
        "report",
        PING,
        "--json",
        "--since",
        "0.15",
        "--until",
        "+0.25",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    whole, _ = report_files([PING])
    first = whole.capture.start_ns
    assert first is not None
    assert report["capture"]["since_ns"] == first + 3 * S // 20
    assert report["capture"]["until_ns"] == first + S // 4
    assert first + 3 * S // 20 <= report["capture"]["start_ns"]
    assert report["capture"]["end_ns"] < first + S // 4
    assert "window" in {finding["code"] for finding in report["findings"]}
    assert "window" not in {finding.code for finding in whole.findings}


def test_a_window_that_cannot_be_is_one_line() -> None:
    words = [sys.executable, "-m", "analyzer", "report", PING, "--since", "yesterday"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
