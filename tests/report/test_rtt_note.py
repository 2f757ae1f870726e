"""Where round trips were timed is said only as far as the file tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from analyzer.analysis.analyse import report_files
from analyzer.report.echo_words import rtt_note

ROOT = Path(__file__).parents[2]
PING = ROOT / "captures" / "tomcat-ping.pcapng"
FOREIGN = ROOT / "tests" / "analysis" / "foreign"


@pytest.mark.parametrize(
    ("path", "note"),
    [
        (PING, "RTT at the asker's interface"),
        (FOREIGN / "traceroute.pcap", "RTT where the requests were first seen"),
        (FOREIGN / "custom-block.pcapng", ""),
    ],
    ids=["the asker's own interface", "somewhere", "no answer"],
)
def test_where_the_round_trips_were_timed(path: Path, note: str) -> None:
    assert rtt_note(report_files([str(path)])[0]) == note
