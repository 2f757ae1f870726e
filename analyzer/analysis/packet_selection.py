"""Packets of a report, selected while a capture streams: all of them, or those of a choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import polars as pl

from analyzer.analysis.loss_diagnosis import with_outcomes
from analyzer.analysis.partials import Partials
from analyzer.analysis.tables import translated_packets
from analyzer.model.batch import Aggregator, Batch, Columns
from analyzer.model.frames import FrameChunk
from analyzer.model.report import PacketRow
from analyzer.report.build import packet_rows
from analyzer.report.spool import PacketSpool

Choose = Callable[[pl.DataFrame], pl.DataFrame]
"""some of the packets"""


@dataclass(slots=True)
class SelectedPackets:
    """An aggregator of rows, handed to ``rows`` in order of time as soon as that is certain."""

    choose: Choose
    outcomes: Callable[[], pl.DataFrame] | None = None
    """of dropped packets (`LossDiagnosis.outcomes`), where there are any"""
    rows: PacketSpool = field(default_factory=PacketSpool)
    _held: list[tuple[int, int, PacketRow]] = field(default_factory=list)

    def add(self, batch: Batch) -> None:
        """Pick from one batch."""
        packets = batch.packets
        if self.outcomes is not None:
            packets = with_outcomes(packets, self.outcomes())
        chosen = self.choose(packets)
        made = packet_rows(batch, chosen, translated_packets(batch).to_list())
        order = chosen.select("ts_ns", "number").rows()
        self._held += [(*key, row) for key, row in zip(order, made, strict=True)]
        self._held.sort(key=itemgetter(0, 1))
        ready = sum(1 for ts_ns, _, _ in self._held if ts_ns < batch.settled_ns)
        for _, _, row in self._held[:ready]:
            self.rows.add(row)
        del self._held[:ready]


@dataclass(slots=True)
class SelectionPartials(Partials):
    """A report's aggregators, and what picks packets; or only that."""

    selected: Aggregator | None = None
    alone: bool = False

    def peek(self, chunk: FrameChunk, frames: Columns) -> None:
        """See `Partials.peek`."""
        if not self.alone:
            self.depth.peek(chunk, frames)

    def _all(self) -> list[Any]:
        return [self.selected] if self.alone else Partials._all(self)
