"""A capture read in small chunks gives the report that it gives in one."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import analyzer
from analyzer.analysis import reading
from analyzer.analysis.analyse import report_files
from analyzer.analysis.capture_analysis import analyse_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.analysis.packet_choice import Choice
from analyzer.analysis.window import parse_window
from analyzer.errors import SavefileError

CAPTURES = Path(__file__).parents[2] / "captures"
NAMES = ("arp-unanswered", "host-to-container", "iptables-drop", "tomcat-ping")
BENCH = Path(__file__).parents[1] / "bench" / "analysis"

Chunks = Callable[[int], None]


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> Chunks:
    """Set how many frames a chunk has."""

    def size(frames: int) -> None:
        monkeypatch.setattr(reading, "CHUNK_FRAMES", frames)

    return size


def told(*paths: Path, jobs: int = 1) -> dict[str, Any]:
    report, _ = report_files([str(path) for path in paths], AnalysisOptions(jobs=jobs))
    found = report.to_json()
    del found["capture"]["files"]
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("frames", [1, 7, 64])
def test_real_captures_in_chunks(name: str, frames: int, chunks: Chunks) -> None:
    path = CAPTURES / f"{name}.pcapng"
    whole = told(path)
    chunks(frames)
    analysis = analyse_files([str(path)], AnalysisOptions(jobs=1))
    assert analysis.assembly.chunks == -(-whole["capture"]["frames"] // frames)
    assert told(path) == whole
    assert told(path, jobs=2) == whole


@pytest.fixture
def mixed_capture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(BENCH))
    from big_captures import mixed, write_capture

    path = tmp_path / "mixed.pcapng"
    write_capture(path, 3_000, mixed(), snaplen=96)
    return path


@pytest.mark.parametrize("frames", [50, 4096])
def test_a_mixed_capture_in_chunks(frames: int, mixed_capture: Path, chunks: Chunks) -> None:
    whole = told(mixed_capture)
    chunks(frames)
    assert told(mixed_capture, jobs=2) == whole
    assert {row["protocol"] for row in whole["hops"]} == {"arp", "icmp", "tcp", "udp"}


def test_frames_carried_over_are_more_than_there_is_room_for(
    mixed_capture: Path, chunks: Chunks, monkeypatch: pytest.MonkeyPatch
) -> None:
    from analyzer.analysis import stream

    whole = told(mixed_capture)
    chunks(50)
    monkeypatch.setattr(stream, "CARRIED_ROOM", 1)
    assert told(mixed_capture) == whole


def test_a_compressed_capture_in_chunks(tmp_path: Path, chunks: Chunks) -> None:
    """What stands at its end is known before: losses are told as they come."""
    path = CAPTURES / "iptables-drop.pcapng"
    packed = tmp_path / "drop.pcapng.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    whole = told(path)
    chunks(7)
    assert told(packed) == whole
    assert whole["losses"]


def test_what_is_piped_waits_for_the_end_to_be_called_lost(tmp_path: Path) -> None:
    code = (
        "from analyzer.analysis import reading; reading.CHUNK_FRAMES = 7; "
        "from analyzer.cli import main; main()"
    )
    path = CAPTURES / "iptables-drop.pcapng"
    words = [sys.executable, "-c", code, "report", "-", "--json"]
    done = subprocess.run(words, input=path.read_bytes(), capture_output=True, check=True)
    found = json.loads(done.stdout)
    del found["capture"]["files"]
    assert found == json.loads(json.dumps(told(path)))


LISTINGS = {
    "all packets": AnalysisOptions(packets=True),
    "lost ones": AnalysisOptions(choice=Choice(lost=True)),
    "slow ones in a window": AnalysisOptions(
        choice=Choice(min_latency_ns=1_500), window=parse_window("0.1", "0.3")
    ),
}


@pytest.mark.parametrize("options", LISTINGS.values(), ids=list(LISTINGS))
def test_packets_are_listed_from_a_pipe_as_from_a_file_and_in_chunks(
    options: AnalysisOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: Chunks
) -> None:
    """With drops recorded: which packets were dropped is known at the end only."""
    monkeypatch.syspath_prepend(str(BENCH))
    from big_captures import mixed, write_capture

    path, pipe = tmp_path / "lost.pcapng", tmp_path / "pipe"
    write_capture(path, 6_000, mixed(), snaplen=96, every_ns=200_000, lost_every=40)
    os.mkfifo(pipe)
    whole = report_files([str(path)], options)[0].to_json()
    assert whole["packets"]
    assert {row["fate"] for row in whole["packets"]} >= ({"lost"} if options.choice.lost else set())
    chunks(512)
    assert report_files([str(path)], options)[0].to_json() == whole
    threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()), daemon=True).start()
    piped = report_files([str(pipe)], options)[0].to_json()
    assert piped["capture"].pop("files") == [str(pipe)]
    del whole["capture"]["files"]
    assert piped == whole


@pytest.fixture
def two_sections(tmp_path: Path) -> Path:
    """The last section's statistics are not those of the first."""
    path = tmp_path / "two.pcapng"
    parts = [(CAPTURES / f"{name}.pcapng").read_bytes() for name in ("iptables-drop", NAMES[3])]
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize(("capture", "frames"), [("mixed_capture", 700), ("two_sections", 16)])
def test_all_tables_are_the_same_in_chunks(
    capture: str, frames: int, request: pytest.FixtureRequest, chunks: Chunks
) -> None:
    path = request.getfixturevalue(capture)
    whole = analyzer.read(path)
    chunks(frames)
    pieces = analyzer.read(path)
    for name in ("frames", "packets", "journeys", *whole.tables):
        assert getattr(pieces, name).equals(getattr(whole, name)), name
        assert getattr(pieces, name).schema == getattr(whole, name).schema


