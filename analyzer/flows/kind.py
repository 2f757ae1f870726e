"""What a kind of flow is: one descriptor holds all that the rest of the program wants of it.

`analyzer.flows.registry` lists the kinds; see there how to add one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from analyzer.formatting.pieces import Piece
from analyzer.model.batch import Outlook
from analyzer.model.evidence import Evidence

if TYPE_CHECKING:
    from analyzer.flows.claims import Place
    from analyzer.flows.echoes_outside import EchoesOutside
    from analyzer.flows.endpoints import Endpoints
    from analyzer.flows.frame_notes import FrameReaders
    from analyzer.model.batch import Aggregator
    from analyzer.model.flow_rows import ArpRow
    from analyzer.model.nat_entries import NatEntries
    from analyzer.model.proxy import Proxy
    from analyzer.model.report import LeftOut
    from analyzer.model.vantage import Vantage


class AggregatorInputs(Struct, frozen=True):
    """What an aggregator may need when it is made."""

    readers: FrameReaders
    """``readers.notes(reader)``: what a reader finds in the bytes of frames"""
    keep_echoes: bool = False
    """every single echo is wanted, not only the conversations"""
    outside: EchoesOutside | None = None
    """where only a time window is analysed"""


class FlowContext(Struct, frozen=True):
    """What is known when all packets have been seen, for the rows of a kind."""

    vantages: Sequence[Vantage]
    endpoints: Endpoints
    """names of MACs and addresses"""
    end_ns: int
    """when the capture ended: what was asked right before may have been answered after it"""
    nat: NatEntries
    """what connection tracking told"""
    rows_of: Callable[[str], list[Any]] = lambda name: []
    """the rows of another kind, by its name"""
    proxies: Sequence[Proxy] = ()
    """docker-proxy processes"""
    settled_claims: Collection[Place] = ()
    """addresses that passed from one MAC to another in good order"""
    settle_arp: Callable[[list[ArpRow]], None] = lambda rows: None
    """what the edges of a time window hide of ARP"""
    process_rtt: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """(ICMP id, seq) → RTT as the pinging process saw it, ns"""
    expired_echoes: Mapping[tuple[int, ...], int] = field(default_factory=dict)
    """see `analyzer.flows.errors.IcmpErrors.expired_echoes`"""
    trusted: Callable[[int], bool] = lambda vantage: True
    """whether all that a vantage saw was captured: its ring dropped nothing"""
    receives: Callable[[int, int], bool] = lambda segment, mac: True
    """see `analyzer.flows.receivers.Receivers.may_receive`"""
    hears: Callable[[str], bool] = lambda address: True
    """see `analyzer.flows.receivers.Receivers.hears`"""
    one_way: bool = False
    """the capture filter may have left answers out: that one is missing says nothing"""
    one_sided: bool = False
    """see `analyzer.flows.receivers.Receivers.one_sided`"""
    top: int | None = None
    """so many conversations become rows; None: all that are followed"""
    outlook: Outlook = field(default_factory=lambda: Outlook(()))
    evidence: Evidence = field(default_factory=Evidence)
    """how namespaces stood, at both ends"""
    own_echoes: Mapping[int, int] = field(default_factory=dict)
    """ICMP ids of vethscope's own pings → answers that their processes got"""

    @property
    def shows_answers(self) -> bool:
        """Whether no answer was filtered out, and no ring dropped one."""
        return self.outlook.complete and not self.one_way


class SheetForm(Struct, frozen=True):
    """How the rows of a kind are shown in a report: the columns of words come first."""

    place: int
    """sheets stand in the order of these numbers"""
    title: str
    note: str
    """a few words behind the title"""
    words: tuple[str, ...]
    """titles of the columns of words"""
    numbers: tuple[str, ...]
    """titles of the columns of numbers"""
    cells: Callable[[Any], Iterable[Piece]]
    """a row's cells: words, then numbers"""
    noun: str
    """what one row is, for "and 5 more …" """
    size: Callable[[Any], int] | None = None
    """the largest rows are shown first; None: in order of appearance"""


class FlowKind(Struct, frozen=True):
    """A kind of flow."""

    name: str
    """its key in the report's JSON, and the name of its table"""
    row: type[Struct]
    """a Struct; its fields are the keys of a row and the columns of the table"""
    about: str
    """what one row is, in a few words: for the documentation"""
    aggregator: Callable[[AggregatorInputs], Aggregator]
    """makes what counts while packets go by; kinds that name the same one share it"""
    rows: Callable[[Any, FlowContext], list[Any]]
    """the report's rows, from the aggregator"""
    sheet: SheetForm | None = None
    """None: the report shows this kind in a section of its own, or not at all"""
    left_out: Callable[[Any, int | None], LeftOut] | None = None
    """what became no row: from the aggregator, and ``top`` of the context; None: all became rows"""
    nested: tuple[str, ...] = ()
    """fields of the row that are lists of rows: they are no columns of the table"""
    knows_untimed: bool = False
    """it takes no time from a frame of which the file tells none"""


class Forgetful(Protocol):
    """An aggregator that keeps a bounded number of rows."""

    @property
    def forgotten(self) -> int:
        """How many rows it had and gave up."""


def forgotten(aggregator: Forgetful, top: int | None) -> LeftOut:
    """What a kind leaves out that forgets the rows that were seen least recently."""
    from analyzer.model.report import LeftOut

    return LeftOut(aggregator.forgotten, [])


def without_times(rows: Sequence[Any]) -> list[Any]:
    """The rows with None for every time: of a file that does not tell them of all frames."""
    return [
        replace(
            row, **dict.fromkeys(name for name in row.__struct_fields__ if name.endswith("_ns"))
        )
        for row in rows
    ]
