"""Pipes that have to be read more than once: what they bring is copied to a file without a name.

The copy is a temporary file that no directory shows: it goes with this process, however that ends.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryFile, gettempdir
from typing import BinaryIO, cast

from analyzer.errors import EnvironmentProblem
from analyzer.savefile.compressed import MAGIC_LENGTH, decompressor
from analyzer.savefile.pcap import HEADER_LENGTH
from analyzer.savefile.read import CaptureFile, is_capture
from analyzer.savefile.source import STDIN, is_rereadable

Progress = Callable[[int, int], None]
_AT_ONCE = 1 << 20
_HEAD = max(HEADER_LENGTH, MAGIC_LENGTH)


@contextmanager
def rereadable(
    paths: Sequence[str], progress: Progress | None = None
) -> Iterator[list[CaptureFile]]:
    """The files, each of which can be read from its start again; copies last as long as this.

    progress: is told (bytes copied, 0). A path that cannot be opened is left as it is, for
    whoever reads it to say so. Raises EnvironmentProblem where a copy finds no room.
    """
    with ExitStack() as stack:
        yield [_rereadable(path, stack, progress) for path in paths]


def _rereadable(path: str, stack: ExitStack, progress: Progress | None) -> CaptureFile:
    if is_rereadable(path):
        return CaptureFile(path)
    try:
        pipe = _open_pipe(path, stack)
    except OSError:
        return CaptureFile(path)
    try:
        copy = cast(BinaryIO, TemporaryFile(prefix="vethscope-"))  # noqa: SIM115 (the stack does)
        stack.enter_context(copy)
        _copy(pipe, copy, progress)
    except OSError as error:
        raise EnvironmentProblem(
            f"{path}: cannot be copied to {gettempdir()}: {error.strerror}; save it to a file, or "
            "set TMPDIR to a directory with room"
        ) from error
    return CaptureFile(path, f"/proc/self/fd/{copy.fileno()}")


def _open_pipe(path: str, stack: ExitStack) -> BinaryIO:
    if path == STDIN:
        return cast(BinaryIO, sys.stdin.buffer)
    return stack.enter_context(open(path, "rb"))


def _copy(pipe: BinaryIO, copy: BinaryIO, progress: Progress | None) -> None:
    """All that the pipe brings; only its head where that is no capture's."""
    head = pipe.read(_HEAD)
    copy.write(head)
    if is_capture(head[:HEADER_LENGTH]) or decompressor(head[:MAGIC_LENGTH]):
        while piece := pipe.read(_AT_ONCE):
            copy.write(piece)
            if progress:
                progress(copy.tell(), 0)
    copy.flush()
    os.lseek(copy.fileno(), 0, os.SEEK_SET)
