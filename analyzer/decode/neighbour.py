"""Neighbour Discovery (RFC 4861): what takes the place of ARP in IPv6."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.decode.icmp import ICMP_HEADER
from analyzer.decode.link import mac_at
from analyzer.decode.rows import Columns, frames_of, transport_rows, view_of
from analyzer.model.frames import FrameChunk
from analyzer.native.compiled import compiled
from analyzer.native.loads import Bytes, be64
from analyzer.net.icmp import NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, REDIRECT_V6
from analyzer.net.ip import ICMPV6

_WITH_TARGET = (NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT, REDIRECT_V6)
_TARGET = 16
_SOURCE_LINK, _TARGET_LINK = 1, 2
_MAC_OPTION = 8


class _Out(NamedTuple):
    """[n] of each; 0 where there is none."""

    target_hi: npt.NDArray[np.uint64]
    target_lo: npt.NDArray[np.uint64]
    mac: npt.NDArray[np.uint64]
    flags: npt.NDArray[np.uint8]
    whole: npt.NDArray[np.bool_]


def neighbour_messages(chunk: FrameChunk, columns: Columns) -> pl.DataFrame:
    """A row each neighbour solicitation, advertisement and redirect whose target was captured.

    row (of the chunk), nd_type, target_hi, target_lo, mac (of the link-layer address option,
    else 0), flags (of an advertisement: 0x80 router, 0x40 solicited, 0x20 override).
    """
    rows = transport_rows(columns, ICMPV6)
    rows = rows[np.isin(columns["icmp_type"][rows], _WITH_TARGET)]
    n = len(rows)
    out = _Out(
        np.zeros(n, np.uint64),
        np.zeros(n, np.uint64),
        np.zeros(n, np.uint64),
        np.zeros(n, np.uint8),
        np.zeros(n, np.bool_),
    )
    at, stop = frames_of(chunk, columns, rows)
    end = at + ICMP_HEADER + columns["payload_len"][rows]
    _walk(view_of(chunk), at, np.minimum(stop, end), out)
    return pl.DataFrame(
        {
            "row": rows.astype(np.uint32),
            "nd_type": columns["icmp_type"][rows],
            "target_hi": out.target_hi,
            "target_lo": out.target_lo,
            "mac": out.mac,
            "flags": out.flags,
        }
    ).filter(pl.Series(out.whole))


@compiled
def _walk(
    data: Bytes, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64], out: _Out
) -> None:
    for row in range(len(starts)):
        at, stop = starts[row], stops[row]
        if stop - at < ICMP_HEADER + _TARGET:
            continue
        out.whole[row] = True
        kind = data[at]
        out.flags[row] = data[at + 4] if kind == NEIGHBOUR_ADVERTISEMENT else 0
        at += ICMP_HEADER
        out.target_hi[row] = be64(data, at)
        out.target_lo[row] = be64(data, at + 8)
        at += 2 * _TARGET if kind == REDIRECT_V6 else _TARGET
        while stop - at >= _MAC_OPTION:
            size = np.int64(data[at + 1]) * 8
            if size == 0 or size > stop - at:
                break  # a length that lies ends the options
            if data[at] in (_SOURCE_LINK, _TARGET_LINK) and size == _MAC_OPTION:
                out.mac[row] = mac_at(data, at + 2)
            at += size
