"""Checksums: what offload leaves unfinished is explained once, what is corrupt is told."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.decode.checksums import UNFINISHED, WRONG, checksum_states
from analyzer.flows.frame_notes import FrameNotes, FrameReader, FrameReaders
from analyzer.model.batch import Batch, Columns, Outlook
from analyzer.model.frames import FrameChunk
from analyzer.model.report import Finding

_GROUP = ["protocol", "source", "destination", "port", "vantage"]
MOST = 10_000
_NAMED = 3


@dataclass(slots=True)
class Checksums:
    """FrameNotes per frame while a chunk is read; counted per packet."""

    noted: FrameNotes
    """of frames with a wrong one"""
    unfinished: dict[int, int] = field(default_factory=dict)
    """vantage → frames"""
    _table: pl.DataFrame | None = None

    @classmethod
    def reading(cls, readers: FrameReaders) -> Checksums:
        """Of the frames that the readers see."""
        unfinished: dict[int, int] = {}

        def read(chunk: FrameChunk, frames: Columns) -> pl.DataFrame:
            states = checksum_states(chunk, frames)
            count_unfinished(unfinished, frames["vantage"], states == UNFINISHED)
            return pl.DataFrame({"row": np.flatnonzero(states == WRONG).astype(np.uint32)})

        return cls(readers.notes(FrameReader("checksums", read)), unfinished)

    def add(self, batch: Batch) -> None:
        """Count the corrupt packets of one batch, by where they arrived."""
        found = self.noted.take(batch, "last_frame")
        if found is None:
            return
        last = found["last_frame"].to_numpy()
        new = found.select(
            pl.col("protocol", "source", "destination").cast(pl.String),
            pl.Series("port", batch.frames["dst_port"][last]),
            pl.col("first_vantage").alias("vantage"),
            pl.lit(1, pl.Int64).alias("count"),
        )
        both = [new] if self._table is None else [self._table, new]
        groups = pl.concat(both).group_by(_GROUP, maintain_order=True)
        self._table = groups.agg(pl.col("count").sum()).head(MOST)

    def findings(self, outlook: Outlook) -> list[Finding]:
        """The corrupt ones, then a word on the unfinished."""
        rows = self._table.iter_rows(named=True) if self._table is not None else ()
        return [
            *(_corrupt(row, outlook.vantages[row["vantage"]].name) for row in rows),
            *self._offload(outlook),
        ]

    def _offload(self, outlook: Outlook) -> list[Finding]:
        if not self.unfinished:
            return []
        frames = sum(self.unfinished.values())
        most = sorted(self.unfinished, key=lambda at: (-self.unfinished[at], at))
        names = ", ".join(outlook.vantages[at].name for at in most[:_NAMED])
        more = ", …" if len(most) > _NAMED else ""
        return [
            Finding(
                "info",
                "checksum-offload",
                f"{frames} frames have TCP or UDP checksums that are unfinished ({names}{more}): "
                "a veth has no device that would finish them, and the receiver knows. No error, "
                "though tcpdump -v and Wireshark may say so: tcpdump -K, "
                "tshark -o tcp.check_checksum:FALSE",
            )
        ]


def _corrupt(row: dict[str, object], seen: str) -> Finding:
    protocol = str(row["protocol"]).upper()
    return Finding(
        "error",
        "bad-checksum",
        f"{row['count']} {protocol} packets {row['source']} → {row['destination']} port "
        f"{row['port']} have a wrong checksum, not an unfinished one (first seen at {seen}): the "
        f"receiver drops them, see nstat -az '*Csum*' inside {row['destination']}; "
        "ethtool -K DEVICE tx off at the sender if its device finishes them wrongly",
    )


def count_unfinished(
    unfinished: dict[int, int], vantage: npt.NDArray[np.int32], there: npt.NDArray[np.bool_]
) -> None:
    """Add the frames of a chunk. there: [n] whether each is unfinished."""
    if there.any():
        counts = np.bincount(vantage[there])
        for at in np.flatnonzero(counts).tolist():
            unfinished[at] = unfinished.get(at, 0) + int(counts[at])
