"""All aggregators of one analysis: what is kept while batches go by, and the tables at the end."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from analyzer.analysis.depth import Depth
from analyzer.analysis.loss_diagnosis import LossDiagnosis
from analyzer.findings.flooding import Flooding
from analyzer.flows.arp import Arp
from analyzer.flows.checksums import Checksums
from analyzer.flows.dhcp import Dhcp
from analyzer.flows.dns import Dns
from analyzer.flows.errors import IcmpErrors
from analyzer.flows.hops import Hops
from analyzer.flows.icmp import Echoes
from analyzer.flows.nat import Translations
from analyzer.flows.neighbours import Neighbours
from analyzer.flows.outcomes import PacketOutcomes
from analyzer.flows.proxied import Proxied
from analyzer.flows.resets import Resets
from analyzer.flows.slow_handshakes import SlowHandshakes
from analyzer.flows.transport import Conversations
from analyzer.model.batch import Batch, Columns
from analyzer.model.frames import FrameChunk


@dataclass(slots=True)
class Partials:
    """One field an aggregator: being a field here is all the registration there is."""

    outcomes: PacketOutcomes = field(default_factory=PacketOutcomes)
    hops: Hops = field(default_factory=Hops)
    echoes: Echoes = field(default_factory=Echoes)
    arp: Arp = field(default_factory=Arp)
    conversations: Conversations = field(init=False)
    resets: Resets = field(default_factory=Resets)
    handshakes: SlowHandshakes = field(default_factory=SlowHandshakes)
    translations: Translations = field(default_factory=Translations)
    proxied: Proxied = field(default_factory=Proxied)
    flooding: Flooding = field(default_factory=Flooding)
    loss_diagnosis: LossDiagnosis = field(default_factory=LossDiagnosis)
    depth: Depth = field(default_factory=Depth)
    """what the next ones need from the bytes of frames"""
    dns: Dns = field(init=False)
    errors: IcmpErrors = field(init=False)
    neighbours: Neighbours = field(init=False)
    dhcp: Dhcp = field(init=False)
    checksums: Checksums = field(init=False)

    def __post_init__(self) -> None:
        self.conversations = Conversations(self.depth.offers)
        self.dns, self.errors = Dns(self.depth.dns), IcmpErrors(self.depth.errors)
        self.neighbours = Neighbours(self.depth.neighbours)
        self.dhcp = Dhcp(self.depth.dhcp)
        self.checksums = Checksums(self.depth.corrupt, self.depth.unfinished)

    def add(self, batch: Batch) -> None:
        """Give a batch to every aggregator."""
        for aggregator in self._all():
            aggregator.add(batch)

    def peek(self, chunk: FrameChunk, frames: Columns) -> None:
        """Show a chunk just decoded to those that need its bytes."""
        self.depth.peek(chunk, frames)

    def _all(self) -> list[Any]:
        values = (getattr(self, found.name) for found in fields(self))
        return [value for value in values if hasattr(value, "add")]
