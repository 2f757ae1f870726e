"""Memory for the decoded frames of a chunk, used again for the next ones.

Columns are blocks of one dtype with room before the chunk's rows: the frames that are still open
from before are put there, so that both are one table and the chunk is not moved.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.decode.columns import clear_out, columns_of, new_out
from analyzer.decode.frames import decode_frames
from analyzer.model.batch import Columns
from analyzer.model.frames import FrameChunk

META = {
    "ts_ns": "int64",
    "vantage": "int32",
    "flags": "uint32",
    "caplen": "uint32",
    "wirelen": "uint32",
    "linktype": "int32",
    "number": "int64",
}
"""columns of a frame besides those that decoding adds"""


class FrameRoom:
    """Columns for ``before`` carried frames and, behind them, ``rows`` of a chunk."""

    def __init__(self, rows: int, before: int) -> None:
        self._before = before
        self._out = new_out(before + rows)
        self._meta: dict[str, npt.NDArray[Any]] = {
            name: np.empty(before + rows, kind) for name, kind in META.items()
        }
        self._all = {**columns_of(self._out), **self._meta}
        self._used = 0

    def decode(
        self,
        chunk: FrameChunk,
        vantage_of: npt.NDArray[np.int32],
        linktypes: npt.NDArray[np.int32],
        key_bytes: int,
        number: int,
    ) -> Columns:
        """The chunk's frames, the first of them with that number."""
        start, stop = self._before, self._before + len(chunk)
        clear_out(self._out, start, self._used)
        self._used = len(chunk)
        decode_frames(chunk, linktypes, key_bytes, self._out, start)
        meta = self._meta
        meta["ts_ns"][start:stop], meta["flags"][start:stop] = chunk.ts_ns, chunk.flags
        meta["caplen"][start:stop], meta["wirelen"][start:stop] = chunk.caplen, chunk.wirelen
        np.take(vantage_of, chunk.interface, out=meta["vantage"][start:stop])
        np.take(linktypes, chunk.interface, out=meta["linktype"][start:stop])
        meta["number"][start:stop] = np.arange(number, number + len(chunk))
        return self._rows(start)

    def with_carried(self, carried: Columns | None) -> Columns:
        """The carried frames, then the chunk's. More than there is room for are moved with it."""
        count = len(carried["ts_ns"]) if carried else 0
        if carried is None or not count:
            return self._rows(self._before)
        if count > self._before:
            here = self._rows(self._before)
            return {name: np.concatenate([carried[name], here[name]]) for name in here}
        start = self._before - count
        for name, column in self._all.items():
            column[start : self._before] = carried[name]
        return self._rows(start)

    def _rows(self, start: int) -> Columns:
        stop = self._before + self._used
        return {name: column[start:stop] for name, column in self._all.items()}


def rows_of(frames: Columns, which: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[Any]]:
    """Some rows of all columns, copied."""
    rows = np.flatnonzero(which)
    return {name: column[rows] for name, column in frames.items()}


def empty_frames() -> dict[str, npt.NDArray[Any]]:
    """All columns, without a row."""
    meta = {name: np.empty(0, np.dtype(kind)) for name, kind in META.items()}
    return {**columns_of(new_out(0)), **meta}
