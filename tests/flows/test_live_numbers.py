"""What is kept of strangers is bounded, what is not kept is counted, and nothing false is said of
it."""

from __future__ import annotations

from pathlib import Path

import hostile_files
import numpy as np
import polars as pl
import pytest

from analyzer.analysis.analyse import report_files
from analyzer.analysis.capture_analysis import CaptureAnalysis, analyse_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.flows import multicast_streams
from analyzer.flows.arp import Arp
from analyzer.flows.live_numbers import MOST, OTHERS, ROWS, LiveNumbers
from analyzer.model.report import Report

COUNT = 60_000
"""more than is kept of anything"""


def _report(path: Path, frames: hostile_files.Frames) -> Report:
    hostile_files.write_frames(path, frames)
    return report_files([str(path)], AnalysisOptions())[0]


def _analysis(path: Path, frames: hostile_files.Frames) -> CaptureAnalysis:
    hostile_files.write_frames(path, frames)
    return analyse_files([str(path)], AnalysisOptions())


def test_many_ports_are_told_within_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten multicasts, each seen at 501 places."""
    monkeypatch.setattr(multicast_streams, "_PLACES", 2_004)
    path = tmp_path / "crowd.pcapng"
    hostile_files.write_crowd(path, 5_010)
    report, _ = report_files([str(path)], AnalysisOptions(top=100))
    assert (len(report.hops), report.left_out["hops"].rows) == (100, 4_900)
    streams = report.flows["multicast_streams"]
    assert (len(streams), report.left_out["multicast_streams"].rows) == (2, 8)
    assert {len(one.receivers) for one in streams} == {499}
    assert not report.losses
    codes = {one.code for one in report.findings}
    assert codes == {"not-ended", "not-followed"}


def test_polars_does_not_go_on_keeping_all_names(tmp_path: Path) -> None:
    _report(tmp_path / "few.pcapng", hostile_files.udp_sources(1_000))
    held = pl.Series([], dtype=pl.Categorical)
    assert "10.0.3.9" not in pl.Categories(), "of all names that ever were"
    assert held.is_empty()


def test_the_keys_that_were_seen_last_stay() -> None:
    numbers = LiveNumbers(4)
    numbers.take(np.array([10, 11, 12], np.uint64))
    assert numbers.shed() is None
    numbers.take(np.array([10, 13, 14], np.uint64))
    assert numbers.shed() is not None
    assert (numbers.count, numbers.forgotten) == (2, 3)
    _, fresh = numbers.take(np.array([13, 14, 11], np.uint64))
    assert fresh.tolist() == [2]


def test_some_keys_stay_rather_than_others() -> None:
    numbers = LiveNumbers(4)
    numbers.take(np.arange(6, dtype=np.uint64))
    kept = numbers.shed(np.arange(6) == 0)
    assert kept is not None
    assert kept.tolist() == [0, 5]


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("icmp", hostile_files.echoes),
        ("arp", hostile_files.arp_scan),
        ("dns", hostile_files.dns_names),
        ("dhcp", hostile_files.dhcp_clients),
        ("icmp_errors", hostile_files.icmp_errors),
        ("multicast_streams", hostile_files.multicast),
    ],
)
def test_rows_of_a_kind_are_bounded_and_the_others_counted(
    tmp_path: Path, kind: str, make: hostile_files.Maker
) -> None:
    report = _report(tmp_path / "many.pcapng", make(COUNT))
    rows = report.flows[kind]
    assert 0 < len(rows) <= ROWS
    assert len(rows) + report.left_out[kind].rows == COUNT
    said = [one.text for one in report.findings if one.code == "not-followed"]
    assert any(f" of {kind}" in message for message in said)


def test_packets_of_many_senders_are_all_counted(tmp_path: Path) -> None:
    analysis = _analysis(tmp_path / "many.pcapng", hostile_files.udp_sources(COUNT))
    outcomes = analysis.partials.outcomes
    table = outcomes.table(1 << 62)
    assert len(table) <= MOST + 1
    assert table["count"].sum() == COUNT
    assert table.filter(source=OTHERS)["count"].sum() == outcomes.forgotten > 0
    assert len(analysis.assembly.endpoints.texts) <= MOST + COUNT


def _answers(requests: hostile_files.Frames) -> hostile_files.Frames:
    """Of echo requests."""
    replies = requests.copy()
    replies[:, 26:30], replies[:, 30:34] = requests[:, 30:34], requests[:, 26:30]
    replies[:, :6], replies[:, 6:12] = requests[:, 6:12], requests[:, :6]
    replies[:, 34] = 0
    return replies


def test_an_echo_that_was_forgotten_before_its_answer_is_not_lost(tmp_path: Path) -> None:
    requests = hostile_files.echoes(COUNT)
    requests[:, 26:30] = requests[0, 26:30]
    requests[:, 38] = 0
    requests[:, 39] = 7
    hostile_files.put_number(requests, 40, 2)
    report = _report(tmp_path / "late.pcapng", np.concatenate([requests, _answers(requests)]))
    assert report.icmp
    assert sum(row.lost for row in report.icmp) == 0
    assert sum(row.answered for row in report.icmp) > 0


def test_a_reply_to_a_question_that_was_forgotten_is_not_unasked(tmp_path: Path) -> None:
    questions = hostile_files.arp_scan(COUNT)
    replies = questions.copy()
    replies[:, 21] = 2
    replies[:, :6], replies[:, 6:12] = questions[:, 6:12], [2, 0x42, 10, 0, 0, 9]
    replies[:, 22:28], replies[:, 28:32] = replies[:, 6:12], questions[:, 38:42]
    replies[:, 32:38], replies[:, 38:42] = questions[:, 22:28], questions[:, 28:32]
    frames = np.concatenate([questions, replies])
    analysis = _analysis(tmp_path / "late.pcapng", frames)
    claims = analysis.partials.the(Arp).claims.by_place()
    assert claims
    assert not [one for said in claims.values() for one in said if one.unasked]
