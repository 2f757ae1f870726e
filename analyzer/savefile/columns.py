"""What the walkers of both formats fill, and how they say why they stopped."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.model.frames import FLAG_UNTIMED, FrameChunk
from analyzer.native.loads import Bytes

MORE = 0
"""the record at the returned position goes on behind the window's end"""
CONTROL = 1
"""a block stands there that Python reads"""
FULL = 2
"""the columns are full"""
BAD_LENGTH = 3
LENGTHS_DIFFER = 4
BAD_CAPLEN = 5
NO_INTERFACE = 6
BAD_CONTENT = 7
WHOLE = 8
"""of a single block: it is there and its lengths agree"""

DAMAGE = {
    BAD_LENGTH: "its length cannot be right",
    LENGTHS_DIFFER: "its two lengths differ",
    BAD_CAPLEN: "more bytes are said to be captured than it can hold",
    NO_INTERFACE: "its interface was not described before",
}

MAX_RECORD = 128 << 20
"""bytes; Wireshark's largest packet (WTAP_MAX_PACKET_SIZE_DBUS): what says more is damaged"""


class Columns(NamedTuple):
    """FrameChunk's columns while they are filled: arrays of one length."""

    offset: npt.NDArray[np.int64]
    caplen: npt.NDArray[np.uint32]
    wirelen: npt.NDArray[np.uint32]
    ts_ns: npt.NDArray[np.int64]
    interface: npt.NDArray[np.int32]
    flags: npt.NDArray[np.uint32]


def new_columns(rows: int) -> Columns:
    """Columns for ``rows`` frames; memory is only used as far as they are filled."""
    return Columns(
        np.empty(rows, np.int64),
        np.empty(rows, np.uint32),
        np.empty(rows, np.uint32),
        np.empty(rows, np.int64),
        np.empty(rows, np.int32),
        np.empty(rows, np.uint32),
    )


def chunk_of(buffer: Bytes, columns: Columns, rows: int) -> FrameChunk:
    """The first ``rows`` frames of the columns."""
    return FrameChunk(
        buffer,
        columns.offset[:rows],
        columns.caplen[:rows],
        columns.wirelen[:rows],
        columns.ts_ns[:rows],
        columns.interface[:rows],
        columns.flags[:rows],
    )


def fill_times(chunk: FrameChunk, before_ns: int) -> int:
    """Give frames without a stamp that of the frame before them, or, at the file's start, behind
    them: so they stay in order. In place.

    before_ns: what the chunk before returned; 0 at first.
    """
    timed = chunk.flags & FLAG_UNTIMED == 0
    if not timed.all():
        some = np.flatnonzero(timed)
        first_ns = before_ns or (int(chunk.ts_ns[some[0]]) if len(some) else 0)
        behind = np.searchsorted(some, np.arange(len(chunk)), side="right")
        chunk.ts_ns[:] = np.concatenate([[first_ns], chunk.ts_ns[some]])[behind]
    return int(chunk.ts_ns[-1])


class Stop(NamedTuple):
    """Where a walk stopped, and why."""

    position: int
    """in the window: start of the record that was not taken"""
    row: int
    """columns are filled up to here"""
    status: int
    """MORE, FULL, or damage"""
    reason: str = ""
    """of damage"""
