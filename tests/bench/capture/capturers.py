"""The programs that are compared, each started as a user would; the peers' buffers are not smaller.

tcpdump captures one interface, so there is a process and a file for each; dumpcap captures
several of one namespace into one file. Where they run is what ``ip netns exec`` does, but
without a shell between.
"""

from __future__ import annotations

import mmap
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cpu_time import cpu_ns, user_system_ns

from analyzer.net.netns import run_inside

RING_MIB = 128
"""of each capture in all; what vethscope takes at most for the host's namespace"""
PATIENCE_S = 30.0
_TCPDUMP_SETTLED_S = 2.3
"""tcpdump has the kernel hand a block over that is not full after one to two seconds"""
_SETTLED_S = 0.3


@dataclass
class Running:
    """A process of a capture."""

    process: subprocess.Popen[bytes]
    file: Path
    told: bytes = b""
    """what it has said on standard error"""
    cpu_ns: int = 0
    user_ns: int = 0
    system_ns: int = 0

    def wait_for(self, words: bytes) -> None:
        """Until it says so. Raises RuntimeError with what it says instead."""
        assert self.process.stderr is not None
        give_up = time.monotonic() + PATIENCE_S
        while words not in self.told:
            ready, _, _ = select.select([self.process.stderr], [], [], give_up - time.monotonic())
            more = os.read(self.process.stderr.fileno(), 4096) if ready else b""
            if not more:
                raise RuntimeError(f"{self.process.args}: {self.told.decode()}")
            self.told += more

    def mark(self) -> None:
        """CPU time counts from here on; once more: up to here."""
        now, (user, system) = cpu_ns(self.process.pid), user_system_ns(self.process.pid)
        self.cpu_ns = now - self.cpu_ns
        self.user_ns, self.system_ns = user - self.user_ns, system - self.system_ns

    def finish(self) -> str:
        """Interrupt it, wait; returns all of its standard error."""
        self.process.send_signal(signal.SIGINT)
        _, rest = self.process.communicate(timeout=PATIENCE_S)
        return (self.told + rest).decode()

    def end(self) -> None:
        """Whatever state it is in."""
        self.process.kill()
        self.process.communicate()


@dataclass(frozen=True)
class Outcome:
    """What one capture did while the work was done."""

    result: Any
    """of the work"""
    frames: int
    """in the files"""
    dropped: int
    """as the program says, or of those that were to be seen the ones that are not in its files"""
    cpu_ns: int
    user_ns: int
    system_ns: int

    @property
    def cpu_ns_per_frame(self) -> float:
        return self.cpu_ns / max(1, self.frames)


@dataclass(frozen=True)
class Capturer:
    """How a program is started on interfaces; ``places`` are (namespace path, interface)."""

    name: str
    commands: Callable[[Sequence[tuple[str, str]], Path], list[tuple[str, list[str], Path]]]
    """→ namespace path, argv and file of every process"""
    ready: bytes
    """what it says when its sockets are open"""
    settled_s: float = _SETTLED_S
    """a file that has not grown for so long has everything"""

    def measure(
        self,
        places: Sequence[tuple[str, str]],
        directory: Path,
        work: Callable[[], Any],
        expected: int,
        file_bytes: int = 0,
    ) -> Outcome:
        """Start it, do the work, wait until the files have settled, end it, read the files.

        expected: frames; file_bytes: about as much will be written.
        """
        warm = warm_memory(file_bytes)
        running = self.start(places, directory)
        try:
            for one in running:
                one.wait_for(self.ready)
            settle([one.file for one in running])
            for one in running:
                one.mark()
            warm.close()
            result = work()
            settle([one.file for one in running], self.settled_s)
            for one in running:
                one.mark()
            told = [one.finish() for one in running]
        finally:
            for one in running:
                one.end()
        frames = sum(count_frames(one.file) for one in running)
        for one in running:
            one.file.unlink()
        lost = max(sum(map(_told_dropped, told)), expected - frames)
        return Outcome(
            result,
            frames,
            lost,
            sum(one.cpu_ns for one in running),
            sum(one.user_ns for one in running),
            sum(one.system_ns for one in running),
        )

    def hurried(self) -> Capturer:
        """Without the patience to get all frames."""
        return replace(self, settled_s=_SETTLED_S)

    def start(self, places: Sequence[tuple[str, str]], directory: Path) -> list[Running]:
        """All its processes; end them."""
        return [self._start(*one) for one in self.commands(places, directory)]

    def _start(self, path: str, argv: list[str], file: Path) -> Running:
        def inside() -> subprocess.Popen[bytes]:
            return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

        return Running(run_inside(path, inside) if path else inside(), file)


