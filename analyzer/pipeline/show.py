"""``show``: single packets of a capture, with container names, filtered as Wireshark does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from analyzer.errors import SavefileError, UsageProblem
from analyzer.model.batch import Batch
from analyzer.pipeline.analyse import analyse
from analyzer.pipeline.dissect import dissected, matching_frames
from analyzer.pipeline.load import load
from analyzer.pipeline.tables import journey_table, packet_numbers, packet_table
from analyzer.report.summary import summarise_frame


@dataclass(frozen=True, slots=True)
class Shown:
    """The packets that were asked for."""

    packets: pl.DataFrame
    """the columns of `packet_table`, and summary"""
    journeys: pl.DataFrame
    """of these packets: the columns of `journey_table`"""
    matched: dict[int, int]
    """packet → its first frame that matched"""
    error: SavefileError | None
    """where the file is damaged: its readable prefix is shown"""


def select_packets(
    path: str, display_filter: str = "", *, journey: int | None = None, count: int | None = None
) -> Shown:
    """The packets of which a frame matches; of all these the first ``count``.

    journey: only the packet of this number. Raises as `load`, and UsageProblem where there is
    no such packet or the filter is none.
    """
    matching = matching_frames(path, display_filter) if display_filter else None
    loaded = load([path])
    batch, names = analyse(loaded).whole, [vantage.name for vantage in loaded.vantages]
    frame, number = _matched(batch, matching)
    if journey is not None:
        _expect(batch, journey)
        chosen = number == journey
        frame, number = frame[chosen], number[chosen]
    order = np.unique(number, return_index=True)
    wanted = dict(
        zip(*(found[:count].tolist() for found in (order[0], frame[order[1]])), strict=True)
    )
    packets = packet_table(batch, names)
    mine = packets["packet"].is_in(list(wanted))
    rows = batch.packets.filter(mine)["first_frame"].to_list()
    summary = [summarise_frame(batch.frames, row) for row in rows]
    journeys = journey_table(batch, names)
    return Shown(
        packets.filter(mine).with_columns(pl.Series("summary", summary, pl.String)),
        journeys.filter(journeys["packet"].is_in(list(wanted))),
        wanted,
        next(iter(loaded.errors), None),
    )


def _matched(batch: Batch, matching: Any) -> tuple[Any, Any]:
    """(frame number, its packet's number) of the frames that match, in file order."""
    frame = batch.frames["number"] + 1
    number = packet_numbers(batch)[batch.journeys.packet]
    if matching is not None:
        chosen = np.isin(frame, matching)
        return frame[chosen], number[chosen]
    return frame, number


def _expect(batch: Batch, journey: int) -> None:
    numbers = packet_numbers(batch)
    if journey in numbers:
        return
    frame = np.flatnonzero(batch.frames["number"] + 1 == journey)
    if len(frame):
        packet = numbers[batch.journeys.packet[frame[0]]]
        hint = f"frame {journey} belongs to packet {packet}: --journey {packet}"
    else:
        hint = f"the file has {len(batch.frames['number'])} frames; show lists the packets"
    raise UsageProblem(f"--journey {journey}: no packet of this number; {hint}")


def dissections(path: str, shown: Shown, *, every_vantage: bool) -> Iterator[tuple[int, list[str]]]:
    """(frame, lines) of each packet's first matching frame, or at every vantage."""
    if every_vantage:
        wanted = set(shown.journeys["frame"].to_list())
    else:
        wanted = set(shown.matched.values())
    if not wanted:
        return
    display_filter = f"frame.number >= {min(wanted)} and frame.number <= {max(wanted)}"
    for frame, lines in dissected(path, display_filter):
        if frame in wanted:
            yield frame, lines
