"""When packets were lost, and for how many of them that is certain."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tcp_streams import ACK, Talk

sys.path.insert(0, str(Path(__file__).parent.parent))
from rich.console import Console
from test_tcp import US, connection
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


def segments(size: int, *gone: int) -> Callable[[bytes], list[bytes]]:
    """What a queue makes of a large frame, but for those of these numbers."""

    def cut(frame: bytes) -> list[bytes]:
        made = []
        head, payload = bytearray(frame[:54]), frame[54:]
        seq = int.from_bytes(head[38:42], "big")
        for number, at in enumerate(range(0, len(payload), size)):
            part = payload[at : at + size]
            head[16:18] = (40 + len(part)).to_bytes(2, "big")
            head[38:42] = ((seq + at) % 2**32).to_bytes(4, "big")
            if number not in gone:
                made.append(bytes(head) + part)
        return made

    return cut


def bulk(*lengths: int) -> Talk:
    talk = connection()
    for length in lengths:
        talk.send(0, ACK, length=length)
    return talk


@pytest.mark.parametrize("gone", [(0,), (1, 2), (4,), (0, 1, 2, 3)])
def test_segments_of_a_large_frame_that_do_not_come_are_lost(
    tmp_path: Path, gone: tuple[int, ...]
) -> None:
    """Of five, the last one shorter; what comes later tells that they are gone."""
    talk, path = bulk(4500, 3000, 100), tmp_path / "cut.pcapng"
    cut = {3: segments(1000, *gone), 4: segments(1000)}
    write_vantages(path, talk.frames, cut=cut)
    found = report_files([str(path)])[0]
    (row,) = found.losses
    assert (row.packets, row.certain) == (len(gone), len(gone))
    assert (row.last_seen, row.expected) == ("veth0", "veth1")
    assert row.first_ns == row.last_ns == talk.frames[3][0] + 5 * US
    (tcp,) = found.tcp
    assert (tcp.lost, tcp.client_lost, tcp.server_lost) == (len(gone), len(gone), 0)
    assert tcp.lost_between == [f"client: veth0 → veth1: {len(gone)}"]
    (hop,) = [h for h in found.hops if (h.from_, h.to) == ("veth0", "veth1")]
    assert hop.lost == len(gone)


def test_a_large_frame_that_is_lost_counts_as_it_would_have_been_cut(tmp_path: Path) -> None:
    talk, path = bulk(4500, 3000, 100), tmp_path / "whole.pcapng"
    write_vantages(path, talk.frames, lost=(4,), cut={3: segments(1000)})
    (row,) = report_files([str(path)])[0].losses
    assert row.packets == 3


def test_what_may_still_wait_in_the_queue_is_not_lost(tmp_path: Path) -> None:
    """Nothing that was sent later has come through."""
    talk, path = bulk(3000, 4500), tmp_path / "waits.pcapng"
    write_vantages(path, talk.frames, cut={3: segments(1000), 4: segments(1000, 3, 4)})
    assert report_files([str(path)])[0].losses == []


def test_frames_that_are_cut_and_come_whole_are_not_lost(tmp_path: Path) -> None:
    talk, path = bulk(4500, 3000, 4500, 100), tmp_path / "healthy.pcapng"
    write_vantages(path, talk.frames, cut={n: segments(1000) for n in (3, 4, 5)})
    found = report_files([str(path)])[0]
    assert found.losses == []
    assert [row.lost for row in found.tcp] == [0]


def test_of_identical_packets_the_lost_one_is_likely_only(tmp_path: Path) -> None:
    """One of two in flight at once did not come: which, nobody can tell."""
    talk = connection()
    talk.send(0, ACK, length=100)
    ts, frame = talk.frames[3]
    talk.frames.insert(4, (ts + 1000, frame))
    (row,) = report(tmp_path / "twice.pcapng", talk, 4).losses
    assert (row.packets, row.certain) == (1, 0)