def test_sections_one_after_the_other(two_sections: Path, chunks: Chunks) -> None:
    whole = told(two_sections)
    chunks(16)
    assert told(two_sections) == whole


def test_files_side_by_side(chunks: Chunks) -> None:
    paths = [CAPTURES / f"{name}.pcapng" for name in (NAMES[3], "iptables-drop")]
    whole = told(*paths)
    chunks(32)
    found = told(*paths)
    for key in ("hops", "icmp", "arp", "losses", "verdicts"):
        assert sorted(map(str, found[key])) == sorted(map(str, whole[key])), key
    assert found["capture"] == whole["capture"]


def test_a_cut_capture_in_chunks(tmp_path: Path, chunks: Chunks) -> None:
    path = tmp_path / "cut.pcapng"
    path.write_bytes((CAPTURES / "tomcat-ping.pcapng").read_bytes()[:9000])
    whole, errors = report_files([str(path)])
    chunks(5)
    found, more = report_files([str(path)], AnalysisOptions(jobs=2))
    assert str(errors) == str(more) != "[]"
    assert found.to_json() == whole.to_json()
    assert found.capture.truncated


def test_the_reading_threads_failure_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise SavefileError("a disk that fails")

    monkeypatch.setattr(reading, "decoded_chunk", fail)
    with pytest.raises(SavefileError, match="a disk that fails"):
        analyse_files([str(CAPTURES / "tomcat-ping.pcapng")], AnalysisOptions(jobs=2))


def test_progress_reaches_the_size(chunks: Chunks) -> None:
    path = CAPTURES / "tomcat-ping.pcapng"
    chunks(20)
    seen: list[tuple[int, int]] = []
    options = AnalysisOptions(jobs=1, progress=lambda done, size: seen.append((done, size)))
    analyse_files([str(path)], options)
    size = os.path.getsize(path)
    assert {total for _, total in seen} == {size}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert 0.9 * size < seen[-1][0] <= size
