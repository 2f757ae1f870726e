"""The closing line: what the kernel counted is all accounted for."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from analyzer.app.capture_outcome import CaptureOutcome, summary_lines
from analyzer.capture.stats import CaptureStats, RingStats, VantageStats
from analyzer.model.vantage import Vantage


def outcome(frames: int, *rings: tuple[int, int, int]) -> CaptureOutcome:
    """rings: received, dropped, unclaimed."""
    vantage = Vantage(name="docker0", interface="docker0")
    stats = CaptureStats(
        vantages=(VantageStats(vantage, frames, 60 * frames, frames, 0, None),),
        rings=tuple(RingStats(1, *ring) for ring in rings),
        start_ns=1,
        end_ns=2,
        file_bytes=0,
        stopped="pipe",
    )
    return CaptureOutcome(stats, (), None)


@pytest.mark.parametrize(
    ("rings", "words"),
    [
        (((10, 0, 0),), "10 frames captured, 10 received by filter, 0 dropped by kernel"),
        (((9, 0, 0), (5, 4, 0)), "14 received by filter, 4 dropped by kernel"),
        (((14, 0, 4),), "14 received by filter, 0 dropped by kernel, 4 of no vantage"),
        (((13, 0, 0),), "13 received by filter, 0 dropped by kernel, 3 not written"),
        (((9, 1, 2), (9, 1, 2)), "18 received by filter, 2 dropped by kernel, 4 of no vantage, 2"),
    ],
    ids=["all", "drops", "newcomers never claimed", "a dead pipe", "all of it"],
)
def test_what_was_received_is_accounted_for(rings: Any, words: str) -> None:
    told = outcome(10, *rings)
    line, summary = summary_lines(told)[-1], told.to_json()
    assert words in line
    if words.endswith("kernel"):
        assert line.endswith(words)
    parts = ("frames", "dropped", "unclaimed", "unwritten")
    assert summary["received"] == sum(summary[part] for part in parts)


def test_frames_that_were_cut_for_want_of_room_are_told_with_where_and_for_how_long() -> None:
    made = outcome(10, (10, 0, 0))
    (ring,) = made.stats.rings
    cut = replace(ring, cut_times=3, cut_ns=1_234_000_000)
    made = replace(made, stats=replace(made.stats, rings=(cut,)))
    assert summary_lines(made)[-1] == (
        "for 1.23 s frames were cut to 128 bytes at docker0: they came faster than they could be "
        "written"
    )
    told = {"vantages": ["docker0"], "times": 3, "cut_ns": 1_234_000_000}
    assert made.to_json()["cuts"] == [told]
    assert outcome(10, (10, 0, 0)).to_json()["cuts"] == []
