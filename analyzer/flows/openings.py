"""Of each conversation, the packet that tells best who opened it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.growing import Kept

_OPENED = {
    **dict.fromkeys(("protocol", "source", "destination"), pl.String),
    **{f"{side}_{part}": pl.UInt64 for side in ("src", "dst") for part in ("hi", "lo")},
    **dict.fromkeys(("src_port", "dst_port"), pl.UInt16),
    **dict.fromkeys(("rank", "forward"), pl.Int64),
}
"""of the packet that tells best who opened"""


class Openings:
    """Those of conversations 0, 1, 2 …"""

    def __init__(self) -> None:
        self.table = pl.DataFrame(schema=_OPENED)
        """[conversations] of that packet"""

    def add(
        self,
        rows: pl.DataFrame,
        forward: npt.NDArray[np.int64],
        opening: npt.NDArray[np.int64],
    ) -> None:
        """Take the packets that tell it better than those before.

        rows: packets; forward: [n] see `CountedPackets`. opening: [conversations] the row of that
        packet; -1: none tells it better.
        """
        conversations = np.flatnonzero(opening >= 0)
        if not len(conversations):
            return
        before = len(self.table)
        sides = pl.Series("forward", forward[opening[conversations]])
        first = rows[opening[conversations]].with_columns(sides)
        cast = (pl.col(name).cast(kind) for name, kind in _OPENED.items())
        place = np.arange(len(opening))
        place[conversations] = before + np.arange(len(conversations))
        self.table = pl.concat([self.table, first.select(cast)])[place]

    def keep(self, kept: Kept) -> None:
        """Only these conversations go on."""
        self.table = self.table[kept.conversations]
