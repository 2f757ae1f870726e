"""Whole blocks or nothing: full disks, gone readers, files of other people."""

from __future__ import annotations

import errno
import io
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from analyzer.capture.output import Output
from analyzer.errors import UsageProblem
from analyzer.savefile import blocks

FRAMES = b"".join(blocks.enhanced_packet(0, n, bytes(60), 60, flags=1) for n in range(4000))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.root
def test_a_full_disk_leaves_whole_blocks(small_disk: Path) -> None:
    path = small_disk / "a.pcapng"
    output = Output(path)
    kept = output.write(FRAMES)
    output.close()
    assert output.failure is not None
    assert output.failure.errno == errno.ENOSPC
    assert 200_000 < kept < 262_144
    assert kept % 104 == 0
    assert path.read_bytes() == FRAMES[:kept]
    assert output.size == kept


@pytest.mark.root
def test_after_a_failure_nothing_goes_in(small_disk: Path) -> None:
    output = Output(small_disk / "a.pcapng")
    kept = output.write(FRAMES)
    assert output.write(FRAMES[:104]) == 0
    output.close()
    assert (small_disk / "a.pcapng").stat().st_size == kept


def test_a_file_is_private_also_where_it_was_not(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    path.write_bytes(b"old and longer than what comes")
    path.chmod(0o644)
    output = Output(path)
    assert output.write(FRAMES[:104]) == 104
    output.close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == FRAMES[:104]


@pytest.mark.root
def test_behind_sudo_the_file_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setenv("SUDO_GID", "2345")
    Output(tmp_path / "a").close()
    found = (tmp_path / "a").stat()
    assert (found.st_uid, found.st_gid) == (1234, 2345)


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match=r"nowhere/a: No such file or directory"):
        Output(tmp_path / "nowhere" / "a")
    with pytest.raises(UsageProblem, match="Is a directory"):
        Output(tmp_path)


def test_a_reader_that_is_gone_is_no_error_of_the_disk() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as stream:
        output = Output(stream)
        assert output.write(FRAMES[:104]) == 0
        assert output.broken_pipe


def test_a_stream_without_descriptor_and_one_with_are_kept_open(tmp_path: Path) -> None:
    memory = io.BytesIO()
    output = Output(memory)
    assert output.write(FRAMES) == len(FRAMES)
    output.close()
    assert memory.getvalue() == FRAMES
    with (tmp_path / "a").open("wb") as stream:
        stream.write(b"before")
        output = Output(stream)
        output.write(FRAMES[:104])
        output.close()
        stream.write(b"after")
    assert (tmp_path / "a").read_bytes() == b"before" + FRAMES[:104] + b"after"


def test_devices_are_written_and_not_changed() -> None:
    before = os.stat("/dev/null").st_mode
    output = Output("/dev/null")
    assert output.write(FRAMES) == len(FRAMES)
    output.close()
    assert os.stat("/dev/null").st_mode == before


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    """So is a pipe that somebody else has made so: the flag is one for all who share it."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with open(read_end, "rb") as reader, open(write_end, "wb", buffering=0) as writer:
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(reader.read, len(FRAMES))
            output = Output(writer)
            assert output.write(FRAMES) == len(FRAMES)
            assert reading.result(timeout=60) == FRAMES
        assert output.failure is None
