"""All aggregators of one analysis: what is kept while batches go by, and the tables at the end."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from analyzer.flows.arp import Arp
from analyzer.flows.fates import Fates
from analyzer.flows.hops import Hops
from analyzer.flows.icmp import Echoes
from analyzer.flows.transport import Conversations
from analyzer.model.batch import Batch, Columns
from analyzer.model.frames import FrameChunk


@dataclass(slots=True)
class Partials:
    """One field an aggregator: being a field here is all the registration there is."""

    fates: Fates = field(default_factory=Fates)
    hops: Hops = field(default_factory=Hops)
    echoes: Echoes = field(default_factory=Echoes)
    arp: Arp = field(default_factory=Arp)
    conversations: Conversations = field(default_factory=Conversations)

    def add(self, batch: Batch) -> None:
        """Give a batch to every aggregator."""
        for aggregator in self._all():
            aggregator.add(batch)

    def peek(self, chunk: FrameChunk, frames: Columns) -> None:
        """Show a chunk just decoded to those that need its bytes."""
        for aggregator in self._all():
            if hasattr(aggregator, "peek"):
                aggregator.peek(chunk, frames)

    def _all(self) -> list[Any]:
        return [getattr(self, found.name) for found in fields(self)]
