"""Datagrams of which only some fragments came as far as the first one.

The first fragment stands for its datagram. Where it went, all the others have to go as well: a
stack that misses one gives nothing to the process (RFC 791). So the bytes that were seen of a
datagram where its first fragment was seen first are compared with those seen where it was seen
last. Where both saw the same, no matter how much of it a filter let through, nothing is missing;
and a router may cut it anew.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.model.batch import Batch, Columns
from analyzer.model.frames import MARK_FRAGMENT, MARK_MORE_FRAGMENTS
from analyzer.model.journeys import Status
from analyzer.native.keys import mixed

_MARKS = MARK_FRAGMENT | MARK_MORE_FRAGMENTS
_DATAGRAM = ("src_hi", "src_lo", "dst_hi", "dst_lo", "protocol", "ip_id", "vantage")
_HEADER_BYTES = {4: 20, 6: 48}
"""of a fragment: what stands in front of its part of the datagram"""
_TOGETHER_NS = 5_000_000_000
"""fragments of one datagram are seen within this time: a queue holds none for longer"""
_MOST = 1 << 20
"""fragments and first ones that are kept"""


class DatagramParts:
    """Counts them, batch by batch."""

    def __init__(self) -> None:
        self._seen: list[pl.DataFrame] = []
        self._heads: list[pl.DataFrame] = []
        self._short: list[npt.NDArray[np.int32]] = []
        self._due = _MOST // 2
        """fragments at which they are settled next"""

    def add(self, batch: Batch, fates: npt.NDArray[np.int32]) -> None:
        """Take in one batch. fates: [packets] what the count is kept for; -1: it is not."""
        frames, packet = batch.frames, batch.journeys.packet
        rows = np.flatnonzero(((frames["marks"] & _MARKS) != 0) & (packet >= 0))
        if len(rows):
            self._seen.append(_fragments(frames, rows))
            self._heads.append(_heads(batch, fates))
        if sum(map(len, self._seen)) > self._due:
            self._settle(batch.settled_ns - _TOGETHER_NS)
            self._due = max(_MOST // 2, len(self._seen[0]) * 3 // 2)

    def renumber(self, new: npt.NDArray[np.int64]) -> None:
        """Give fates their new numbers; of those that are gone (-1) nothing is counted."""
        short = new[np.concatenate([_NOTHING, *self._short])]
        self._short = [short[short >= 0].astype(np.int32)]
        self._heads = [
            heads.with_columns(pl.Series("fate", new[heads["fate"].to_numpy()], pl.Int32)).filter(
                pl.col("fate") >= 0
            )
            for heads in self._heads
        ]

    def short(self, fates: int, until_ns: int) -> npt.NDArray[np.int64]:
        """[fates] how many datagrams came in part only. until_ns: later ones may still have been
        under way."""
        if self._heads:
            self._settle(until_ns)
        return np.bincount(np.concatenate([_NOTHING, *self._short]), minlength=fates)

    def _settle(self, until_ns: int) -> None:
        """Judge the datagrams that began before, and forget their fragments."""
        seen, heads = pl.concat(self._seen), pl.concat(self._heads)
        self._heads = [heads.filter(pl.col("ts_ns") >= until_ns).tail(_MOST)]
        self._seen = [seen.filter(pl.col("ts_ns") >= until_ns).tail(_MOST)]
        if heads.is_empty():
            return
        bytes_at = seen.unique(["place", "offset"]).group_by("place").agg(pl.col("bytes").sum())
        judged = heads.filter(pl.col("ts_ns") < until_ns)
        for end in ("first", "last"):
            told = bytes_at.rename({"place": end, "bytes": f"{end}_bytes"})
            judged = judged.join(told, on=end, how="left", maintain_order="left")
        short = judged.filter(pl.col("last_bytes") < pl.col("first_bytes"))
        self._short.append(short["fate"].to_numpy())


_NOTHING = np.empty(0, np.int32)


def _fragments(frames: Columns, rows: npt.NDArray[Any]) -> pl.DataFrame:
    """Of each fragment: place (datagram and vantage), offset, bytes of the datagram, ts_ns."""
    header = np.where(frames["ip_version"][rows] == 4, *_HEADER_BYTES.values())
    return pl.DataFrame(
        {
            "place": _places(frames, rows),
            "offset": frames["fragment_offset"][rows],
            "bytes": frames["ip_len"][rows].astype(np.int64) - header,
            "ts_ns": frames["ts_ns"][rows],
        }
    )


def _heads(batch: Batch, fates: npt.NDArray[np.int32]) -> pl.DataFrame:
    """Of each datagram whose first fragment came from one place to its end at another: fate, ts_ns,
    first and last place."""
    frames, packets = batch.frames, batch.packets
    first, last = (packets[f"{end}_frame"].to_numpy().astype(np.intp) for end in ("first", "last"))
    leads = (frames["marks"][first] & frames["marks"][last] & _MARKS) == MARK_MORE_FRAGMENTS
    leads &= (packets["status"] == Status.DELIVERED).to_numpy() & (fates >= 0) & (first != last)
    return pl.DataFrame(
        {
            "fate": fates[leads],
            "ts_ns": frames["ts_ns"][first[leads]],
            "first": _places(frames, first[leads]),
            "last": _places(frames, last[leads]),
        }
    )


def _places(frames: Columns, rows: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    return mixed(*(frames[name][rows] for name in _DATAGRAM))
