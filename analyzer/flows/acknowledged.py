"""Whether TCP data with a wrong checksum was acknowledged all the same.

A receiver drops a segment whose checksum is wrong. If what it held is acknowledged afterwards, the
checksum was right where it was received: the capture was rewritten, or a device computes it later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.model.batch import Batch
from analyzer.native.keys import mixed
from analyzer.net.ip import TCP
from analyzer.net.tcp_flags import ACK

_ENDS = ("src_hi", "src_lo", "src_port"), ("dst_hi", "dst_lo", "dst_port")
_HALF = 1 << 31
"""sequence numbers that are less than this ahead are behind"""
_MOST = 10_000


class Acknowledged:
    """What is to be acknowledged in each conversation, and what was."""

    def __init__(self, group: Sequence[str]) -> None:
        """group: columns of those for whom `groups` tells."""
        self._group = list(group)
        self._awaited: pl.DataFrame | None = None
        """key, the group's columns, end: behind the latest data"""
        self._acks: dict[int, int] = {}

    def expect(self, batch: Batch, frames: npt.NDArray[np.intp], packets: pl.DataFrame) -> None:
        """Segments that are to be acknowledged. packets: [frames] with the group's columns."""
        columns = batch.frames
        length = columns["payload_len"][frames].astype(np.int64)
        data = (columns["protocol"][frames] == TCP) & (length > 0)
        end = (columns["tcp_seq"][frames].astype(np.int64) + length) & 0xFFFFFFFF
        rows = packets.select(
            pl.Series("key", self._keys(batch, frames)), *self._group, pl.Series("end", end)
        ).filter(pl.Series(data))
        both = rows if self._awaited is None else pl.concat([self._awaited, rows])
        self._awaited = both.unique("key", keep="last", maintain_order=True).head(_MOST)

    def hear(self, batch: Batch) -> None:
        """The acknowledgments of one batch."""
        if self._awaited is None or self._awaited.is_empty():
            return
        first = batch.packets["first_frame"].to_numpy().astype(np.intp)
        columns = batch.frames
        ours = (columns["protocol"][first] == TCP) & (columns["tcp_flags"][first] & ACK != 0)
        first = first[ours]
        acks = pl.DataFrame(
            {
                "key": self._keys(batch, first, back=True),
                "ack": columns["tcp_ack"][first],
                "ts_ns": columns["ts_ns"][first],
            }
        ).join(self._awaited.select("key"), on="key", how="semi")
        self._acks.update(acks.sort("ts_ns").select("key", "ack").iter_rows())

    def groups(self) -> dict[tuple[Any, ...], bool]:
        """Group → whether all that is awaited in it was acknowledged."""
        acknowledged: dict[tuple[Any, ...], bool] = {}
        for key, *group, end in () if self._awaited is None else self._awaited.iter_rows():
            ack = self._acks.get(key)
            there = ack is not None and (ack - end) & 0xFFFFFFFF < _HALF
            acknowledged[tuple(group)] = acknowledged.get(tuple(group), True) and there
        return acknowledged

    @staticmethod
    def _keys(
        batch: Batch, frames: npt.NDArray[np.intp], *, back: bool = False
    ) -> npt.NDArray[np.uint64]:
        one, other = reversed(_ENDS) if back else _ENDS
        return mixed(*(batch.frames[name][frames] for name in (*one, *other)))