def warm_memory(size: int) -> mmap.mmap:
    """Memory that really is there; to be closed when somebody else needs it.

    A virtual machine may have given free memory back to its host (free page reporting), and gets
    it back at several times the cost of writing to it: that would measure the host.
    """
    found = mmap.mmap(-1, max(size, mmap.PAGESIZE), flags=mmap.MAP_PRIVATE | mmap.MAP_POPULATE)
    found[:: mmap.PAGESIZE] = bytes(len(range(0, len(found), mmap.PAGESIZE)))
    return found


def settle(files: Sequence[Path], settled_s: float = _SETTLED_S) -> None:
    """Wait until the files stop growing."""
    sizes, since = [-1], 0.0
    while time.monotonic() - since < settled_s:
        now = [file.stat().st_size if file.exists() else 0 for file in files]
        if now != sizes:
            sizes, since = now, time.monotonic()
        time.sleep(0.02)


def count_frames(file: Path) -> int:
    """As Wireshark's capinfos counts them: none of the programs compared is asked."""
    argv = ["capinfos", "-T", "-r", "-M", "-c", str(file)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    return int(done.stdout.split("\t")[-1])


def _told_dropped(text: str) -> int:
    """tcpdump: ``0 packets dropped by kernel``; ours: ``0 dropped by kernel``."""
    return sum(map(int, re.findall(r"(\d+)(?: packets)? dropped by kernel", text)))


def vethscope(engine: str, names: Sequence[str], options: Sequence[str] = ()) -> Capturer:
    """Ours, as a command of its own, on vantages by name."""

    def commands(
        places: Sequence[tuple[str, str]], directory: Path
    ) -> list[tuple[str, list[str], Path]]:
        file = directory / "ours.pcapng"
        chosen = [word for name in names for word in ("-i", name)]
        argv = [sys.executable, "-m", "analyzer", "capture", "--engine", engine, *chosen]
        return [("", [*argv, *options, "-w", str(file)], file)]

    return Capturer("vethscope", commands, b"capturing on")


def tcpdump(options: Sequence[str] = ()) -> Capturer:
    """One for each interface; the ring memory shared out."""

    def commands(
        places: Sequence[tuple[str, str]], directory: Path
    ) -> list[tuple[str, list[str], Path]]:
        buffer = str(RING_MIB * 1024 // len(places))
        found = []
        for number, (path, interface) in enumerate(places):
            file = directory / f"tcpdump{number}.pcap"
            argv = ["tcpdump", "-Z", "root", "-B", buffer, "-i", interface, "-w", str(file)]
            found.append((path, [*argv, *options], file))
        return found

    return Capturer("tcpdump", commands, b"listening on", _TCPDUMP_SETTLED_S)


def dumpcap(options: Sequence[str] = ()) -> Capturer:
    """One for each namespace; ``-B`` is for each interface."""

    def commands(
        places: Sequence[tuple[str, str]], directory: Path
    ) -> list[tuple[str, list[str], Path]]:
        buffer = str(max(1, RING_MIB // len(places)))
        found = []
        for number, path in enumerate(dict.fromkeys(path for path, _ in places)):
            file = directory / f"dumpcap{number}.pcapng"
            chosen = [word for p, i in places if p == path for word in ("-i", i)]
            argv = ["dumpcap", "-q", *chosen, "-B", buffer, *options, "-w", str(file)]
            found.append((path, argv, file))
        return found

    return Capturer("dumpcap", commands, b"File: ", 3 * _SETTLED_S)
