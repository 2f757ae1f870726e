"""Follow TCP where the same bytes are other frames: cut into segments, or merged, on the way.

Between containers a frame is as large as the sender's stack made it (GSO, up to 64 KiB and more).
A device on the way without that offload gets it in segments, and a receiver may merge segments
(GRO). Neither the bytes nor the IP header stay, but connection, acknowledgement number and the
range of sequence numbers do (RFC 9293). So frames that no identity tied are tied by range: a
segment to the frame that holds it, a merged frame to the first of its segments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.correlate.group import group_rows
from analyzer.correlate.pairing import LONGEST_NS, QUEUE_NS, precedes
from analyzer.correlate.stages import BRIDGE, FREE, Layout
from analyzer.correlate.unique_match import edge_kind, fits
from analyzer.model.frames import MARK_FRAGMENT
from analyzer.model.journeys import Hop
from analyzer.native.compiled import allocating
from analyzer.native.keys import mixed
from analyzer.net.ip import TCP

_COPY = int(Hop.COPY)
_MOST_OPEN = 512
"""frames of one connection that may be under way at once"""


@dataclass(frozen=True, slots=True)
class Ranges:
    """What was tied by byte range; [n] of frames each."""

    piece: npt.NDArray[np.bool_]
    """a part of its parent"""
    short: npt.NDArray[np.bool_]
    """some of its bytes were seen further on, but not all yet"""
    absorbed: npt.NDArray[np.bool_]
    """went on inside a merged frame that begins with another one"""


def link_ranges(
    frames: Mapping[str, npt.NDArray[Any]],
    layout: Layout,
    stage: npt.NDArray[np.int32],
    parent: npt.NDArray[np.int32],
    hop: npt.NDArray[np.uint8],
    likely: npt.NDArray[np.bool_],
) -> Ranges:
    """Tie what is loose; fills ``parent``, ``hop`` and ``likely`` in place."""
    n = len(parent)
    found = Ranges(*(np.zeros(n, np.bool_) for _ in range(3)))
    loose = np.zeros(n, np.uint8)
    data = (frames["protocol"] == TCP) & (frames["payload_len"] > 0) & (frames["l4_offset"] > 0)
    data &= (frames["marks"] & MARK_FRAGMENT) == 0
    ends, starts = _find_loose(
        data, parent, hop, stage, frames["vantage"], layout.kind, layout.peer, loose
    )
    if not (ends and starts):
        return found
    rows = np.flatnonzero(loose).astype(np.int32)
    rows = rows[np.argsort(frames["ts_ns"][rows], kind="stable")]
    names = ("src_hi", "src_lo", "dst_hi", "dst_lo", "src_port", "dst_port", "tcp_ack")
    keys = mixed(layout.segment[frames["vantage"][rows]], *(frames[name][rows] for name in names))
    order, start, _ = group_rows(keys)
    _link(
        rows[order],
        start,
        loose,
        frames["tcp_seq"],
        frames["payload_len"],
        frames["ts_ns"],
        layout.ring.take(frames["vantage"]),
        frames["vantage"],
        stage,
        (layout.kind, layout.peer, layout.queued),
        parent,
        hop,
        likely,
        (found.piece, found.short, found.absorbed),
    )
    return found


_END, _START = 1, 2
"""bits: nothing came from the frame, though more was to come; it came from nothing"""


@allocating
def _find_loose(
    data: Any, parent: Any, hop: Any, stage: Any, vantage: Any, kind: Any, peer: Any, loose: Any
) -> Any:
    """Fill ``loose`` [n] with _END and _START of TCP frames with data; how many of each."""
    n = len(parent)
    inner = np.zeros(n, np.bool_)
    for i in range(n):
        if parent[i] >= 0 and hop[i] != _COPY:
            inner[parent[i]] = True
    ends, starts = 0, 0
    for i in range(n):
        v, s = vantage[i], stage[i]
        if not data[i] or s == FREE:
            continue
        if not inner[i] and hop[i] != _COPY and (s < 2 or (s == 2 and peer[v] >= 0)):
            loose[i] |= _END
            ends += 1
        if parent[i] < 0 and ((s == 1 and peer[v] >= 0) or (s >= 2 and kind[v] != BRIDGE)):
            loose[i] |= _START
            starts += 1
    return ends, starts


@allocating
def _inside(seq: Any, length: Any, outer_seq: Any, outer_length: Any) -> Any:
    """Whether a range of sequence numbers lies in another, modulo 2³²."""
    offset = (np.int64(seq) - np.int64(outer_seq)) & 0xFFFFFFFF
    return offset + np.int64(length) <= np.int64(outer_length)


@allocating
def _link(
    rows: Any,
    start: Any,
    loose: Any,
    seq: Any,
    size: Any,
    ts: Any,
    ring_of: Any,
    vantage: Any,
    stage: Any,
    layout: Any,
    parent: Any,
    hop: Any,
    likely: Any,
    found: Any,
) -> None:
    """Go through each connection in order; rows: by connection, which begin at ``start``."""
    kind, peer, queued = layout
    piece, short, absorbed = found
    under_way = np.empty(_MOST_OPEN, np.int32)
    left = np.empty(_MOST_OPEN, np.int64)
    for g in range(len(start) - 1):
        count = 0
        for c in rows[start[g] : start[g + 1]]:
            v = vantage[c]
            window = QUEUE_NS if queued[v] else LONGEST_NS
            best, several, merged = -1, False, -1
            for k in range(count - 1, -1, -1):
                p = under_way[k]
                if not loose[c] & _START or not fits(v, stage[c], vantage[p], stage[p], peer):
                    continue
                if not precedes(p, c, ts, ring_of) or ts[c] - ts[p] > window:
                    continue
                if size[p] > size[c] and _inside(seq[c], size[c], seq[p], size[p]):
                    several = several or best >= 0
                    best = k if best < 0 else best
                elif size[p] < size[c] and _inside(seq[p], size[p], seq[c], size[c]):
                    absorbed[p] = True
                    if seq[p] == seq[c]:
                        merged = k
            chosen = best if best >= 0 else merged
            if chosen >= 0:
                p = under_way[chosen]
                parent[c], likely[c] = p, several
                hop[c] = edge_kind(
                    stage[p], stage[c], kind[v], kind[vantage[p]], False, peer[v] == vantage[p]
                )
                piece[c], absorbed[p] = best >= 0, False
                left[chosen] -= size[c]
                short[p] = left[chosen] > 0
                if left[chosen] <= 0:
                    for k in range(chosen, count - 1):
                        under_way[k], left[k] = under_way[k + 1], left[k + 1]
                    count -= 1
            if loose[c] & _END:
                if count == _MOST_OPEN:
                    for k in range(count - 1):
                        under_way[k], left[k] = under_way[k + 1], left[k + 1]
                    count -= 1
                under_way[count], left[count] = c, size[c]
                count += 1
