"""What second passes share: which rows they are for, and where a row's bytes lie.

The first pass decodes what every frame needs, in columns. What only few frames have (DNS names,
TCP options, the packet quoted in an ICMP error) is read in a second pass over those rows, while
their bytes are still there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.model.frames import FrameChunk
from analyzer.native.keys import KeyNumbers
from analyzer.native.loads import Bytes

Columns = Mapping[str, npt.NDArray[Any]]
"""those of `analyzer.model.frames.DECODED`, a row a frame of the chunk"""
Rows = npt.NDArray[np.intp]


def transport_rows(columns: Columns, protocol: int, *ports: int) -> Rows:
    """Rows whose first L4 header is of this protocol; with ports: from or to one of them."""
    chosen = (columns["protocol"] == protocol) & (columns["l4_offset"] != 0)
    if ports:
        to_or_from = np.zeros(len(chosen), np.bool_)
        for port in ports:
            to_or_from |= columns["src_port"] == port
            to_or_from |= columns["dst_port"] == port
        chosen &= to_or_from
    return np.flatnonzero(chosen)


def frames_of(
    chunk: FrameChunk, columns: Columns, rows: Rows
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(start of the L4 header, end of the captured bytes) of each row, in the chunk's buffer."""
    start = chunk.offset[rows]
    stop = start + chunk.caplen[rows]
    return start + columns["l4_offset"][rows], stop.astype(np.int64)


def has_transport(columns: Columns, protocol: int, *ports: int) -> bool:
    """Whether `transport_rows` finds any."""
    return len(transport_rows(columns, protocol, *ports)) > 0


class ChunkFrames(NamedTuple):
    """The frames of a chunk as compiled loops take them; [frames] of each column."""

    data: Bytes
    """[bytes] that all frames lie in, read-only"""
    offset: npt.NDArray[np.int64]
    """where each one begins in ``data``"""
    caplen: npt.NDArray[np.uint32]
    """bytes of it that were captured"""
    wirelen: npt.NDArray[np.uint32]
    """bytes of it on the wire"""
    interface: npt.NDArray[np.int32]
    """number of the savefile's interface"""
    flags: npt.NDArray[np.uint32]
    """epb_flags"""


def chunk_frames(chunk: FrameChunk) -> ChunkFrames:
    """The chunk for a loop: of each column one type of array, so one compilation."""
    return ChunkFrames(
        view_of(chunk),
        np.ascontiguousarray(chunk.offset, np.int64),
        np.ascontiguousarray(chunk.caplen, np.uint32),
        np.ascontiguousarray(chunk.wirelen, np.uint32),
        np.ascontiguousarray(chunk.interface, np.int32),
        np.ascontiguousarray(chunk.flags, np.uint32),
    )


def view_of(chunk: FrameChunk) -> Bytes:
    """The chunk's bytes as compiled loops take them: read-only, one type, one compilation."""
    view = chunk.buffer.view()
    view.flags.writeable = False
    return view


def texts_of(
    written: npt.NDArray[np.uint8],
    start: npt.NDArray[np.int64],
    end: npt.NDArray[np.int64],
    digest: npt.NDArray[np.uint64],
) -> pl.Series:
    """Strings that a loop wrote as ASCII: written[start:end] each; equal ones have one digest.

    Each different one is made once, however many rows have it.
    """
    place, first = KeyNumbers().take(digest)
    bounds = zip(start[first].tolist(), end[first].tolist(), strict=True)
    view = written.data
    texts = [str(view[a:b], "ascii") for a, b in bounds]
    return pl.Series(texts, dtype=pl.String).gather(place)
