"""What a finding rests on, and how it is declared: a rule reads tables and facts, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from msgspec import Struct, field

from analyzer.model.batch import Outlook
from analyzer.model.census import Census
from analyzer.model.evidence import Evidence
from analyzer.model.nat_entries import NatEntries
from analyzer.model.payload_cuts import PayloadCut
from analyzer.model.report import CaptureInfo, Finding, LossRow

if TYPE_CHECKING:
    import polars as pl

    from analyzer.diagnosis.likely import LikelyCause
    from analyzer.flows.arp_claims import ClaimVerdict
    from analyzer.flows.contradictions import Contradiction
    from analyzer.recorders.settings.facts import Facts

T = TypeVar("T")
INFO, WARNING, ERROR = "info", "warning", "error"
TOLD, MANY = 5, 20
"""findings of one code, and of one that each pair or MAC has of its own; those behind them are
counted"""


class FileOffset(NamedTuple):
    """By how much one file's clock is ahead of another one's."""

    file: str
    other: str
    ns: int
    packets: int
    """that are in both"""
    both_ways: bool
    """packets of both directions told it"""


class Clocks(Struct, frozen=True):
    """What the stamps and a second clock tell of the clock that stamped."""

    steps: int = 0
    """times that it was set back"""
    largest_step_ns: int = 0
    negative_hops: int = 0
    """hops that would end before they begin"""
    set_ns: int = 0
    """by how much it was set in all, by another clock's witness; forward if positive"""
    disorder: int = 0
    """times that a frame of another tool's file is stamped long before one in front of it"""
    largest_disorder_ns: int = 0
    offsets: Sequence[FileOffset] = ()
    """between other tools' files; their times are told by the first one's clock"""


class FindingInputs(Struct, frozen=True, dict=True):
    """All that rules may look at. Tables without rows stand for what was not seen."""

    info: CaptureInfo
    outlook: Outlook
    """vantages, sysctls, FDB, and when the capture ended"""
    flows: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """the report's rows by kind: see `analyzer.flows.registry`"""
    forgotten: Mapping[str, int] = field(default_factory=dict)
    """kind of flow → rows that it gave up, at the most: there were too many"""
    not_followed: pl.DataFrame | None = None
    """see `analyzer.flows.transport.Conversations.others`"""
    outcomes: pl.DataFrame | None = None
    """see `analyzer.flows.outcomes.PacketOutcomes.table`, without what is counted together"""
    outcomes_whole: bool = True
    """nothing is: what is not among the outcomes was not in the capture"""
    conversations: pl.DataFrame | None = None
    """see `analyzer.flows.transport.Conversations.table`"""
    hops: pl.DataFrame | None = None
    """see `analyzer.flows.hops.Hops.table`"""
    has_hops: bool = False
    """some hop was timed"""
    census: Census = field(default_factory=Census)
    """the engine's containers, running or not"""
    engine: str = ""
    segments: Sequence[int] = ()
    """[v] the layer-2 segment of each vantage"""
    nat: NatEntries = field(default_factory=NatEntries)
    clocks: Clocks = field(default_factory=Clocks)
    inferred: Sequence[str] = ()
    """addresses that were guessed from MACs of Docker's old scheme"""
    claims: Sequence[ClaimVerdict] = ()
    """what became of ARP claims"""
    resets: Sequence[Mapping[str, Any]] = ()
    """see `analyzer.flows.resets.Resets.rows`"""
    handshakes: Sequence[Any] = ()
    """the slow one of each service: `analyzer.flows.slow_handshakes.SlowHandshake`"""
    slow_echoes: Sequence[Any] = ()
    """the longest round trip of each pair: `analyzer.flows.slow_echoes.SlowEcho`"""
    flooded: Sequence[Mapping[str, Any]] = ()
    """see `analyzer.flows.flooding.Flooding.rows`"""
    returned: Sequence[Mapping[str, Any]] = ()
    """see `analyzer.analysis.returned_frames.ReturnedFrames.rows`"""
    tunnel_arrivals: Sequence[Mapping[str, Any]] = ()
    """see `analyzer.flows.tunnels.Tunnels.arrivals`"""
    tunnel_departures: Sequence[Mapping[str, Any]] = ()
    """see `analyzer.flows.tunnels.Tunnels.departures`"""
    router_advertisements: Sequence[Mapping[str, Any]] = ()
    """see `analyzer.flows.router_advertisements.RouterAdvertisements.rows`"""
    multicast_streams: Sequence[Mapping[str, Any]] = ()
    """see `analyzer.flows.multicast_streams.MulticastStreams.rows`"""
    contradictions: Sequence[Contradiction] = ()
    """see `analyzer.flows.contradictions.settle_losses`"""
    facts: Sequence[Facts] = ()
    """settings and counters of packet filters, at both ends"""
    likely_causes: Sequence[LikelyCause] = ()
    """see `analyzer.diagnosis.likely`"""
    foreign_sources: Sequence[Mapping[str, Any]] = ()
    """see `analyzer.flows.foreign_sources.ForeignSources.rows`"""
    untranslated: Sequence[Mapping[str, Any]] = ()
    """see `analyzer.flows.untranslated.Untranslated.rows`"""
    corrupt: Sequence[Mapping[str, Any]] = ()
    """packets with a wrong checksum: see `analyzer.flows.checksums.Checksums.rows`"""
    may_hear: Callable[[str], bool] = lambda mac: True
    """see `analyzer.flows.receivers.Receivers.may_hear`"""
    undecoded: Mapping[int, int] = field(default_factory=dict)
    """link type that is not decoded → frames"""
    malformed_frames: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """what frames contradict themselves in → (frames, number of the first)"""
    not_ended: Sequence[str] = ()
    """files of captures of ours that were not closed"""
    payload_cuts: Sequence[PayloadCut] = ()
    """when frames were cut because a ring filled up"""
    twins: Sequence[tuple[str, str]] = ()
    """(file, the one before it that it is once more)"""
    checked: int = 0
    """frames whose TCP or UDP checksum was computed"""
    wrong_checksums: int = 0
    """of these, frames in which it is wrong"""
    malformed: Mapping[str, int] = field(default_factory=dict)
    """what vethscope writes of itself → how many blocks of it were nonsense, and left out"""
    unfinished: Mapping[int, int] = field(default_factory=dict)
    """vantage → frames whose checksum offload left unfinished"""
    losses: Sequence[LossRow] = ()
    """the report's"""
    silent: Sequence[Mapping[str, Any]] = ()
    """echo requests that came to their end and brought no reply: see `Echoes.silent`"""
    silent_requests: Sequence[Mapping[str, Any]] = ()
    """requests over UDP and SYNs that did, where an answer would have been seen: see
    `analyzer.flows.requests.Requests.silent`"""
    evidence: Evidence = field(default_factory=Evidence)
    """what namespaces counted and how they stood, at both ends, and what changed in between"""

    @cached_property
    def _made(self) -> dict[Any, Any]:
        return {}

    def once(self, make: Callable[[FindingInputs], T]) -> T:
        """What a function makes of these inputs; made when it is asked for first."""
        if make not in self._made:
            self._made[make] = make(self)
        made: T = self._made[make]
        return made


