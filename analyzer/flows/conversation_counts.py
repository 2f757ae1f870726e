"""What is counted of each conversation and direction: packets, bytes, losses, one-way times."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.fragments import DUPLICATE, OTHER, WHOLE
from analyzer.flows.growing import Kept
from analyzer.flows.histograms import Histograms
from analyzer.native.compiled import compiled

_NEVER = (1 << 63) - 1
_SIDED, _LOW, _FRAGMENTS, _DUPLICATES = 9, 5, 7, 8
"""rows of the counts for each direction: packets, bytes, lost; one-way times: their number, sum,
least and greatest; fragments, and those that were seen again"""
_START, _OPENING = 2 * _SIDED, 2 * _SIDED + 1
"""first number, and rank of the packet that opened"""
_ROWS = 2 * _SIDED + 2


class CountedPackets(NamedTuple):
    """Packets with ports; [packets] of each."""

    conversation: npt.NDArray[np.int32]
    forward: npt.NDArray[np.int64]
    """1: from the conversation's lower end to its higher; else 0"""
    lost: npt.NDArray[np.bool_]
    one_way_ns: npt.NDArray[np.int64]
    """first vantage to last; negative: not known"""
    payload_len: npt.NDArray[np.uint32]
    """bytes"""
    rank: npt.NDArray[np.int64]
    """0: a SYN, 1: a SYN-ACK, 2: neither; the lower, the better it tells who opened"""
    number: npt.NDArray[np.int64]
    """of the first frame in the capture"""
    piece: npt.NDArray[np.uint8]
    """see `analyzer.flows.fragments`"""


class ConversationCounts:
    """The counts of conversations 0, 1, 2 …"""

    def __init__(self) -> None:
        self._counts = _nothing(0)
        self._times = Histograms()

    def add(self, packets: CountedPackets, conversations: int) -> npt.NDArray[np.int64]:
        """Count packets; there are so many conversations by now.

        [conversations] row of the packet that tells best who opened, where one tells better than
        those before; else -1.
        """
        new = conversations - self._counts.shape[1]
        self._counts = np.concatenate([self._counts, _nothing(new)], axis=1)
        flow = packets.conversation.astype(np.int64) * 2 + packets.forward
        self._times.add(flow, packets.one_way_ns)
        opening = np.full(conversations, -1, np.int64)
        _tally(packets, self._counts, opening)
        return opening

    def totals(self) -> pl.DataFrame:
        """[conversations] packets, bytes and lost of both directions together."""
        counts = self._counts
        return pl.DataFrame(
            {
                name: counts[row] + counts[_SIDED + row]
                for row, name in enumerate(("packets", "bytes", "lost"))
            }
        )

    def keep(self, kept: Kept) -> None:
        """Only these conversations."""
        self._counts = self._counts[:, kept.conversations]
        self._times = self._times.regrouped(kept.new_flow)

    def table(self) -> pl.DataFrame:
        """[conversations] start, and by direction packets, bytes, lost and the one-way times."""
        counts = self._counts
        columns: dict[str, Any] = {"start": counts[_START]}
        for side, half in enumerate((counts[:_SIDED], counts[_SIDED : 2 * _SIDED])):
            packets, size, lost, timed, total, low, high, fragments, duplicates = half
            columns |= {f"fragments_{side}": fragments, f"duplicates_{side}": duplicates}
            none = pl.Series(timed == 0)
            columns |= {f"packets_{side}": packets, f"bytes_{side}": size, f"lost_{side}": lost}
            times = {"min_ns": low, "mean_ns": total // np.maximum(timed, 1), "max_ns": high}
            columns |= {f"{n}_{side}": pl.Series(v).set(none, None) for n, v in times.items()}
        for share in (50, 99):
            times_ns = self._times.quantiles(2 * counts.shape[1], share / 100)
            columns |= {f"p{share}_ns_{side}": times_ns.gather_every(2, side) for side in (0, 1)}
        middles = (
            pl.col(name).clip(f"min_ns_{name[-1]}", f"max_ns_{name[-1]}")
            for name in columns
            if name.startswith(("p50", "p99"))
        )
        return pl.DataFrame(columns).with_columns(middles)


@compiled
def _tally(packets: CountedPackets, counts: Any, opening: Any) -> None:
    """Into the counts, of the packet's direction.

    opening: [conversations] row of the packet that tells best who opened, where it tells better
    than before.
    """
    for row in range(len(packets.conversation)):
        n, side = packets.conversation[row], _SIDED * packets.forward[row]
        piece = packets.piece[row]
        if piece == DUPLICATE:
            counts[side + _DUPLICATES, n] += 1
            continue
        counts[side, n] += piece != OTHER
        counts[side + _FRAGMENTS, n] += piece != WHOLE
        counts[side + 1, n] += packets.payload_len[row]
        counts[side + 2, n] += packets.lost[row]
        time = packets.one_way_ns[row]
        if time >= 0:
            counts[side + 3, n] += 1
            counts[side + 4, n] += time
            counts[side + _LOW, n] = min(counts[side + _LOW, n], time)
            counts[side + 6, n] = max(counts[side + 6, n], time)
        counts[_START, n] = min(counts[_START, n], packets.number[row])
        better = np.int64(packets.rank[row]) << 60 | packets.number[row]
        if better < counts[_OPENING, n]:
            counts[_OPENING, n] = better
            opening[n] = row


def _nothing(conversations: int) -> npt.NDArray[np.int64]:
    """The counts of conversations of which nothing was seen yet."""
    counts = np.zeros((_ROWS, conversations), np.int64)
    counts[[_LOW, _SIDED + _LOW, _START, _OPENING]] = _NEVER
    return counts
