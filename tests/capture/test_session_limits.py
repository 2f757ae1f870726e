"""How a capture begins, grows and ends: limits, signals, streams, vantages that join."""

from __future__ import annotations

import io
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from sessions import OURS, numbers, open_sockets, running, wait_for, wait_for_requests

from analyzer.capture.options import CaptureOptions, Hooks, Limits
from analyzer.capture.session import CaptureSession
from analyzer.errors import UsageProblem

pytestmark = pytest.mark.root


def test_frames_are_in_the_file_soon(lab: Any, tmp_path: Path, reading: Any) -> None:
    """Within 200 ms of the wire; the quickest of a few counts, for the machine may be busy."""
    session = CaptureSession(lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS))
    took = []
    with running(session):
        for number in range(1, 6):
            frame = lab.frame(number)
            started = time.monotonic()
            lab.send([frame])
            wait_for(lambda n=number: len(reading(tmp_path / "a").frames) == 5 * n)  # type: ignore[misc]
            took.append(time.monotonic() - started)
    assert min(took) < 0.2


@pytest.mark.parametrize("count", [1, 7, 250])
def test_max_packets_are_the_first_in_time(
    lab: Any, tmp_path: Path, reading: Any, count: int
) -> None:
    session = CaptureSession(
        lab.vantages(),
        lab.paths,
        tmp_path / "a",
        CaptureOptions(filter=OURS, limits=Limits(max_packets=count)),
    )
    with running(session) as future:
        lab.send(lab.numbered(60))
        assert future.result(timeout=60).stopped == "packets"
    found = reading(tmp_path / "a").frames
    assert len(found) == count
    assert [frame.vantage for frame in found[:3]] == ["a:eth0", "veA", "veB"][:count]
    stats = session.close()
    assert stats.frames == count
    assert sum(s["usrdeliv"] for s in reading(tmp_path / "a").statistics.values()) == count


def test_max_kilobytes_hold(lab: Any, tmp_path: Path, reading: Any) -> None:
    session = CaptureSession(
        lab.vantages(),
        lab.paths,
        tmp_path / "a",
        CaptureOptions(filter=OURS, limits=Limits(max_kilobytes=20)),
    )
    with running(session) as future:
        lab.send(lab.numbered(100))
        assert future.result(timeout=60).stopped == "filesize"
    found = reading(tmp_path / "a")
    stats = session.close()
    assert stats.frames == len(found.frames)
    closing = sum(1 for _ in found.statistics) * 400
    assert 20_000 - 104 <= (tmp_path / "a").stat().st_size <= 20_000 + closing


def test_max_seconds_and_until_end_it(lab: Any, tmp_path: Path) -> None:
    started = time.monotonic()
    with CaptureSession(
        lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions(limits=Limits(max_seconds=0.3))
    ) as session:
        assert session.run().stopped == "duration"
    assert 0.3 <= time.monotonic() - started < 3
    with CaptureSession(lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions()) as session:
        asked = iter([False, False, True])
        assert session.run(lambda: next(asked)).stopped == "until"


def test_a_signal_handler_may_stop_it(lab: Any, tmp_path: Path, reading: Any) -> None:
    session = CaptureSession(lab.vantages(), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS))
    before = signal.signal(signal.SIGALRM, lambda *_: session.stop())
    try:
        with session:
            lab.send(lab.numbered(4))
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            assert session.run().stopped == "stop"
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(reading(tmp_path / "a").frames) == 20
    session.stop()


def test_batches_are_handed_on_as_written(lab: Any, tmp_path: Path, reading: Any) -> None:
    seen: list[bytes] = []
    session = CaptureSession(
        lab.vantages(),
        lab.paths,
        tmp_path / "a",
        CaptureOptions(filter=OURS),
        hooks=Hooks(lambda batch, vantages: seen.append(batch.tobytes())),
    )
    with running(session):
        lab.send(lab.numbered(10))
    assert b"".join(seen) in (tmp_path / "a").read_bytes()
    assert sum(map(len, seen)) == 50 * 104


def test_vantages_may_join_later(lab: Any, tmp_path: Path, reading: Any) -> None:
    session = CaptureSession(
        lab.vantages("veA"), lab.paths, tmp_path / "a", CaptureOptions(filter=OURS)
    )
    with running(session):
        lab.send(lab.numbered(5))
        session.add(lab.vantages("br0", "veB", "b:eth0"), lab.paths)
        wait_for_requests(session)
        assert len(session.vantages) == 4
        wait_for(lambda: len(reading(tmp_path / "a").interfaces) == 4)
        lab.send([lab.frame(9)])
        wait_for(lambda: len(reading(tmp_path / "a").at("b:eth0")) == 1)
        session.add(lab.vantages("veA"), lab.paths)
    found = reading(tmp_path / "a")
    assert found.interfaces == ["veA", "br0", "veB", "b:eth0"]
    assert numbers(found.at("veA")) == [0, 1, 2, 3, 4, 9]
    for name in ("br0", "veB", "b:eth0"):
        assert numbers(found.at(name)) == [9]
    assert session.close().warnings == ()


def test_what_does_not_exist_is_told_and_the_file_is_untouched(lab: Any, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"precious")
    wanted = lab.vantages()
    before = len(open_sockets())
    lab.run("host", "ip link delete veA")
    with pytest.raises(UsageProblem, match=r"veA: no interface veA \(ifindex \d+\)"):
        CaptureSession(wanted, lab.paths, path, CaptureOptions()).open()
    with pytest.raises(UsageProblem, match=r"filter 'nonsense here'"):
        CaptureSession(
            lab.vantages("veB"), lab.paths, path, CaptureOptions(filter="nonsense here")
        ).open()
    with pytest.raises(UsageProblem, match=r"cannot be entered: no path"):
        CaptureSession(lab.vantages("b:eth0"), {}, path, CaptureOptions()).open()
    with pytest.raises(UsageProblem, match=r"snaplen 5"):
        CaptureSession(wanted, lab.paths, path, CaptureOptions(snaplen=5)).open()
    with pytest.raises(UsageProblem, match=r"packets limit 0"):
        CaptureSession(wanted, lab.paths, path, CaptureOptions(limits=Limits(max_packets=0))).open()
    assert path.read_bytes() == b"precious"
    with pytest.raises(UsageProblem, match=r"cannot write .*nowhere"):
        CaptureSession(
            lab.vantages("veB"), lab.paths, tmp_path / "nowhere" / "a", CaptureOptions()
        ).open()
    assert len(open_sockets()) == before


def test_a_stream_gets_a_whole_file(lab: Any, reading: Any) -> None:
    memory = io.BytesIO()
    session = CaptureSession(lab.vantages(), lab.paths, memory, CaptureOptions(filter=OURS))
    with running(session):
        lab.send(lab.numbered(6))
    found = reading(memory.getvalue())
    assert len(found.frames) == 30
    assert len(found.statistics) == 5
