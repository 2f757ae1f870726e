"""``show``: single packets of a capture, with container names, filtered as Wireshark does.

Packets are handed on while the file is read, in order of time, so that a file may be of any length.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec import Struct, field
from msgspec.structs import replace

from analyzer.analysis.options import DEFAULTS
from analyzer.analysis.stream import stream_files
from analyzer.analysis.tables import journey_table, packet_table, without_untimed
from analyzer.app.dissect import dissected_frames, matching_frames
from analyzer.errors import SavefileError, UsageProblem
from analyzer.model.batch import Batch, InOrder
from analyzer.report.summary import summarise_frame

Put = Callable[[pl.DataFrame], None]
"""takes packets: the columns of `packet_table`, summary, and matched: its first frame that did"""


class Shown(Struct):
    """What was shown besides the packets."""

    frames: list[dict[str, Any]]
    """with ``journey``: the rows of `journey_table`"""
    error: SavefileError | None
    """where the file is damaged: its readable prefix was shown"""


def show_packets(
    path: str,
    put: Put,
    display_filter: str = "",
    *,
    journey: int | None = None,
    count: int | None = None,
) -> Shown:
    """Hand on the packets of which a frame matches; of all these the first ``count``.

    journey: only the packet of this number. Raises as `stream_files`, and UsageProblem where
    there is no such packet or the filter is none.
    """
    matching = matching_frames(path, display_filter) if display_filter else None
    shower = _Shower(put, matching, journey, count)
    assembly = stream_files([path], DEFAULTS, lambda *_: [shower])
    if journey is not None and not shower.found:
        raise UsageProblem(
            f"--journey {journey}: no packet of this number; "
            + (
                shower.hint
                or f"the file has {assembly.totals.frames} frames; show lists the packets"
            )
        )
    return Shown(shower.frames, next(iter(assembly.reading.errors), None))


class _Shower(Struct):
    """A sink that hands packets on."""

    put: Put
    matching: npt.NDArray[np.int64] | None
    journey: int | None
    count: int | None
    frames: list[dict[str, Any]] = field(default_factory=list)
    found: bool = False
    hint: str = ""
    _order: InOrder = field(default_factory=InOrder)
    _given: int = 0

    def add(self, batch: Batch) -> None:
        frame, packet = self._matched(batch)
        if self.journey is not None:
            number = batch.packets["number"].to_numpy()[packet] + 1
            self._look_for(frame, number)
            frame, packet = frame[number == self.journey], packet[number == self.journey]
        rows, first = np.unique(packet, return_index=True)
        table = self._table(batch, rows, frame[first])
        if self.journey is not None and len(rows):
            self.found = True
            self.frames = _journey(batch, rows, [v.name for v in batch.vantages])
        ready = self._order.release(table, batch.settled_ns)
        if self.count is not None:
            ready = ready.head(max(self.count - self._given, 0))
        self._given += len(ready)
        if len(ready):
            self.put(without_untimed(ready))

    def _matched(self, batch: Batch) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """(frame number, its packet) of the frames that match, by number."""
        of_packets = np.flatnonzero(batch.journeys.packet >= 0)
        frame = batch.frames["number"][of_packets] + 1
        if self.matching is not None:
            chosen = np.isin(frame, self.matching)
            of_packets, frame = of_packets[chosen], frame[chosen]
        order = np.argsort(frame, kind="stable")
        return frame[order], batch.journeys.packet[of_packets[order]]

    def _look_for(self, frame: npt.NDArray[Any], number: npt.NDArray[Any]) -> None:
        """Say whose frame it is, where the number asked for is that of another frame."""
        at = np.flatnonzero(frame == self.journey)
        if len(at):
            packet = number[at[0]]
            self.hint = f"frame {self.journey} belongs to packet {packet}: --journey {packet}"

    def _table(
        self, batch: Batch, rows: npt.NDArray[Any], matched: npt.NDArray[Any]
    ) -> pl.DataFrame:
        some = replace(batch, packets=batch.packets[rows])
        first = some.packets["first_frame"].to_list()
        summary = [summarise_frame(batch.frames, row) for row in first]
        return packet_table(some, [v.name for v in batch.vantages]).with_columns(
            pl.Series("summary", summary, pl.String), pl.Series("matched", matched, pl.Int64)
        )


def _journey(batch: Batch, rows: npt.NDArray[Any], names: list[str]) -> list[dict[str, Any]]:
    shown = np.isin(batch.journeys.packet, rows)
    packet = np.where(shown, batch.journeys.packet, -1).astype(np.int32)
    only = replace(batch, journeys=replace(batch.journeys, packet=packet))
    return journey_table(only, names).to_dicts()


def dissections(path: str, frames: Collection[int]) -> Iterator[tuple[int, list[str]]]:
    """(frame, lines) of each of these frames."""
    if frames:
        yield from dissected_frames(path, frames)
