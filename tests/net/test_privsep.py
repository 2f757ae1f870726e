"""Another process does what it was made for, and nothing else; it ends when its maker does."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from analyzer.net.privsep import Task, monitor_of, monitored
from analyzer.net.programs import ReadPrograms, read_program
from analyzer.savefile.creating import MakeFiles

MOST = 300_000


class Repeat(Task):
    """Gives back what it was told, so many times; and a pipe's end where a number is told."""

    def do(self, words: Sequence[str], fds: Sequence[int]) -> tuple[str, int]:
        if words[0] == "fail":
            raise FileNotFoundError(errno.ENOENT, "none there")
        if words[0] == "wrong":
            raise ValueError
        if words[0] == "pid":
            return str(os.getpid()), -1
        if fds:
            os.write(fds[0], b"through your descriptor")
        return words[0] * int(words[1]), os.open("/dev/null", os.O_RDONLY)


def ask(*words: str, fds: Sequence[int] = ()) -> tuple[str, int]:
    monitor = monitor_of(Repeat)
    assert monitor
    return monitor.ask(Repeat, *words, fds=fds)


def test_texts_of_any_size_and_descriptors() -> None:
    with monitored([Repeat()]):
        assert int(ask("pid")[0]) != os.getpid()
        text, fd = ask("é\n\udcff", str(MOST))
        assert text == "é\n\udcff" * MOST
        assert os.fstat(fd).st_rdev == os.stat("/dev/null").st_rdev
        os.close(fd)
        reader, writer = os.pipe()
        os.close(ask("", "0", fds=[writer])[1])
        assert os.read(reader, 99) == b"through your descriptor"
        os.close(reader)
        os.close(writer)
    assert monitor_of(Repeat) is None


def test_what_fails_there_fails_here_and_the_next_is_done() -> None:
    with monitored([Repeat()]):
        with pytest.raises(FileNotFoundError, match="none there"):
            ask("fail")
        with pytest.raises(BrokenPipeError, match="keeps our rights"):
            ask("wrong")
        assert monitor_of(ReadPrograms) is None
        assert ask("pid")[0].isdecimal()


def test_many_at_once() -> None:
    answers: list[str] = []

    def several(word: str) -> None:
        for _ in range(20):
            text, fd = ask(word, "7")
            os.close(fd)
            answers.append(text)

    with monitored([Repeat()]):
        threads = [threading.Thread(target=several, args=(word,)) for word in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers) == sorted(20 * ["aaaaaaa", "bbbbbbb", "ccccccc", "ddddddd"])


def test_no_signal_of_the_terminal_ends_it() -> None:
    with monitored([Repeat()]):
        pid = int(ask("pid")[0])
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            os.kill(pid, number)
        assert int(ask("pid")[0]) == pid
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(OSError, match=r"ended|pipe|reset"):
            ask("pid")
    assert not Path(f"/proc/{pid}").exists()


KILLED = """
import os, signal, sys
from analyzer.net.privsep import Task, monitor_of, monitored

class Last(Task):
    def do(self, words, fds):
        return str(os.getpid()), -1
    def end(self):
        open(sys.argv[1], "w").close()

with monitored([Last()]):
    print(monitor_of(Last).ask(Last)[0], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_ends_with_a_maker_that_is_killed_and_tidies_up(tmp_path: Path) -> None:
    file = tmp_path / "tidied"
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    until = time.monotonic() + 30
    while Path(f"/proc/{done.stdout.strip()}").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert file.exists()


def test_files_of_these_names_and_no_others(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("kept")
    with monitored([MakeFiles(re.compile(re.escape(f"{tmp_path}/x_") + r"\d+"))]):
        monitor = monitor_of(MakeFiles)
        assert monitor
        fd = monitor.ask(MakeFiles, f"{tmp_path}/x_1")[1]
        os.write(fd, b"written here")
        os.close(fd)
        refused = [
            (str(other),),
            (f"{tmp_path}/x_../other",),
            (f"{tmp_path}/x_1\n",),
            (str(other), "remove"),
            (f"{tmp_path}/x_2", "remove"),
        ]
        for words in refused:
            with pytest.raises(PermissionError, match="not asked"):
                monitor.ask(MakeFiles, *words)
        assert (tmp_path / "x_1").read_text() == "written here"
        monitor.ask(MakeFiles, f"{tmp_path}/x_1", "remove")
        assert [path.name for path in tmp_path.iterdir()] == ["other"]
    assert other.read_text() == "kept"


def test_these_command_lines_and_no_others() -> None:
    with monitored([ReadPrograms([("sh", "-c", "echo $PPID")])]):
        told = read_program("sh", "-c", "echo $PPID", timeout_s=9)
        assert told.strip().isdecimal()
        assert int(told) != os.getpid()
        assert read_program("sh", "-c", "echo", timeout_s=9) == ""
        assert read_program("sh", timeout_s=9) == ""
