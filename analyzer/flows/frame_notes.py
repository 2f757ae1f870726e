"""What was read from the bytes of some frames, kept until their packets are complete.

Bytes are there only while a chunk is read, which happens in a thread of its own; packets come
later. The tables are joined by the frame's number in the capture.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

import numpy as np
import polars as pl
from msgspec import Struct

from analyzer.model.batch import Batch, Columns
from analyzer.model.frames import FrameChunk
from analyzer.native.compiled import compiled


class FrameNotes:
    """Rows of one kind, each of a frame: ``number`` and ``ts_ns`` are the frame's."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._rows: list[pl.DataFrame] = []

    def note(self, rows: pl.DataFrame) -> None:
        """Keep the rows of a chunk. From the thread that reads."""
        if len(rows):
            with self._lock:
                self._rows.append(rows)

    def take(self, batch: Batch, frame: str = "first_frame") -> pl.DataFrame | None:
        """The packets of a batch of which the first frame was noted, with what was noted of it.

        frame: ``last_frame`` for what was noted of that one, which a NAT may have changed.
        Columns: the packet's and the noted ones. None where there are none. Strays are left out.
        Rows of frames that no later packet can have are forgotten.
        """
        rows = self._due(batch)
        if rows is None:
            return None
        noted = rows["number"].to_numpy()  # sorted: frames are numbered as they are read
        wanted = batch.frames["number"].take(batch.packets[frame].to_numpy())
        place = np.empty(len(wanted), np.int64)
        _find(noted, wanted, place)
        packets = np.flatnonzero((place >= 0) & ~batch.packets["stray"].to_numpy())
        if not len(packets):
            return None
        return batch.packets[packets].hstack(rows[place[packets]].drop("number", "ts_ns"))

    def take_frames(self, batch: Batch) -> pl.DataFrame | None:
        """What was noted of a batch's frames, whichever of their packets', with ``frame``: the row.

        Strays are among them; otherwise as `take`.
        """
        rows = self._due(batch)
        if rows is None:
            return None
        noted = rows["number"].to_numpy()
        place = np.empty(len(batch.frames["number"]), np.int64)
        _find(noted, batch.frames["number"], place)
        frames = np.flatnonzero((place >= 0) & (batch.journeys.packet >= 0))
        return rows[place[frames]].with_columns(pl.Series("frame", frames))

    def _due(self, batch: Batch) -> pl.DataFrame | None:
        """All that was noted, of which only what later packets may have is kept."""
        with self._lock:
            rows = pl.concat(self._rows) if self._rows else None
            self._rows = [] if rows is None else [rows.filter(pl.col("ts_ns") >= batch.settled_ns)]
        return None if rows is None or rows.is_empty() or batch.packets.is_empty() else rows


def _everywhere(frames: Columns) -> bool:
    return True


class FrameReader(Struct, frozen=True):
    """Something that is read from the bytes of some frames while their chunk is in memory."""

    name: str
    read: Callable[[FrameChunk, Columns], pl.DataFrame]
    """a table with ``row`` (of the chunk) and what was found; without rows where nothing was"""
    occurs: Callable[[Columns], bool] = _everywhere
    """a cheap look at the decoded columns: may there be any?"""


class FrameReaders:
    """The readers that an analysis uses, each once, and what they have found."""

    def __init__(self) -> None:
        self._notes: dict[FrameReader, FrameNotes] = {}

    def notes(self, reader: FrameReader) -> FrameNotes:
        """What this reader finds: it is used from now on."""
        return self._notes.setdefault(reader, FrameNotes())

    def peek(self, chunk: FrameChunk, frames: Columns) -> None:
        """Look into a chunk just decoded; frames: with ``number``."""
        for reader, notes in self._notes.items():
            if not reader.occurs(frames):
                continue
            rows = reader.read(chunk, frames)
            if len(rows):
                at = rows["row"].to_numpy()
                places = {name: pl.Series(frames[name][at]) for name in ("number", "ts_ns")}
                notes.note(rows.drop("row").with_columns(**places))


@compiled
def _find(noted: Any, wanted: Any, place: Any) -> None:
    """Fill ``place`` with where each wanted number stands among the noted ones, which rise; -1.

    Wanted ones mostly rise, too: so it goes on from where the one before was.
    """
    at = 0
    for k in range(len(wanted)):
        if at == len(noted) or (at > 0 and noted[at - 1] >= wanted[k]):
            at = np.searchsorted(noted, wanted[k])
        while at < len(noted) and noted[at] < wanted[k]:
            at += 1
        place[k] = at if at < len(noted) and noted[at] == wanted[k] else -1
