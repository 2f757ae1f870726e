"""One file after the other: names, limits, and that each is a capture file of its own."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sessions import numbers

from analyzer.capture.options import CaptureOptions, Limits
from analyzer.capture.ring_settings import KIB, RingSettings
from analyzer.capture.series import Rotation, file_name
from analyzer.capture.session import CaptureSession
from analyzer.capture.stats import CaptureStats
from analyzer.errors import CaptureError, UsageProblem

OURS = "ether proto 0x88b5"
BEGUN = time.strptime("2026-11-24 14:22:05", "%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("two.pcapng", "two_00003_20261124142205.pcapng"),
        ("/tmp/a.b/two", "/tmp/a.b/two_00003_20261124142205"),
        ("d/x.y.pcapng", "d/x.y_00003_20261124142205.pcapng"),
        (".pcapng", ".pcapng_00003_20261124142205"),
    ],
)
def test_names_are_those_of_dumpcap(path: str, name: str) -> None:
    assert file_name(path, 3, BEGUN) == name


@pytest.mark.parametrize(
    ("rotation", "words"),
    [
        (Rotation(keep=3), "does not say when a new file begins"),
        (Rotation(max_kilobytes=0), "-b filesize:0: must be more than 0"),
        (Rotation(max_seconds=-1), "-b duration:-1: must be more than 0"),
    ],
)
def test_a_rotation_that_cannot_be_is_named(rotation: Rotation, words: str) -> None:
    with pytest.raises(UsageProblem, match=words):
        CaptureOptions(rotation=rotation).check()


def test_files_to_stop_at_need_a_rotation() -> None:
    with pytest.raises(UsageProblem, match="add -b filesize"):
        CaptureOptions(limits=Limits(max_files=3)).check()


def capture(lab: Any, path: Path, frames: list[bytes], **options: Any) -> CaptureStats:
    """Send frames from a to b while all vantages are captured."""
    session = CaptureSession(
        lab.vantages(), lab.paths, path, CaptureOptions(**{"filter": OURS, **options})
    )
    with ThreadPoolExecutor(1) as pool, session:
        future = pool.submit(session.run)
        lab.send(frames)
        if "limits" not in options:
            session.stop()
        future.result(timeout=60)
    return session.close()


@pytest.mark.root
@pytest.mark.parametrize(
    "rotation", [Rotation(max_kilobytes=40), Rotation(max_packets=300)], ids=["size", "packets"]
)
def test_the_files_together_are_the_capture_and_each_stands_alone(
    lab: Any, tmp_path: Path, reading: Any, rotation: Rotation
) -> None:
    stats = capture(lab, tmp_path / "x.pcapng", lab.numbered(500), rotation=rotation)
    names = sorted(str(one) for one in tmp_path.iterdir())
    assert list(stats.files) == names
    assert len(names) > 3
    assert all(re.search(r"x_0000\d_\d{14}\.pcapng$", name) for name in names)
    found = [reading(Path(name)) for name in names]
    for vantage in ("br0", "veA", "veB", "a:eth0", "b:eth0"):
        together = [number for one in found for number in numbers(one.at(vantage))]
        assert together == list(range(500))
    for name, one in zip(names, found, strict=True):
        assert one.interfaces == ["br0", "veA", "veB", "a:eth0", "b:eth0"]
        told = {n: (s["ifrecv"], s["osdrop"], s["usrdeliv"]) for n, s in one.statistics.items()}
        assert told == {n: (len(one.at(n)), 0, len(one.at(n))) for n in one.interfaces}
        done = subprocess.run(["capinfos", "-Mc", name], capture_output=True, text=True, check=True)
        assert re.search(rf"Number of packets: +{len(one.frames)}\n", done.stdout), done.stdout
    sizes = [Path(name).stat().st_size for name in names]
    assert stats.file_bytes == sum(sizes)
    if rotation.max_packets:
        assert [len(one.frames) for one in found[:-1]] == [300] * (len(found) - 1)
    else:
        assert all(30_000 < size < 45_000 for size in sizes[:-1])


@pytest.mark.root
def test_only_the_last_files_are_kept(lab: Any, tmp_path: Path, reading: Any) -> None:
    rotation = Rotation(max_packets=100, keep=2)
    stats = capture(lab, tmp_path / "x", lab.numbered(150), rotation=rotation)
    assert sorted(str(one) for one in tmp_path.iterdir()) == list(stats.files)
    assert [re.search(r"_(\d{5})_", name)[1] for name in stats.files] == ["00007", "00008"]
    assert stats.frames == 750
    assert len(reading(Path(stats.files[0])).frames) == 100


@pytest.mark.root
def test_it_ends_when_so_many_files_are_full(lab: Any, tmp_path: Path, reading: Any) -> None:
    rotation = Rotation(max_packets=100)
    stats = capture(
        lab, tmp_path / "x", lab.numbered(150), rotation=rotation, limits=Limits(max_files=3)
    )
    assert (stats.stopped, len(stats.files), stats.frames) == ("files", 3, 300)
    assert [len(reading(Path(name)).frames) for name in stats.files] == [100] * 3


@pytest.mark.root
def test_a_new_file_begins_by_time_also_where_nothing_is_said(
    lab: Any, tmp_path: Path, reading: Any
) -> None:
    session = CaptureSession(
        lab.vantages(),
        lab.paths,
        tmp_path / "x",
        CaptureOptions(filter=OURS, rotation=Rotation(max_seconds=0.3)),
    )
    with session:
        runner = threading.Thread(target=session.run)
        runner.start()
        give_up = time.monotonic() + 10
        while len(list(tmp_path.iterdir())) < 4:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        session.stop()
        runner.join()
    stats = session.close()
    found = [reading(Path(name)).statistics["br0"] for name in stats.files]
    assert all(one["usrdeliv"] == 0 for one in found)
    assert len(found) >= 4


@pytest.mark.root
def test_the_drops_of_a_file_are_its_own(lab: Any, tmp_path: Path, reading: Any) -> None:
    """Two blocks that nobody empties, twice: each file tells what was dropped in its time."""
    session = CaptureSession(
        lab.vantages("a:eth0"),
        lab.paths,
        tmp_path / "x",
        CaptureOptions(
            filter=OURS,
            rotation=Rotation(max_seconds=0.2),
            ring=RingSettings(128 * KIB, 2, inside_bytes=0),
        ),
    )
    with session:
        lab.send(lab.numbered(20_000))
        runner = threading.Thread(target=session.run)
        runner.start()
        give_up = time.monotonic() + 10
        while len(list(tmp_path.iterdir())) < 3:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        lab.send(lab.numbered(5))
        session.stop()
        runner.join()
    stats = session.close()
    files = [reading(Path(name)).statistics["a:eth0"] for name in stats.files]
    assert len(files) >= 3
    assert sum(one["osdrop"] for one in files) == stats.dropped > 0
    assert sum(one["ifrecv"] for one in files) == stats.received == 20_005
    assert all(one["ifrecv"] == one["usrdeliv"] + one["osdrop"] for one in files)
    assert files[-1]["osdrop"] == 0


@pytest.mark.root
def test_a_folder_that_takes_no_further_file_is_told(lab: Any, tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    session = CaptureSession(
        lab.vantages(),
        lab.paths,
        folder / "x",
        CaptureOptions(filter=OURS, rotation=Rotation(max_packets=100)),
    )
    with session:
        (first,) = folder.iterdir()
        first.unlink()
        folder.rmdir()
        lab.send(lab.numbered(100))
        with pytest.raises(CaptureError, match="no further file: cannot write"):
            session.run()


@pytest.mark.root
def test_after_a_deleted_file_comes_the_next(
    lab: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = CaptureOptions(filter=OURS, rotation=Rotation(max_packets=100))
    session = CaptureSession(lab.vantages(), lab.paths, tmp_path / "x", options)
    with session, caplog.at_level("WARNING", "vethscope"):
        (first,) = tmp_path.iterdir()
        first.unlink()
        lab.send(lab.numbered(5))
        give_up = time.monotonic() + 10
        session.run(lambda: bool(list(tmp_path.iterdir())) or time.monotonic() > give_up)
    (second,) = tmp_path.iterdir()
    assert second != first
    assert f"{first} was deleted while it was written" in caplog.text
