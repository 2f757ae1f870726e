"""However many conversations strangers make: those that go on have their row, nothing is lost of
the sums, and it is said."""

from __future__ import annotations

from pathlib import Path

import hostile_files
import numpy as np
import pytest

from analyzer.analysis import reading
from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.findings import not_followed
from analyzer.flows import live_conversations
from analyzer.flows.growing import Kept
from analyzer.flows.live_conversations import LiveConversations
from analyzer.model.report import Report
from analyzer.native.keys import KeyNumbers

FRAMES = 2_000
STEADY = 7
"""each so many-th frame is of one conversation that goes on all of the time"""


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (live_conversations, not_followed):
        monkeypatch.setattr(module, "MOST", 100)
    monkeypatch.setattr(reading, "CHUNK_FRAMES", 256)


def flood(path: Path, frames: hostile_files.Frames, steady: hostile_files.Frames) -> Report:
    frames[::STEADY] = steady[: len(frames[::STEADY])]
    hostile_files.write_frames(path, frames)
    report, errors = report_files([str(path)], AnalysisOptions(top=50))
    assert not errors
    return report


@pytest.mark.parametrize("name", ["udp", "tcp"])
def test_a_conversation_that_goes_on_is_one_row_in_a_flood(name: str, tmp_path: Path) -> None:
    many = {"udp": hostile_files.udp_flows, "tcp": hostile_files.syn_flows}[name](FRAMES)
    one = {"udp": hostile_files.one_flow, "tcp": hostile_files.one_connection}[name](FRAMES)
    report = flood(tmp_path / "flood.pcapng", many, one)
    rows, more = report.flows[name], report.left_out[name]
    assert len(rows) == 50
    assert max(row.packets for row in rows) == len(range(0, FRAMES, STEADY))
    assert sum(row.packets for row in rows) + sum(s.packets for s in more.services) == FRAMES
    assert more.rows == FRAMES - len(range(0, FRAMES, STEADY)) + 1 - 50
    assert {service.port for service in more.services} == {9999 if name == "udp" else 80}
    (said,) = (one.text for one in report.findings if one.code == "not-followed")
    assert said.startswith("more than 100 conversations at a time")


def test_nothing_is_said_of_as_many_as_are_followed(tmp_path: Path) -> None:
    path = tmp_path / "few.pcapng"
    hostile_files.write_frames(path, hostile_files.udp_flows(100))
    report, _ = report_files([str(path)])
    assert report.left_out == {}
    assert len(report.flows["udp"]) == 100
    assert not [one for one in report.findings if one.code == "not-followed"]


def test_keys_that_are_kept_are_numbered_in_order() -> None:
    keys = KeyNumbers()
    keys.take(np.arange(5_000, dtype=np.uint64) * np.uint64(3))
    keys.keep(np.array([4, 10, 4_999]))
    wanted = np.array([4 * 3, 4_999 * 3, 10 * 3, 7], np.uint64)
    assert keys.find(wanted).tolist() == [0, 2, 1, -1]
    assert keys.count == 3


def test_flows_keep_their_direction() -> None:
    kept = Kept.of(np.array([1, 3]), 4)
    assert kept.flows.tolist() == [2, 3, 6, 7]
    assert kept.new_flow.tolist() == [-1, -1, 0, 1, -1, -1, 2, 3]


def test_a_number_of_one_that_is_gone_is_none() -> None:
    assert LiveConversations().number_of(np.array([4])).tolist() == [-1]
