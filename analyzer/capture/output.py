"""The capture file while it is written: whole blocks or nothing, whatever the disk does."""

from __future__ import annotations

import errno
import io
import os
import stat
from typing import BinaryIO, TypeAlias

import numpy as np

from analyzer.capture.encode import Bytes
from analyzer.capture.merge import cut_blocks
from analyzer.capture.pipe import open_pipe
from analyzer.errors import UsageProblem
from analyzer.net.privsep import monitor_of
from analyzer.savefile.creating import MakeFiles, create_file

Target: TypeAlias = str | os.PathLike[str] | BinaryIO
"""a path, or a stream of the caller's"""

_WRITE_BYTES = 64 << 10
"""at a time: much more would have the page cache made of great pages, for which memory has to be
found, and its source fall out of the processor's cache; much less costs system calls"""


class Output:
    """Blocks go in by `write`; ``failure`` keeps the error after which nothing goes in."""

    def __init__(self, target: Target) -> None:
        """A path is created (`analyzer.savefile.creating`); a stream is kept.

        Raises UsageProblem where the path cannot be written.
        """
        self.size = 0
        """bytes of whole blocks"""
        self.failure: OSError | None = None
        self._stream: BinaryIO | None = None
        self._owned = isinstance(target, str | os.PathLike)
        if isinstance(target, str | os.PathLike):
            self.name = os.fspath(target)
            self._fd = _create(self.name)
        else:
            self.name = str(getattr(target, "name", "the output"))
            self._fd = _descriptor(target)
            self._stream = target if self._fd < 0 else None
        mode = os.fstat(self._fd).st_mode if self._fd >= 0 else 0
        self._regular = stat.S_ISREG(mode)
        self._pipe = open_pipe(self._fd, mode)

    def write(self, blocks: bytes | Bytes) -> int:
        """Write whole blocks; returns how many of the bytes are in the file for good.

        Less than given only where it failed (``failure``): then what was written of a block
        is taken off again, if the output is a regular file.
        """
        view = memoryview(blocks)  # type: ignore[arg-type]
        done = 0
        while done < len(view) and self.failure is None:
            try:
                done += self._write_some(view[done : done + _WRITE_BYTES])
            except OSError as error:
                self.failure = error
        if done < len(view):
            whole, _ = cut_blocks(np.array(view, np.uint8), done, len(view))
            self._cut_back(done - whole)
            done = whole
        self.size += done
        return done

    @property
    def broken_pipe(self) -> bool:
        return self.failure is not None and self.failure.errno == errno.EPIPE

    @property
    def is_deleted(self) -> bool:
        """A file that has no name any more."""
        return self._regular and self._owned and not os.fstat(self._fd).st_nlink

    def give_up(self) -> None:
        """Wait no longer for a reader who does not read. Safe in threads."""
        if self._pipe:
            self._pipe.give_up()

    def close(self) -> None:
        """Close what was opened here; a stream of the caller's stays open."""
        if self._pipe:
            self._pipe.close()
            self._pipe = None
        if self._owned and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write_some(self, view: memoryview) -> int:
        if self._pipe:
            return self._pipe.write(view)
        if self._stream is None:
            return os.write(self._fd, view)
        self._stream.write(view)
        return len(view)

    def _cut_back(self, surplus: int) -> None:
        if surplus and self._regular:
            end = os.lseek(self._fd, -surplus, os.SEEK_CUR)
            os.ftruncate(self._fd, end)


def _create(path: str) -> int:
    try:
        if monitor := monitor_of(MakeFiles):
            return monitor.ask(MakeFiles, path)[1]
        return create_file(path)
    except OSError as error:
        raise UsageProblem(
            f"cannot write {path}: {error.strerror}; name another file with -w"
        ) from error


def _descriptor(stream: BinaryIO) -> int:
    """Its descriptor, with nothing left in its buffer; −1 where it has none."""
    try:
        stream.flush()
        return stream.fileno()
    except (io.UnsupportedOperation, AttributeError):
        return -1
