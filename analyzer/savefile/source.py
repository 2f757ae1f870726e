"""The bytes of a capture file as windows: mapped, read from a pipe, or decompressed.

A regular file is one window, mapped, so that nothing is copied and the page cache can take
its memory back. Everything else comes in windows of bounded size: `Source.advance` keeps
what the reader has not used up and fills the rest of a new window (a new one, because the
frames handed out before point into the old). A window grows only while its bytes really
arrive: no length told by the file is ever allocated.
"""

from __future__ import annotations

import mmap
import os
import sys
import weakref
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import cast

import numpy as np
from msgspec import Struct

from analyzer.errors import UsageProblem
from analyzer.native.loads import Bytes
from analyzer.savefile.compressed import MAGIC_LENGTH, Fill, decompressor
from analyzer.savefile.cuts import tell_of_cuts

STDIN = "-"
"""the path that means standard input"""
WINDOW_BYTES = 32 << 20
"""of a stream: large enough that a refill costs nothing beside the walk through it"""


class Window(Struct, frozen=True):
    """Consecutive bytes of the (decompressed) file."""

    data: Bytes
    """[n] uint8, read-only"""
    base: int
    """offset in the file of ``data[0]``"""
    final: bool
    """nothing follows"""
    fault: str = ""
    """why the stream ended before its time (damaged compression); empty where it did not"""


class Source:
    """A capture file that is open. ``advance`` is the only way through it."""

    def __init__(
        self,
        window: Window,
        fill: Fill | None = None,
        *,
        fd: int = -1,
        mapping: mmap.mmap | None = None,
    ) -> None:
        """fd: of a regular file that ``fill`` reads; mapping: behind the window."""
        self._window = window
        self._fill = fill
        self._fd = fd
        self._mapping = mapping
        self._left = 0
        self._position = 0
        self._fresh = True

    def advance(self, used: int = 0) -> Window:
        """The first window, then each time the next one, without the first ``used`` bytes."""
        if self._fresh:
            self._fresh = False
            return self._window
        if self._fill is None or self._window.final:
            raise ValueError("no window follows the final one")
        unread = self._window.data[used:]
        self._window = _filled(unread, self._window.base + used, self._fill)
        return self._window

    def at(self, position: int) -> None:
        """The reader has come so far in the window."""
        self._position = position

    def leave(self, position: int) -> None:
        """Give back the memory of a mapped window up to there; it is read anew if looked at."""
        end = position // mmap.PAGESIZE * mmap.PAGESIZE
        if self._mapping is not None and end > self._left:
            self._mapping.madvise(mmap.MADV_DONTNEED, self._left, end - self._left)
            self._left = end

    def progress(self) -> tuple[int, int]:
        """(bytes of the file that were read, its size); size 0 where it has none."""
        if self._mapping is not None:
            return self._position, len(self._mapping)
        if self._fd < 0:
            return self._window.base + self._position, 0
        return os.lseek(self._fd, 0, os.SEEK_CUR), os.fstat(self._fd).st_size


def open_source(path: str | Path) -> Source:
    """Open a regular file, a FIFO or (``-``) standard input, compressed or not.

    Raises UsageProblem where it does not exist, is a directory or may not be read, and
    EnvironmentProblem where nothing here can decompress it.
    """
    if str(path) == STDIN:
        return _stream(cast(BufferedReader, sys.stdin.buffer).readinto)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise UsageProblem(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise UsageProblem(f"{path}: cannot be read: {error.strerror}") from error
    mode = os.fstat(fd).st_mode
    if S_ISDIR(mode):
        os.close(fd)
        raise UsageProblem(f"{path}: is a directory; name a capture file in it")
    if S_ISREG(mode) and not decompressor(os.pread(fd, MAGIC_LENGTH, 0)):
        return _mapped(fd)
    source = _stream(lambda view: os.readv(fd, [view]), fd if S_ISREG(mode) else -1)
    weakref.finalize(source, os.close, fd)
    return source


def is_rereadable(path: str | Path) -> bool:
    """Whether the path can be opened again from its start: a regular file."""
    return str(path) != STDIN and os.path.isfile(path)


def _mapped(fd: int) -> Source:
    """The whole file as it is now. What is cut off later while it is read is fatal, in one line."""
    tell_of_cuts()
    try:
        size = os.fstat(fd).st_size
        if not size:
            return Source(Window(np.frombuffer(b"", np.uint8), 0, True))
        mapping = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
    finally:
        os.close(fd)
    mapping.madvise(mmap.MADV_SEQUENTIAL)
    return Source(Window(np.frombuffer(mapping, np.uint8), 0, True), mapping=mapping)


def _stream(read_into: Callable[[memoryview], int], fd: int = -1) -> Source:
    head = bytearray(MAGIC_LENGTH)
    size = _fill_up(memoryview(head), read_into)
    start = bytes(head[:size])
    make = decompressor(start)
    fill = make(start, read_into) if make else _Plain(start, read_into)
    return Source(_filled(np.empty(0, np.uint8), 0, fill), fill, fd=fd)


class _Plain:
    """A stream that is not compressed, its first bytes read already."""

    fault = ""

    def __init__(self, start: bytes, read_into: Callable[[memoryview], int]) -> None:
        self._start = start
        self._read_into = read_into

    def __call__(self, view: memoryview) -> int:
        count = len(self._start)
        if not count:
            return self._read_into(view)
        view[:count], self._start = self._start, b""
        return count


def _filled(unread: Bytes, base: int, fill: Fill) -> Window:
    data = np.empty(max(WINDOW_BYTES, 2 * len(unread)), np.uint8)
    data[: len(unread)] = unread
    filled = _fill_up(data.data[len(unread) :], fill)
    size = len(unread) + filled
    final = size < len(data)
    data.flags.writeable = False
    return Window(data[:size], base, final, fill.fault if final else "")


def _fill_up(view: memoryview, read_into: Callable[[memoryview], int]) -> int:
    """Read until ``view`` is full or the stream ends."""
    filled = 0
    while filled < len(view):
        count = read_into(view[filled:])
        if not count:
            break
        filled += count
    return filled
