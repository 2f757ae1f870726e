"""A pipe that has to be read twice is copied to a file that nobody else sees."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable
from io import FileIO
from pathlib import Path

import pytest

from analyzer.errors import EnvironmentProblem, SavefileError, UsageProblem
from analyzer.savefile import pipes
from analyzer.savefile.pipes import rereadable
from analyzer.savefile.read import open_savefile

PING = Path(__file__).parents[2] / "captures" / "tomcat-ping.pcapng"

Pipe = Callable[[bytes], str]


@pytest.fixture
def pipe(tmp_path: Path) -> Pipe:
    """Makes a FIFO that brings these bytes, as far as they are read."""

    def make(data: bytes) -> str:
        path = tmp_path / "pipe"
        os.mkfifo(path)

        def write() -> None:
            with path.open("wb", buffering=0) as file:
                try:
                    file.write(data)
                except BrokenPipeError:
                    return

        threading.Thread(target=write, daemon=True).start()
        return str(path)

    return make


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_it_can_be_read_again_under_its_own_name(
    pack: Callable[[bytes], bytes], pipe: Pipe
) -> None:
    path = pipe(pack(PING.read_bytes()))
    with rereadable([path, str(PING)]) as (copied, regular):
        assert (copied.name, regular.name) == (path, str(PING))
        assert regular.path == str(PING)
        savefile = open_savefile(copied)
        assert savefile.path == path
        for _ in range(2):
            assert sum(len(chunk) for chunk in savefile.chunks()) == 110
    assert not os.path.exists(copied.path)


def test_no_directory_shows_the_copy(
    pipe: Pipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(room))
    with rereadable([pipe(PING.read_bytes())]) as (copied,):
        assert os.readlink(copied.path).startswith(str(room))
        assert list(room.iterdir()) == []


def test_progress_tells_what_was_copied(pipe: Pipe) -> None:
    seen: list[tuple[int, int]] = []
    with rereadable([pipe(PING.read_bytes())], lambda done, size: seen.append((done, size))):
        assert seen == [(PING.stat().st_size, 0)]


def test_of_what_is_no_capture_only_the_head_is_copied(pipe: Pipe) -> None:
    with rereadable([pipe(b"nonsense" * 100_000)]) as (copied,):
        assert os.path.getsize(copied.path) < 100
        with pytest.raises(SavefileError, match="no capture file \\(starts with 6e 6f 6e 73\\)"):
            open_savefile(copied)


def test_what_cannot_be_opened_says_so_when_it_is_read(tmp_path: Path) -> None:
    with rereadable([str(tmp_path / "nothing"), str(tmp_path)]) as (nothing, directory):
        with pytest.raises(UsageProblem, match="no such file"):
            open_savefile(nothing)
        with pytest.raises(UsageProblem, match="is a directory"):
            open_savefile(directory)


def test_no_room_for_the_copy_is_one_line(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "TemporaryFile", lambda **_: FileIO("/dev/full", "r+"))
    with (
        pytest.raises(EnvironmentProblem, match="No space left on device; save it to a file"),
        rereadable([pipe(PING.read_bytes())]),
    ):
        pass
