"""When packets were lost, and for how many of them that is certain."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from tcp_streams import ACK, Talk

sys.path.insert(0, str(Path(__file__).parent.parent))
from rich.console import Console
from test_tcp import connection
from vantages import write_vantages

from analyzer.analysis.analyse import report_files
from analyzer.model.report import Report
from analyzer.report.text.report import render_text


def report(path: Path, talk: Talk, *lost: int) -> Report:
    write_vantages(path, talk.frames, lost=lost)
    return report_files([str(path)])[0]


def test_the_first_and_the_last_lost_packet_have_their_times(tmp_path: Path) -> None:
    talk = connection()
    for _ in range(8):
        talk.send(0, ACK, length=100)
    found = report(tmp_path / "lost.pcapng", talk, 4, 7, 9)
    (row,) = found.losses
    assert (row.packets, row.certain) == (3, 3)
    assert (row.first_ns, row.last_ns) == (talk.frames[4][0], talk.frames[9][0])
    text = io.StringIO()
    render_text(found, Console(file=text, width=80))
    assert "when       1970-01-01 00:16:40.005000 UTC, over 5.00 ms\n" in text.getvalue()


def test_of_identical_packets_the_lost_one_is_likely_only(tmp_path: Path) -> None:
    """One of two in flight at once did not come: which, nobody can tell."""
    talk = connection()
    talk.send(0, ACK, length=100)
    ts, frame = talk.frames[3]
    talk.frames.insert(4, (ts + 1000, frame))
    (row,) = report(tmp_path / "twice.pcapng", talk, 4).losses
    assert (row.packets, row.certain) == (1, 0)
