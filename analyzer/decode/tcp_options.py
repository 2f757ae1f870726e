"""TCP options (RFC 9293, 3.1; 7323; 2018): a second pass, over the rows that are asked for.

The first pass leaves them out: most segments have none but a time stamp.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.decode.rows import Columns, frames_of, transport_rows, view_of
from analyzer.decode.tcp import TCP_HEADER
from analyzer.model.frames import MARK_MALFORMED, FrameChunk
from analyzer.native.compiled import compiled
from analyzer.native.loads import Bytes, be16, be32
from analyzer.net.ip import TCP

_DATA_OFFSET = 12
_END, _NOP, _MSS, _SCALE, _SACK_PERMITTED, _SACK, _TIMESTAMPS = 0, 1, 2, 3, 4, 5, 8
_SACK_BLOCK = 8
NO_SCALE = 0xFF


class _Out(NamedTuple):
    """[n] of each; what a segment does not have is 0 but ``scale``."""

    mss: npt.NDArray[np.uint16]
    scale: npt.NDArray[np.uint8]
    sack_permitted: npt.NDArray[np.bool_]
    sack_blocks: npt.NDArray[np.uint8]
    stamped: npt.NDArray[np.bool_]
    ts_val: npt.NDArray[np.uint32]
    ts_ecr: npt.NDArray[np.uint32]


def tcp_options(
    chunk: FrameChunk, columns: Columns, rows: npt.NDArray[np.intp] | None = None
) -> pl.DataFrame:
    """A row each TCP segment (of ``rows`` where they are given); null: no such option.

    row (of the chunk), mss, window_scale (the shift), sack_permitted, sack_blocks, ts_val, ts_ecr.
    """
    if rows is None:
        rows = transport_rows(columns, TCP)
    n = len(rows)
    out = _Out(
        np.zeros(n, np.uint16),
        np.full(n, NO_SCALE, np.uint8),
        np.zeros(n, np.bool_),
        np.zeros(n, np.uint8),
        np.zeros(n, np.bool_),
        np.zeros(n, np.uint32),
        np.zeros(n, np.uint32),
    )
    at, stop = frames_of(chunk, columns, rows)
    _walk(view_of(chunk), at, np.where(columns["marks"][rows] & MARK_MALFORMED, at, stop), out)
    stamped = pl.Series(out.stamped)
    return pl.DataFrame(
        {
            "row": rows.astype(np.uint32),
            "mss": pl.Series(out.mss).replace(0, None),
            "window_scale": pl.Series(out.scale).replace(NO_SCALE, None),
            "sack_permitted": out.sack_permitted,
            "sack_blocks": out.sack_blocks,
            "ts_val": pl.Series(out.ts_val).set(~stamped, None),
            "ts_ecr": pl.Series(out.ts_ecr).set(~stamped, None),
        }
    )


@compiled
def _walk(
    data: Bytes, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64], out: _Out
) -> None:
    for row in range(len(starts)):
        at, stop = starts[row], stops[row]
        if stop - at < TCP_HEADER:
            continue
        stop = min(stop, at + (data[at + _DATA_OFFSET] >> 4) * 4)
        at += TCP_HEADER
        while stop - at >= 2 and data[at] != _END:
            kind, size = data[at], np.int64(data[at + 1])
            if kind == _NOP:
                at += 1
                continue
            if size < 2 or size > stop - at:
                break  # a length that lies ends the options
            if kind == _MSS and size == 4:
                out.mss[row] = be16(data, at + 2)
            elif kind == _SCALE and size == 3:
                out.scale[row] = data[at + 2]
            elif kind == _SACK_PERMITTED:
                out.sack_permitted[row] = True
            elif kind == _SACK:
                out.sack_blocks[row] = (size - 2) // _SACK_BLOCK
            elif kind == _TIMESTAMPS and size == 10:
                out.stamped[row] = True
                out.ts_val[row] = be32(data, at + 2)
                out.ts_ecr[row] = be32(data, at + 6)
            at += size
