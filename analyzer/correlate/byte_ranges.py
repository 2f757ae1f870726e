"""Follow TCP where the same bytes are other frames: cut into segments, or merged, on the way.

Between containers a frame is as large as the sender's stack made it (GSO, up to 64 KiB and more).
A device on the way without that offload gets it in segments, and a receiver may merge segments
(GRO). Neither the bytes nor the IP header stay, but connection, acknowledgement number and the
range of sequence numbers do (RFC 9293). So frames that no identity tied are tied by range: a
segment to the frame that holds it, a merged frame to the first of its segments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.correlate.columns import Edges, FrameColumns, VantageColumns
from analyzer.correlate.group import group_rows
from analyzer.correlate.pairing import precedes
from analyzer.correlate.stages import BRIDGE, FREE
from analyzer.correlate.unique_match import edge_kind, fits
from analyzer.model.frames import MARK_FRAGMENT
from analyzer.model.journeys import Hop
from analyzer.native.compiled import allocating, piece
from analyzer.native.keys import mixed
from analyzer.net.ip import TCP

_COPY = int(Hop.COPY)
_MOST_OPEN = 512
"""frames of one connection that may be under way at once"""


class Ranges(NamedTuple):
    """What n frames were tied by byte range; filled in place."""

    piece: npt.NDArray[np.bool_]
    """[n] a part of its parent"""
    short: npt.NDArray[np.bool_]
    """[n] some of its bytes were seen further on, but not all yet"""
    absorbed: npt.NDArray[np.bool_]
    """[n] went on inside a merged frame that begins with another one"""


class _Stream(NamedTuple):
    """n frames as parts of a TCP stream."""

    loose: npt.NDArray[np.uint8]
    """[n] _END and _START"""
    seq: npt.NDArray[np.uint32]
    """[n] sequence number of the first byte"""
    size: npt.NDArray[np.uint32]
    """[n] bytes of payload"""


class _UnderWay(NamedTuple):
    """Frames of one connection of which parts, or what they are parts of, may still come."""

    frame: npt.NDArray[np.int32]
    """[_MOST_OPEN] by time; only the first of them are in use"""
    left: npt.NDArray[np.int64]
    """[_MOST_OPEN] bytes of it that were not seen further on yet"""


def link_ranges(
    columns: Mapping[str, npt.NDArray[Any]],
    frames: FrameColumns,
    layout: VantageColumns,
    edges: Edges,
) -> Ranges:
    """Tie what is loose; fills ``edges``. columns: decoded, of the same frames."""
    n = len(frames.vantage)
    ranges = Ranges(*(np.zeros(n, np.bool_) for _ in range(3)))
    stream = _Stream(np.zeros(n, np.uint8), columns["tcp_seq"], columns["payload_len"])
    data = (columns["protocol"] == TCP) & (stream.size > 0) & (columns["l4_offset"] > 0)
    data &= (frames.marks & MARK_FRAGMENT) == 0
    ends, starts = _find_loose(data, frames, layout, edges, stream.loose)
    if not (ends and starts):
        return ranges
    rows = np.flatnonzero(stream.loose).astype(np.int32)
    rows = rows[np.argsort(frames.ts_ns[rows], kind="stable")]
    segment = layout.segment[frames.vantage[rows]]
    order, start, _ = group_rows(mixed(segment, *(columns[name][rows] for name in _CONNECTION)))
    _link(rows[order], start, stream, frames, layout, edges, ranges)
    return ranges


_END, _START = 1, 2
"""bits: nothing came from the frame, though more was to come; it came from nothing"""
_CONNECTION = ("src_hi", "src_lo", "dst_hi", "dst_lo", "src_port", "dst_port", "tcp_ack")
"""what segments of one frame have in common"""


@allocating
def _find_loose(
    data: Any, frames: FrameColumns, layout: VantageColumns, edges: Edges, loose: Any
) -> Any:
    """Fill ``loose`` [n] with _END and _START of TCP frames with data; how many of each."""
    parent, hop, peer = edges.parent, edges.hop, layout.peer
    n = len(parent)
    inner = np.zeros(n, np.bool_)
    for i in range(n):
        if parent[i] >= 0 and hop[i] != _COPY:
            inner[parent[i]] = True
    ends, starts = 0, 0
    for i in range(n):
        v, s = frames.vantage[i], frames.stage[i]
        if not data[i] or s == FREE:
            continue
        if not inner[i] and hop[i] != _COPY and (s < 2 or (s == 2 and peer[v] >= 0)):
            loose[i] |= _END
            ends += 1
        if parent[i] < 0 and ((s == 1 and peer[v] >= 0) or (s >= 2 and layout.kind[v] != BRIDGE)):
            loose[i] |= _START
            starts += 1
    return ends, starts


@piece
def _inside(seq: Any, length: Any, outer_seq: Any, outer_length: Any) -> Any:
    """Whether a range of sequence numbers lies in another, modulo 2³²."""
    offset = (np.int64(seq) - np.int64(outer_seq)) & 0xFFFFFFFF
    return offset + np.int64(length) <= np.int64(outer_length)


@allocating
def _link(
    rows: Any,
    start: Any,
    stream: _Stream,
    frames: FrameColumns,
    layout: VantageColumns,
    edges: Edges,
    ranges: Ranges,
) -> None:
    """Go through each connection in order; rows: by connection, which begin at ``start``."""
    under_way = _UnderWay(np.empty(_MOST_OPEN, np.int32), np.empty(_MOST_OPEN, np.int64))
    for g in range(len(start) - 1):
        count = 0
        for c in rows[start[g] : start[g + 1]]:
            place, several, is_piece = -1, False, False
            if stream.loose[c] & _START:
                place, several, is_piece = _find_parent(
                    c, under_way, count, stream, frames, layout, ranges
                )
            if place >= 0:
                p = under_way.frame[place]
                edges.parent[c], edges.likely[c] = p, several
                edges.hop[c] = edge_kind(p, c, frames, layout)
                ranges.piece[c], ranges.absorbed[p] = is_piece, False
                under_way.left[place] -= stream.size[c]
                ranges.short[p] = under_way.left[place] > 0
                if under_way.left[place] <= 0:
                    count = _take_out(place, under_way, count)
            if stream.loose[c] & _END:
                if count == _MOST_OPEN:
                    count = _take_out(0, under_way, count)
                under_way.frame[count], under_way.left[count] = c, stream.size[c]
                count += 1


@piece
def _find_parent(
    c: Any,
    under_way: _UnderWay,
    count: Any,
    stream: _Stream,
    frames: FrameColumns,
    layout: VantageColumns,
    ranges: Ranges,
) -> Any:
    """(place in ``under_way`` or -1, whether there are several, whether c is a part of it).

    The latest frame that holds c; else the first part of c. All its parts are marked as absorbed.
    """
    seq, size, v = stream.seq, stream.size, frames.vantage[c]
    window = layout.patience_ns[v]
    outer, several, first_part = -1, False, -1
    for k in range(count - 1, -1, -1):
        p = under_way.frame[k]
        if not fits(v, frames.stage[c], frames.vantage[p], frames.stage[p], layout.peer):
            continue
        if not precedes(p, c, frames) or frames.ts_ns[c] - frames.ts_ns[p] > window:
            continue
        if size[p] > size[c] and _inside(seq[c], size[c], seq[p], size[p]):
            several = several or outer >= 0
            outer = k if outer < 0 else outer
        elif size[p] < size[c] and _inside(seq[p], size[p], seq[c], size[c]):
            ranges.absorbed[p] = True
            if seq[p] == seq[c]:
                first_part = k
    return (outer if outer >= 0 else first_part), several, outer >= 0


@piece
def _take_out(place: Any, under_way: _UnderWay, count: Any) -> Any:
    """Close the gap; how many are left."""
    for k in range(place, count - 1):
        under_way.frame[k], under_way.left[k] = under_way.frame[k + 1], under_way.left[k + 1]
    return count - 1
