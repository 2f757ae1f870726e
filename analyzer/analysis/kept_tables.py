"""A sink that keeps everything: all frames, packets and journeys of a capture as tables.

Memory grows with the capture, as `analyzer.read` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from analyzer.analysis.frame_room import empty_frames
from analyzer.analysis.frames_table import table_of
from analyzer.analysis.tables import journey_table, packet_table
from analyzer.model.batch import Batch, Columns
from analyzer.model.frames import FrameChunk
from analyzer.model.vantage import Vantage


@dataclass(slots=True)
class KeptTables:
    """The tables, piece by piece; they are the same wherever a piece ends."""

    vantages: Sequence[Vantage]
    """`Reading.vantages`: grows while the files are read"""
    _frames: list[pl.DataFrame] = field(default_factory=list)
    _packets: list[pl.DataFrame] = field(default_factory=list)
    _journeys: list[pl.DataFrame] = field(default_factory=list)

    def peek(self, chunk: FrameChunk, frames: Columns) -> None:
        """Keep the frames of a chunk, in file order, whether the file is damaged later or not."""
        own = {name: column.copy() for name, column in frames.items()}  # polars does not copy
        self._frames.append(table_of(own, [vantage.name for vantage in self.vantages]))

    def add(self, batch: Batch) -> None:
        """Keep the packets that are closed, and their journeys."""
        names = [vantage.name for vantage in batch.vantages]
        self._packets.append(packet_table(batch, names))
        self._journeys.append(journey_table(batch, names))

    def frames(self) -> pl.DataFrame:
        """A row a frame, with its number in the file."""
        nothing = table_of(empty_frames(), [])
        return pl.concat([nothing, *self._frames]).with_row_index("frame", 1)

    def frames_with_packets(self) -> pl.DataFrame:
        """The same, when all packets are closed, and the number of each frame's packet."""
        frames, journeys = self.frames(), self.journeys()
        packet = np.zeros(len(frames), np.int64)
        packet[journeys["frame"].to_numpy() - 1] = journeys["packet"].to_numpy()
        return frames.with_columns(pl.Series("packet", packet))

    def packets(self) -> pl.DataFrame:
        """A row a packet, by number."""
        return pl.concat(self._packets).sort("packet", maintain_order=True)

    def journeys(self) -> pl.DataFrame:
        """A row a frame of each packet, by the packet's number."""
        return pl.concat(self._journeys).sort("packet", maintain_order=True)
