"""A row for each frame of a capture, in a file without a name: memory does not grow with it."""

from __future__ import annotations

import mmap
from tempfile import TemporaryFile

import numpy as np
import numpy.typing as npt


def frame_rows(frames: int, kind: np.dtype[np.void]) -> tuple[mmap.mmap, npt.NDArray[np.void]]:
    """(the mapping, its rows, all zero). `mmap.mmap.madvise` gives its memory back: the pages stay
    in the file."""
    size = max(frames, 1) * kind.itemsize
    with TemporaryFile(prefix="vethscope-") as file:  # the mapping keeps it
        file.truncate(size)
        mapping = mmap.mmap(file.fileno(), size)
    return mapping, np.frombuffer(mapping, kind)[:frames]
