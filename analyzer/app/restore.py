"""``export --restore-payload``: frames that were cut get the payload of a whole copy back.

A capture keeps payload where a packet first enters it (`analyzer.capture.payload`). Here the other
frames of a packet get it, where it is certain that they are of one packet, and where nothing that
NAT leaves differs, lengths included. Three passes over the file: the first analyses it and notes
for each cut frame which other is whole; the second puts those into a file without a name; the third
writes the capture again, into another file without a name.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile, gettempdir
from typing import BinaryIO

import numpy as np

from analyzer.analysis.options import DEFAULTS
from analyzer.analysis.stream import stream_files
from analyzer.app.annotate import count_frames
from analyzer.app.frame_rows import frame_rows
from analyzer.errors import SavefileError, UsageProblem
from analyzer.export.block_runs import BLOCKS, block_runs
from analyzer.export.payload import WholeFrames, restore
from analyzer.export.pcap import RECORD, build_records
from analyzer.model.batch import Batch
from analyzer.native.keys import KeyNumbers, mixed
from analyzer.savefile.read import CaptureFile, open_savefile

_FRAME = np.dtype(
    [
        ("whole", "i8"),  # number of the frame that has its payload, + 1; 0: none is needed
        ("place", "i8"),  # of a whole frame, in the store
        ("size", "i8"),  # its bytes; 0: nobody needs it
    ]
)


_LEAST = 64
"""bytes that a frame has to have itself: tags, in which copies may differ, are among them"""


class WholeCopies:
    """A sink: which frame has the payload of which."""

    def __init__(self, frames: int) -> None:
        """frames: of the capture, all that can be read."""
        self._mapping, self.rows = frame_rows(frames, _FRAME)
        self.restored = 0
        """frames that can be restored"""

    def add(self, batch: Batch) -> None:
        """Note the cut frames of a batch's packets of which a whole frame is there."""
        frames, journeys = batch.frames, batch.journeys
        likely = np.zeros(len(journeys.first), np.bool_)
        likely[journeys.packet[journeys.likely & (journeys.packet >= 0)]] = True
        rows = np.flatnonzero(journeys.packet >= 0)
        rows = rows[~likely[journeys.packet[rows]]]
        keys = np.where(frames["natkey"][rows] > 0, frames["natkey"][rows], frames["l2key"][rows])
        packet = journeys.packet[rows].astype(np.uint64)
        group, _ = KeyNumbers().take(mixed(packet, keys))
        is_whole = frames["caplen"][rows] == frames["wirelen"][rows]
        number = frames["number"][rows]
        copy = np.zeros(len(rows) and int(group.max()) + 1, np.int64)
        copy[group[is_whole]] = number[is_whole] + 1
        cut = ~is_whole & (copy[group] > 0) & (frames["caplen"][rows] >= _LEAST)
        self.rows["whole"][number[cut]] = copy[group[cut]]
        self.rows["size"][copy[group[cut]] - 1] = 1
        self.restored += int(np.count_nonzero(cut))
        self._mapping.madvise(mmap.MADV_DONTNEED)


@contextmanager
def restored(path: str) -> Iterator[tuple[CaptureFile, SavefileError | None]]:
    """The capture with its payload restored, and where the one at ``path`` is damaged.

    Raises as `open_savefile`.
    """
    frames, error = count_frames(path)
    copies = WholeCopies(frames)
    stream_files([path], DEFAULTS, lambda *_: [copies])
    if not copies.restored:
        yield CaptureFile(path), error
        return
    with TemporaryFile(prefix="vethscope-") as file:
        try:
            _write(path, error, copies, file)
            file.flush()
        except OSError as problem:
            raise UsageProblem(
                f"cannot restore the payload of {path}: {problem.strerror}; that takes room for "
                f"a whole capture in {gettempdir()}"
            ) from problem
        yield CaptureFile(path, f"/proc/self/fd/{file.fileno()}"), error


def _write(path: str, error: SavefileError | None, copies: WholeCopies, file: BinaryIO) -> None:
    row = 0
    with TemporaryFile(prefix="vethscope-") as stored:
        _store(path, copies, stored)
        stored.flush()
        store = np.frombuffer(mmap.mmap(stored.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        for run in block_runs(path, error.offset if error else None):
            of_run = copies.rows["whole"][row : row + run.packets]
            copy = copies.rows[np.maximum(of_run - 1, 0)]
            size = np.where(of_run > 0, copy["size"], 0)
            file.write(restore(run, WholeFrames(store, copy["place"].copy(), size)).data)
            row += run.packets


def _store(path: str, copies: WholeCopies, stored: BinaryIO) -> None:
    """Write the whole frames that others need, and note where."""
    row = place = 0
    for chunk in open_savefile(path).chunks(BLOCKS):
        of_chunk = copies.rows[row : row + len(chunk)]
        needed = np.flatnonzero(of_chunk["size"])
        sizes = chunk.caplen[needed].astype(np.int64)
        ends = place + np.cumsum(sizes + RECORD)
        of_chunk["size"][needed], of_chunk["place"][needed] = sizes, ends - sizes
        stored.write(build_records(chunk, needed).data)
        row += len(chunk)
        place = int(ends[-1]) if len(ends) else place
