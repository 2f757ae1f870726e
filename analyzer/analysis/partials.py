"""All aggregators of one analysis: what is kept while batches go by, for the tables at the end.

The kinds of flows come from `analyzer.flows.registry`; beside them stand the aggregators that
several tables and findings rest on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from msgspec.structs import replace

from analyzer.analysis.loss_diagnosis import LossDiagnosis
from analyzer.flows.checksums import Checksums
from analyzer.flows.echoes_outside import EchoesOutside
from analyzer.flows.flooding import Flooding
from analyzer.flows.foreign_sources import ForeignSources
from analyzer.flows.frame_notes import FrameReaders
from analyzer.flows.hops import Hops
from analyzer.flows.kind import AggregatorInputs, FlowContext
from analyzer.flows.outcomes import PacketOutcomes
from analyzer.flows.receivers import Receivers
from analyzer.flows.registry import flow_kind, flow_kinds
from analyzer.flows.requests import Requests
from analyzer.flows.resets import Resets
from analyzer.flows.router_advertisements import RouterAdvertisements
from analyzer.flows.slow_handshakes import SlowHandshakes
from analyzer.flows.tunnels import Tunnels
from analyzer.flows.untranslated import Untranslated
from analyzer.model.batch import Aggregator, Batch, Columns
from analyzer.model.frames import FrameChunk
from analyzer.model.ranks import largest
from analyzer.model.report import LeftOut

A = TypeVar("A")


class Partials:
    """The aggregators of a report."""

    def __init__(
        self,
        *,
        keep_echoes: bool = False,
        outside: EchoesOutside | None = None,
        loss_diagnosis: LossDiagnosis | None = None,
    ) -> None:
        """keep_echoes, outside: see `AggregatorInputs`."""
        self._readers = FrameReaders()
        inputs = AggregatorInputs(self._readers, keep_echoes, outside)
        makers = dict.fromkeys(kind.aggregator for kind in flow_kinds())
        self._of_flows = {make: make(inputs) for make in makers}
        self.outcomes = PacketOutcomes()
        self.hops = Hops()
        self.resets = Resets()
        self.receivers = Receivers()
        self.handshakes = SlowHandshakes()
        self.flooding = Flooding()
        self.foreign_sources = ForeignSources()
        self.untranslated = Untranslated()
        self.router_advertisements = RouterAdvertisements()
        self.tunnels = Tunnels.reading(self._readers)
        self.loss_diagnosis = loss_diagnosis or LossDiagnosis()
        self.checksums = Checksums.reading(self._readers)

    def add(self, batch: Batch) -> None:
        """Give a batch to every aggregator."""
        for aggregator in self._all():
            aggregator.add(batch)

    def peek(self, chunk: FrameChunk, frames: Columns) -> None:
        """Show a chunk just decoded to those that need its bytes."""
        self._readers.peek(chunk, frames)

    def the(self, aggregator: type[A]) -> A:
        """The aggregator of this class among those of the flows."""
        return next(one for one in self._of_flows.values() if isinstance(one, aggregator))

    def flow_rows(self, context: FlowContext) -> dict[str, list[Any]]:
        """The report's rows of each kind; what context tells of other kinds comes from here."""
        rows: dict[str, list[Any]] = {}

        def rows_of(name: str) -> list[Any]:
            if name not in rows:
                kind = flow_kind(name)
                rows[name] = kind.rows(self._of_flows[kind.aggregator], linked)
            return rows[name]

        linked = replace(context, rows_of=rows_of)
        return {kind.name: rows_of(kind.name) for kind in flow_kinds()}

    def left_out(self, rows: dict[str, list[Any]], top: int | None) -> dict[str, LeftOut]:
        """What becomes no row of the report: rows are cut down to ``top`` of each kind."""
        found = {}
        for name, ours in rows.items():
            kind = flow_kind(name)
            told = kind.left_out(self._of_flows[kind.aggregator], top) if kind.left_out else None
            more = len(ours) - top if top is not None else 0
            if more > 0:
                size = kind.sheet.size if kind.sheet else None
                rows[name] = largest(ours, top or 0, size)
            count = max(more, 0) + (told.rows if told else 0)
            if count:
                found[name] = LeftOut(count, told.services if told else [])
        return found

    def silent_requests(self, end_ns: int) -> list[dict[str, Any]]:
        """Those of clients to whom an answer would have been seen."""
        if self.receivers.one_sided:
            return []
        rows = self.the(Requests).silent(end_ns)
        return [row for row in rows if self.receivers.hears(row["client_ip"])]

    def forgotten(self) -> dict[str, int]:
        """By kind of flow, how many rows it gave up, at the most."""
        kept = {kind.name: self._of_flows[kind.aggregator] for kind in flow_kinds()}
        counts = {name: getattr(one, "forgotten", 0) for name, one in kept.items()}
        return {name: count for name, count in counts.items() if count}

    def _all(self) -> Iterator[Aggregator]:
        yield self.outcomes
        yield self.hops
        yield from self._of_flows.values()
        yield self.resets
        yield self.receivers
        yield self.handshakes
        yield self.flooding
        yield self.foreign_sources
        yield self.untranslated
        yield self.tunnels
        yield self.router_advertisements
        yield self.loss_diagnosis
        yield self.checksums
