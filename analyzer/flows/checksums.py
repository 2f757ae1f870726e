"""Checksums: what offload leaves unfinished is explained once, what is corrupt is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec import Struct, field

from analyzer.decode.checksums import RIGHT, UNFINISHED, WRONG, checksum_states
from analyzer.flows.acknowledged import Acknowledged
from analyzer.flows.frame_notes import FrameNotes, FrameReader, FrameReaders
from analyzer.model.batch import Batch, Columns
from analyzer.model.frames import FrameChunk

_GROUP = ["protocol", "source", "destination", "port", "vantage"]
MOST = 10_000


class Checksums(Struct):
    """FrameNotes per frame while a chunk is read; counted per packet."""

    noted: FrameNotes
    """of frames with a wrong one"""
    unfinished: dict[int, int] = field(default_factory=dict)
    """vantage → frames"""
    checked: list[int] = field(default_factory=lambda: [0, 0])
    """[frames whose checksum was computed, those of them with a wrong one], which the reader
    counts up"""
    _table: pl.DataFrame | None = None
    _acknowledged: Acknowledged = field(default_factory=lambda: Acknowledged(_GROUP))

    @classmethod
    def reading(cls, readers: FrameReaders) -> Checksums:
        """Of the frames that the readers see."""
        unfinished: dict[int, int] = {}
        checked = [0, 0]

        def read(chunk: FrameChunk, frames: Columns) -> pl.DataFrame:
            states = checksum_states(chunk, frames)
            count_unfinished(unfinished, frames["vantage"], states == UNFINISHED)
            checked[0] += int(np.count_nonzero((states == RIGHT) | (states == WRONG)))
            checked[1] += int(np.count_nonzero(states == WRONG))
            return pl.DataFrame({"row": np.flatnonzero(states == WRONG).astype(np.uint32)})

        return cls(readers.notes(FrameReader("checksums", read)), unfinished, checked)

    def add(self, batch: Batch) -> None:
        """Count the corrupt packets of one batch, by where they arrived."""
        noted = self.noted.take_frames(batch)
        if noted is not None:
            self._count(batch, batch.packets.filter(pl.Series(_corrupt(batch, noted))))
        self._acknowledged.hear(batch)

    def _count(self, batch: Batch, packets: pl.DataFrame) -> None:
        last = packets["last_frame"].to_numpy()
        new = packets.select(
            pl.col("protocol", "source", "destination").cast(pl.String),
            pl.Series("port", batch.frames["dst_port"][last]),
            pl.col("first_vantage").alias("vantage"),
            pl.lit(1, pl.Int64).alias("count"),
        )
        self._acknowledged.expect(batch, last, new)
        both = [new] if self._table is None else [self._table, new]
        groups = pl.concat(both).group_by(_GROUP, maintain_order=True)
        self._table = groups.agg(pl.col("count").sum()).head(MOST)

    def rows(self) -> list[dict[str, Any]]:
        """protocol, source, destination, port, vantage (where first seen), count; acknowledged:
        whether all of their data was acknowledged afterwards, None where that cannot be told."""
        if self._table is None:
            return []
        acknowledged = self._acknowledged.groups()
        return [
            row | {"acknowledged": acknowledged.get(tuple(row[name] for name in _GROUP))}
            for row in self._table.to_dicts()
        ]


def _corrupt(batch: Batch, noted: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """[packets] whether the frame that arrived is among the noted; where that one was cut, so that
    nothing can be said of it, the first one."""
    frames, packets = batch.frames, batch.packets
    wrong = np.zeros(len(frames["number"]), np.bool_)
    wrong[noted["frame"].to_numpy()] = True
    first, last = (packets[f"{end}_frame"].to_numpy() for end in ("first", "last"))
    cut = frames["caplen"][last] < frames["wirelen"][last]
    corrupt: npt.NDArray[np.bool_] = wrong[last] | (cut & wrong[first])
    corrupt &= ~packets["stray"].to_numpy()
    return corrupt


def count_unfinished(
    unfinished: dict[int, int], vantage: npt.NDArray[np.int32], there: npt.NDArray[np.bool_]
) -> None:
    """Add the frames of a chunk. there: [n] whether each is unfinished."""
    if there.any():
        counts = np.bincount(vantage[there])
        for at in np.flatnonzero(counts).tolist():
            unfinished[at] = unfinished.get(at, 0) + int(counts[at])
