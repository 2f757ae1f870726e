"""Which conversations have a row of their own, and what became of the others.

Whoever sends frames can make a conversation of each. So no more than `MOST` are followed at a time.
Where there are more, those that were active last stay, and the others are counted together, by
service: the protocol and the port of the side that was asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.fragments import DUPLICATE, OTHER
from analyzer.flows.growing import Kept
from analyzer.model.journeys import Status
from analyzer.native.keys import KeyNumbers

MOST = 50_000
"""conversations that are followed at a time, with about 2 kB each"""
_SERVICE = ["protocol", "port"]
_SUMS = ("conversations", "packets", "bytes", "lost")
_PORT = pl.when(pl.col("rank") == 1).then("src_port").otherwise("dst_port").alias("port")


class LiveConversations:
    """Numbers 0, 1, 2 … for the conversations that are followed."""

    def __init__(self) -> None:
        self._numbers = KeyNumbers()
        self._active = np.zeros(0, np.int64)
        """by conversation, the number of its latest packet"""
        self.serial = np.zeros(0, np.int64)
        """by conversation, what it is known by for ever: these rise"""
        self._serials = 0
        self._others: pl.DataFrame | None = None

    @property
    def count(self) -> int:
        return self._numbers.count

    def admit(
        self, rows: pl.DataFrame, keys: npt.NDArray[np.uint64], keep: Callable[[Kept], None]
    ) -> npt.NDArray[np.bool_] | None:
        """[n] packets of conversations that are followed; None: all of them.

        keep: is told which go on, where some have to end for others.
        """
        if self.count + len(keys) <= MOST:
            return None
        number = self._numbers.find(keys)
        new = np.flatnonzero(number < 0)
        which, inverse, packets = np.unique(keys[new], return_inverse=True, return_counts=True)
        if self.count + len(which) <= MOST:
            return None
        known = number >= 0
        self._active[number[known]] = rows["number"].to_numpy()[known]
        if self.count > MOST // 2:
            order = np.argsort(self._active, kind="stable")[-(MOST // 2) :]
            self._keep(np.sort(order), keep)
        last = np.zeros(len(which), np.int64)
        last[inverse] = new
        chosen = np.zeros(len(which), np.bool_)
        chosen[np.lexsort((last, packets > 1))[-(MOST - self.count) :]] = True
        admitted = np.ones(len(keys), np.bool_)
        admitted[new] = chosen[inverse]
        return admitted

    def take(self, rows: pl.DataFrame, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
        """[n] the number of each packet's conversation."""
        numbers, _ = self._numbers.take(keys)
        new = self.count - len(self.serial)
        self.serial = np.concatenate([self.serial, self._serials + np.arange(new)])
        self._serials += new
        self._active = np.concatenate([self._active, np.zeros(new, np.int64)])
        self._active[numbers] = rows["number"].to_numpy()
        return numbers

    def _keep(self, conversations: npt.NDArray[np.int64], keep: Callable[[Kept], None]) -> None:
        keep(Kept.of(conversations, self.count))
        self._numbers.keep(conversations)
        self._active, self.serial = self._active[conversations], self.serial[conversations]

    def number_of(self, flow: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """[n] 2 · number + direction, of 2 · serial + direction; -1: it is gone."""
        if not len(self.serial):
            return np.full(len(flow), -1, np.int64)
        place = np.minimum(np.searchsorted(self.serial, flow >> 1), len(self.serial) - 1)
        return np.where(self.serial[place] == flow >> 1, 2 * place + (flow & 1), -1)

    def leave_out(self, rows: pl.DataFrame, keys: npt.NDArray[np.uint64]) -> None:
        """Count packets of conversations that are not followed."""
        one = rows.with_columns(pl.Series("key", keys)).group_by("key", maintain_order=True)
        counted = ~pl.col("piece").is_in([OTHER, DUPLICATE])
        self.count_others(
            one.agg(
                pl.col("protocol").first().cast(pl.String),
                _PORT.first(),
                counted.sum().alias("packets"),
                pl.col("payload_len").sum().alias("bytes"),
                (counted & (pl.col("status") == Status.LOST)).sum().alias("lost"),
            )
        )

    def count_others(self, talks: pl.DataFrame) -> None:
        """Count conversations together: protocol, port; packets, bytes and lost of each."""
        sums = (pl.col(name).cast(pl.Int64).sum() for name in _SUMS)
        rows = talks.select(*_SERVICE, pl.lit(1).alias("conversations"), *_SUMS[1:]).with_columns(
            pl.col(*_SUMS).cast(pl.Int64), pl.col("port").cast(pl.Int64)
        )
        both = rows if self._others is None else pl.concat([self._others, rows])
        self._others = both.group_by(_SERVICE, maintain_order=True).agg(sums)

    def others(self) -> pl.DataFrame:
        """protocol, port, conversations (at the most: one that came back is counted again),
        packets, bytes, lost; the largest first."""
        if self._others is None:
            whole: Any = dict.fromkeys((*_SERVICE, *_SUMS), pl.Int64)
            return pl.DataFrame(schema=whole | {"protocol": pl.String})
        return self._others.sort("packets", descending=True, maintain_order=True)
