"""Segments that are copies of one that was just seen, by the network and not by the sender.

A sender gives each segment an IP identification of its own, a repeated one as well. So one that is
the same in that, too, is a copy: of a mirror, a loop, a bridge that delivers twice, or of a capture
that took both sides of one interface. It is no retransmission. An identification of 0 tells nothing
(RFC 6864), and senders that never change theirs repeat a segment no sooner than `_SOON_NS`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.growing import Kept, widened
from analyzer.model.bundles import bundle
from analyzer.native.compiled import compiled
from analyzer.native.keys import mix

_KEPT, _SOON_NS = 8, 100_000_000
"""segments of a flow that are remembered; a copy comes this soon"""


class _Segments(NamedTuple):
    """[segments] of each, in order of time."""

    flow: npt.NDArray[np.int64]
    ts_ns: npt.NDArray[np.int64]
    seq: npt.NDArray[np.uint32]
    ack: npt.NDArray[np.uint32]
    length: npt.NDArray[np.uint32]
    flags: npt.NDArray[np.uint8]
    window: npt.NDArray[np.uint16]
    ip_id: npt.NDArray[np.uint16]


class Copies:
    """Those of all flows: numbers are given from outside."""

    def __init__(self) -> None:
        self._seen = np.zeros((2 * _KEPT + 1, 0), np.int64)
        self._counts = np.zeros((1, 0), np.int64)

    def leave_out(self, segments: pl.DataFrame, flows: int) -> pl.DataFrame:
        """The segments, in order of time, but for copies, which are counted. There are so many
        flows."""
        self._seen, self._counts = widened(self._seen, flows), widened(self._counts, flows)
        copies = np.zeros(len(segments), np.bool_)
        if len(segments) and _find(bundle(_Segments, segments), self._seen, copies):
            np.add.at(self._counts[0], segments["flow"].to_numpy()[copies], 1)
            return segments.filter(~pl.Series(copies))
        return segments

    def keep(self, kept: Kept) -> None:
        """Only these flows."""
        self._seen, self._counts = self._seen[:, kept.flows], self._counts[:, kept.flows]

    def table(self) -> pl.DataFrame:
        """[conversations] copies_0, copies_1: by direction."""
        return pl.DataFrame({f"copies_{side}": self._counts[0, side::2] for side in (0, 1)})


@compiled
def _find(segments: _Segments, seen: Any, copies: Any) -> Any:
    """Set ``copies``; how many. seen: [.., flows] keys, times, and where the next one goes."""
    count = 0
    for row in range(len(segments.flow)):
        if segments.ip_id[row] == 0:
            continue
        flow, ts = segments.flow[row], segments.ts_ns[row]
        place = np.uint64(segments.seq[row]) << np.uint64(32) | np.uint64(segments.ack[row])
        kind = np.uint64(segments.length[row]) << np.uint64(24)
        kind |= np.uint64(segments.window[row]) << np.uint64(8) | np.uint64(segments.flags[row])
        key = np.int64(mix(mix(place, kind), np.uint64(segments.ip_id[row])))
        for at in range(_KEPT):
            if seen[at, flow] == key and ts - seen[_KEPT + at, flow] < _SOON_NS:
                copies[row] = True
        if copies[row]:
            count += 1
            continue
        at = seen[2 * _KEPT, flow]
        seen[at, flow], seen[_KEPT + at, flow] = key, ts
        seen[2 * _KEPT, flow] = (at + 1) % _KEPT
    return count
