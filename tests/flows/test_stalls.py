"""Connections that come to a halt, and copies that are no retransmissions, in made files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tcp_streams import RST, Talk, write_pcap

sys.path.insert(0, str(Path(__file__).parent.parent))
from test_services import MS, Exchange
from vantages import write_vantages

import analyzer


def row(path: Path, talk: Talk, *lost: int) -> dict[str, Any]:
    write_vantages(path, talk.frames, lost=lost)
    (found,) = analyzer.read(path).tcp.to_dicts()
    return found


def stuck(times: int, size: int = 1448, passed: int = 200) -> Exchange:
    """A segment that is sent so many times more."""
    talk = Exchange()
    if passed:
        talk.after(MS, 0, passed)
        talk.after(MS, 1)
    talk.after(MS, 0, size)
    for number in range(times):
        talk.after(200 * MS << number, 0, size, seq=talk.next[0] - size)
    return talk


def test_what_is_repeated_to_the_end_is_told(tmp_path: Path) -> None:
    talk = stuck(5)
    found = row(tmp_path / "stuck.pcapng", talk, *range(5, 11))
    assert (found["repeated"], found["repeated_by"], found["repeated_bytes"]) == (5, "client", 1448)
    assert (found["repeated_ns"], found["passed_bytes"]) == (200 * MS * 31, 200)
    assert found["repeated_at"] == "veth0"


def test_what_is_acknowledged_in_the_end_is_not(tmp_path: Path) -> None:
    talk = stuck(5)
    talk.after(MS, 1)
    assert row(tmp_path / "late.pcapng", talk, *range(5, 10))["repeated"] == 0


def test_a_reset_ends_the_wait(tmp_path: Path) -> None:
    talk = stuck(5)
    talk.after(MS, 1, flags=RST)
    assert row(tmp_path / "reset.pcapng", talk, *range(5, 11))["repeated"] == 0


def test_how_long_a_window_is_closed(tmp_path: Path) -> None:
    talk = Exchange()
    talk.after(MS, 0, 1000)
    talk.after(MS, 1, window=0)
    talk.after(300 * MS, 1)
    talk.after(MS, 1, window=0)
    talk.after(200 * MS, 1, window=0)
    found = row(tmp_path / "full.pcapng", talk)
    assert (found["zero_windows"], found["zero_window_ns"]) == (3, 300 * MS)


def test_a_window_that_is_still_closed_at_the_end(tmp_path: Path) -> None:
    talk = Exchange()
    talk.after(MS, 0, 1000)
    talk.after(MS, 1, window=0)
    talk.after(700 * MS, 0, 1, seq=talk.next[0] - 1)
    assert row(tmp_path / "full.pcapng", talk)["zero_window_ns"] == 700 * MS


def test_copies_are_no_retransmissions(tmp_path: Path) -> None:
    """Each frame twice, as a mirror or two capture points on one wire make it."""
    talk = Exchange()
    for _ in range(5):
        talk.ask(10 * MS)
    twice = [pair for ts, frame in talk.frames for pair in ((ts, frame), (ts + 2000, frame))]
    one, two = tmp_path / "one.pcap", tmp_path / "two.pcap"
    write_pcap(one, talk.frames)
    write_pcap(two, twice)
    (single,), (double,) = (analyzer.read(path).tcp.to_dicts() for path in (one, two))
    assert (single["copies"], double["copies"]) == (0, len(talk.frames))
    same = ("retransmissions", "out_of_order", "duplicate_acks", "gaps", "connections", "state")
    assert [double[n] for n in same] == [single[n] for n in same]
    assert double["retransmissions"] == 0
    times = ("requests", "timed", "response_max_ns")
    (before,), (behind,) = (analyzer.read(path).services.to_dicts() for path in (one, two))
    assert [behind[n] for n in times] == [before[n] for n in times]


def test_a_segment_with_an_identification_of_its_own_is_a_retransmission(tmp_path: Path) -> None:
    talk = Exchange()
    talk.after(MS, 0, 100)
    talk.after(MS, 0, 100, seq=talk.next[0] - 100)
    write_pcap(tmp_path / "again.pcap", talk.frames)
    (found,) = analyzer.read(tmp_path / "again.pcap").tcp.to_dicts()
    assert (found["copies"], found["retransmissions"]) == (0, 1)