class Code(Struct, frozen=True):
    """A finding's code, as JSON tells it, and what the documentation says of it."""

    name: str
    severities: tuple[str, ...]
    """info, warning or error; the first where a rule does not choose"""
    meaning: str
    """one sentence"""
    next_step: str
    """what to do"""

    def finding(self, text: str, severity: str = "") -> Finding:
        """Raises ValueError for a severity that is not declared."""
        severity = severity or self.severities[0]
        if severity not in self.severities:
            raise ValueError(f"{self.name} is declared as {self.severities}, not as {severity}")
        return Finding(severity, self.name, text)


class Rule(Struct, frozen=True):
    """Finds what its codes stand for."""

    codes: tuple[Code, ...]
    find: Callable[[FindingInputs], Iterable[Finding]]
    place: int
    """in the report, rules stand in the order of these numbers"""
    needs: str = ""
    """what has to be in the capture, in words; empty: nothing particular"""
    most: int | None = TOLD
    """findings of one code that are told; None: all"""

    def findings(self, inputs: FindingInputs) -> Iterator[Finding]:
        """Those that are told, and a line for the others of each code.

        Raises ValueError for a finding whose code the rule does not declare.
        """
        declared = {code.name for code in self.codes}
        counts: dict[tuple[str, str], int] = {}
        for finding in self.find(inputs):
            if finding.code not in declared:
                raise ValueError(f"{finding.code} is not declared by its rule")
            kind = (finding.severity, finding.code)
            counts[kind] = counts.get(kind, 0) + 1
            if self.most is None or counts[kind] <= self.most:
                yield finding
        for (severity, name), count in counts.items():
            if self.most is not None and count > self.most:
                yield Finding(
                    severity, name, f"and {count - self.most} more of this kind: see --json"
                )
