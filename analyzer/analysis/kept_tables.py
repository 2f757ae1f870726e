"""A sink that keeps everything: all frames, packets and journeys of a capture as tables.

Memory grows with the capture, as `analyzer.read` says.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from msgspec import Struct, field

from analyzer.analysis.frame_room import empty_frames
from analyzer.analysis.frames_table import table_of
from analyzer.analysis.tables import journey_table, packet_table, without_untimed
from analyzer.model.batch import Batch, Columns
from analyzer.model.frames import FrameChunk
from analyzer.model.vantage import Vantage


class KeptTables(Struct):
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
        self._packets.append(without_untimed(packet_table(batch, names)))
        self._journeys.append(journey_table(batch, names))

    def frames(self) -> pl.DataFrame:
        """A row a frame, with its number in the file."""
        nothing = table_of(empty_frames(), [])
        return pl.concat([nothing, *self._frames]).with_row_index("frame", 1)

    def take(self) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """The frames, each with its packet's number; the packets and the journeys, by number.

        When all packets are closed. The pieces are given up, so that they do not take memory twice.
        """
        packets, journeys = _by_packet(self._packets), _by_packet(self._journeys)
        frames = self.frames()
        self._frames.clear()
        packet = np.zeros(len(frames), np.int64)
        packet[journeys["frame"].to_numpy() - 1] = journeys["packet"].to_numpy()
        return frames.with_columns(pl.Series("packet", packet)), packets, journeys


def _by_packet(pieces: list[pl.DataFrame]) -> pl.DataFrame:
    """One table of the pieces, which are given up; those of one packet are in one piece."""
    table = pl.concat(pieces)
    pieces.clear()
    if table["packet"].is_sorted():
        return table
    return table.sort("packet", maintain_order=True)
