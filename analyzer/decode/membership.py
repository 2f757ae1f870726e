"""Membership of multicast groups: IGMP (RFC 1112, 2236, 3376) and MLD (RFC 2710, 3810)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.decode.rows import Columns, frames_of, transport_rows, view_of
from analyzer.model.frames import FrameChunk
from analyzer.native.compiled import compiled, piece
from analyzer.native.loads import Bytes, be16, be32, be64
from analyzer.net.icmp import MLD_DONE, MLD_QUERY, MLD_REPORT, MLD_V2_REPORT
from analyzer.net.ip import ICMPV6, IGMP, MAPPED

QUERY, JOIN, LEAVE = 0, 1, 2
"""what a row is: somebody asks who is a member; a node is one (still, or from now on); not any
more"""
_IGMP_QUERY, _IGMP_V1_REPORT, _IGMP_V2_REPORT, _IGMP_LEAVE = 0x11, 0x12, 0x16, 0x17
_IGMP_V3_REPORT = 0x22
MLD_TYPES = (MLD_QUERY, MLD_REPORT, MLD_DONE, MLD_V2_REPORT)
_V4_GROUP, _V6_GROUP = 4, 8
"""where the group stands, from the message's start"""
_RECORDS, _COUNT = 8, 6
"""where a report's records begin, and their number stands"""
_TO_INCLUDE, _BLOCK = 3, 6
"""record types that name no sources any more: CHANGE_TO_INCLUDE_MODE, BLOCK_OLD_SOURCES"""
_INCLUDES = (1, 3, 5)
_MAPPED = np.uint64(MAPPED)
_RECORDS_PER_BYTE = 8
"""a record has 8 bytes at the least"""


class _Out(NamedTuple):
    """[records] of each."""

    row: npt.NDArray[np.uint32]
    """of the message"""
    kind: npt.NDArray[np.uint8]
    hi: npt.NDArray[np.uint64]
    lo: npt.NDArray[np.uint64]


def has_membership(columns: Columns) -> bool:
    """Whether there may be a message."""
    igmp = columns["protocol"] == IGMP
    mld = (columns["protocol"] == ICMPV6) & np.isin(columns["icmp_type"], MLD_TYPES)
    return bool((igmp | mld).any())


def membership_messages(chunk: FrameChunk, columns: Columns) -> pl.DataFrame:
    """A row a message, with its records as lists of one length.

    row (of the chunk), kinds (QUERY, JOIN, LEAVE), groups_hi, groups_lo (IPv4 as ::ffff:a.b.c.d;
    of a general query 0). What is cut before its first record is left out.
    """
    igmp, icmp = (transport_rows(columns, protocol) for protocol in (IGMP, ICMPV6))
    mld = icmp[np.isin(columns["icmp_type"][icmp], MLD_TYPES)]
    rows = np.sort(np.concatenate([igmp, mld]))
    at, stop = frames_of(chunk, columns, rows)
    room = int(((stop - at) // _RECORDS_PER_BYTE + 1).clip(0).sum())
    out = _Out(
        np.zeros(room, np.uint32),
        np.zeros(room, np.uint8),
        np.zeros(room, np.uint64),
        np.zeros(room, np.uint64),
    )
    count = _walk(view_of(chunk), at, stop, columns["protocol"][rows] == IGMP, out)
    records = pl.DataFrame(
        {
            "row": rows[out.row[:count]].astype(np.uint32),
            "kinds": out.kind[:count],
            "groups_hi": out.hi[:count],
            "groups_lo": out.lo[:count],
        }
    )
    return records.group_by("row", maintain_order=True).agg(pl.all())


@compiled
def _walk(
    data: Bytes,
    starts: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
    igmp: npt.NDArray[np.bool_],
    out: _Out,
) -> Any:
    """The number of records."""
    count: Any = np.int64(0)
    for row in range(len(starts)):
        at, stop = starts[row], stops[row]
        if stop - at < _RECORDS:
            continue
        kind = data[at]
        if kind in (_IGMP_V3_REPORT, MLD_V2_REPORT):
            count = _records(data, at, stop, igmp[row], row, out, count)
        elif igmp[row]:
            if kind in (_IGMP_QUERY, _IGMP_V1_REPORT, _IGMP_V2_REPORT, _IGMP_LEAVE):
                group = be32(data, at + _V4_GROUP)
                out.kind[count] = QUERY
                if kind != _IGMP_QUERY:
                    out.kind[count] = LEAVE if kind == _IGMP_LEAVE else JOIN
                count = _store(row, np.uint64(0), _mapped(group), out, count)
        elif stop - at >= _V6_GROUP + 16:
            out.kind[count] = QUERY
            if kind != MLD_QUERY:
                out.kind[count] = LEAVE if kind == MLD_DONE else JOIN
            group_hi, group_lo = be64(data, at + _V6_GROUP), be64(data, at + _V6_GROUP + 8)
            count = _store(row, group_hi, group_lo, out, count)
    return count


@piece
def _mapped(group: Any) -> Any:
    return np.uint64(group) | _MAPPED if group else np.uint64(0)


@piece
def _store(row: int, hi: Any, lo: Any, out: _Out, count: Any) -> Any:
    """The number of records, with this one."""
    out.row[count], out.hi[count], out.lo[count] = row, hi, lo
    return count + 1


@piece
def _records(data: Bytes, start: Any, stop: Any, igmp: Any, row: int, out: _Out, count: Any) -> Any:
    """A report's group records; one that is cut ends them."""
    size = np.int64(4 if igmp else 16)
    at = start + _RECORDS
    for _ in range(be16(data, start + _COUNT)):
        if stop - at < 4 + size:
            break
        kind, sources = data[at], np.int64(be16(data, at + 2))
        behind = at + 4 + size + sources * size + np.int64(data[at + 1]) * 4
        if kind != _BLOCK:
            leaves = kind in _INCLUDES and sources == 0
            out.kind[count] = LEAVE if leaves else JOIN
            if igmp:
                count = _store(row, np.uint64(0), _mapped(be32(data, at + 4)), out, count)
            else:
                count = _store(row, be64(data, at + 4), be64(data, at + 12), out, count)
        at = behind
    return count
