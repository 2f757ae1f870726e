"""A sink that lists packets while a capture streams: all of them, or those of a choice."""

from __future__ import annotations

from operator import itemgetter

import polars as pl
from msgspec import Struct, field

from analyzer.analysis.loss_diagnosis import with_outcomes
from analyzer.analysis.packet_choice import Choice
from analyzer.analysis.tables import translated_packets
from analyzer.model.batch import Batch
from analyzer.model.report import PacketRow
from analyzer.report.build import packet_rows
from analyzer.report.spool import PacketSpool


class SelectedPackets(Struct):
    """The rows of the packets that are chosen, in order of time as soon as that is certain."""

    choice: Choice
    outcomes: pl.DataFrame | None = None
    """of dropped packets (`LossDiagnosis.outcomes`), where any were recorded"""
    rows: PacketSpool = field(default_factory=PacketSpool)
    _held: list[tuple[int, int, PacketRow]] = field(default_factory=list)
    """(ts_ns, number, row) for which something older may still come"""

    def add(self, batch: Batch) -> None:
        """Select from one batch."""
        packets = batch.packets
        if self.outcomes is not None:
            packets = with_outcomes(packets, self.outcomes)
        chosen = self.choice.choose(packets)
        rows = packet_rows(batch, chosen, translated_packets(batch).to_list())
        order = chosen.select("ts_ns", "number").rows()
        self._held += [(*key, row) for key, row in zip(order, rows, strict=True)]
        self._held.sort(key=itemgetter(0, 1))
        ready = sum(1 for ts_ns, _, _ in self._held if ts_ns < batch.settled_ns)
        for _, _, row in self._held[:ready]:
            self.rows.add(row)
        del self._held[:ready]
