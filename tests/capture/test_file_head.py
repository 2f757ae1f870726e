"""What each file of a rotation begins with: interfaces that there are, and those of its frames."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from analyzer.capture.encode import Counters
from analyzer.capture.file_head import FileHead
from analyzer.capture.frame_writer import FrameWriter
from analyzer.capture.options import CaptureOptions
from analyzer.capture.series import Rotation, Series
from analyzer.savefile import blocks
from analyzer.savefile.read import open_savefile

SECTION = blocks.section_header(comment="{}")


def interface(name: str) -> bytes:
    return blocks.interface_description(name, snaplen=0)


def frame(identifier: int, size: int = 60) -> bytes:
    head = struct.pack("=5I", identifier, 0, 1, size, size)
    return blocks.block(6, head + bytes(size))


def array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8).copy()


def test_the_next_file_has_the_living_alone_and_who_speaks_after_all() -> None:
    head = FileHead()
    head.describe(SECTION, always=True)
    head.introduce([interface("docker0"), interface("a"), interface("b")])
    head.describe(blocks.name_resolution({"10.0.0.9": "c"}), always=False)
    head.introduce([interface("c")])
    assert head.is_plain
    begun = head.begin([0, 2])
    assert begun == SECTION + interface("docker0") + interface("b")
    assert head.ids.tolist() == [0, -1, 1, -1]
    assert head.size == len(begun)
    assert not head.is_plain
    before, fitting = head.fit(array(frame(2) + frame(1)), np.array([1, 2]))
    assert before == interface("a")
    assert fitting.tobytes() == frame(1) + frame(2)
    assert head.introduce([interface("d")]) == interface("d")
    assert head.ids.tolist() == [0, 2, 1, -1, 3]


def test_who_is_described_late_changes_the_numbers_for_good() -> None:
    """All are described in the end, and yet none but the first has the capture's number."""
    head = FileHead()
    head.introduce([interface("docker0"), interface("gone"), interface("b")])
    head.begin([0, 2])
    head.fit(array(frame(1)), np.array([1]))
    assert head.ids.tolist() == [0, 2, 1]
    assert not head.is_plain
    _, fitting = head.fit(array(frame(2) + frame(1)), np.array([1, 2]))
    assert fitting.tobytes() == frame(1) + frame(2)
    head.begin([0, 1, 2])
    assert head.is_plain


def test_a_file_is_as_long_as_twice_its_head_at_least(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    series = Series(str(tmp_path / "x.pcapng"), Rotation(max_kilobytes=1))
    options = CaptureOptions(rotation=Rotation(max_kilobytes=1))
    counters: Counters = np.full((40, 2), 1 << 30, np.int64)
    living = list(range(40))
    writer = FrameWriter(series, options, bytes, lambda: counters, lambda: living)
    writer.begin(SECTION, 0)
    writer.introduce([interface(f"veth{n:04d}" + "x" * 100) for n in range(40)])
    for _ in range(300):
        writer.record(array(frame(7)), counters, 0)
    assert 3 < len(series.names) < 10
    assert [record.message for record in caplog.records if "-b filesize:1 " in record.message]
    assert len(caplog.records) == 1
    living[:] = [7, 9]
    for _ in range(300):
        writer.record(array(frame(7)), counters, 0)
    series.current.close()
    assert 20 < len(series.names) < 60
    read = [open_savefile(name) for name in series.names]
    frames = [sum(len(chunk) for chunk in one.chunks(1000)) for one in read]
    assert sum(frames) == 600
    assert [i.name[:8] for i in read[-1].interfaces] == ["veth0007", "veth0009"]
