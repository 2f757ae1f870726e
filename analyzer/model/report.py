"""The report as data: what is computed once and then only rendered (console, JSON, HTML).

The field names are the JSON keys of ``vethscope/report/1``. Times are integer nanoseconds;
None means: not known or not applicable, never 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct, field, to_builtins
from msgspec.structs import replace

SCHEMA = "vethscope/report/1"


class CaptureInfo(Struct):
    files: list[str]
    frames: int
    bytes: int
    """on the wire, all vantages"""
    start_ns: int | None
    end_ns: int | None
    truncated: bool
    """the file ends in the middle of a block: only its readable prefix was analysed"""
    dropped: int | None = None
    """frames the kernel dropped for want of room, all rings; None where the file does not tell"""
    engine: str = ""
    sysctls: dict[str, str] = field(default_factory=dict)
    identity: str = ""
    """which predicate matched the frames: ``certain`` or ``certain and likely``"""
    likely_matches: int = 0
    drops: dict[str, Any] | None = None
    """of a capture with the kernel's drops: how many are ``tied`` to packets, and by reason those
    that are not: ``captured``, of frames that came in by captured interfaces of the host,
    ``anywhere``, of packets anywhere on this machine, and ``others``, both together; of the latter,
    ``neighbours`` tells who waited for which next hop's MAC, on this machine's interfaces"""
    untimed: int = 0
    """frames of which the file tells no time"""
    since_ns: int | None = None
    """the edges of the time window that was asked for: frames from here on …"""
    until_ns: int | None = None
    """… and before this"""


class VantageRow(Struct):
    name: str
    interface: str
    role: str
    container: str
    netns: int
    ifindex: int
    peer: str
    bridge: str
    mac: str
    addresses: list[str]
    frames: int
    received: int | None
    dropped: int | None
    inferred: bool = False
    """names guessed from a foreign file's addresses, not told by a topology"""
    peer_ifindex: int = 0
    promiscuous: bool = False


class HopRow(Struct):
    protocol: str
    source: str
    destination: str
    from_: str
    to: str
    kind: str
    """veth, bridge, deliver, originate, route; ``span`` where vantages between are missing"""
    packets: int
    lost: int
    min_ns: int | None
    p50_ns: int | None
    p90_ns: int | None
    p99_ns: int | None
    max_ns: int | None
    mean_ns: float | None


class LossRow(Struct):
    protocol: str
    source: str
    destination: str
    last_seen: str
    expected: str
    packets: int
    reason: str
    location: str
    advice: str
    seen: list[str] = field(default_factory=list)
    """all vantages that saw the lost packets, docker0's copy included, in order of the path"""
    first_ns: int | None = None
    """when the first of them was first seen; null: not known"""
    last_ns: int | None = None
    """when the last of them was first seen"""
    certain: int = 0
    """packets of which the loss is proved: told from all others on their way, or tied to a drop of
    the kernel's. The rest is inferred, or one of several identical packets"""
    port: int | None = None
    """of the server, where all these packets went to (or came from) one; null: to several, to none,
    or not known"""


class Fact(Struct):
    fact: str
    holds: bool | None
    """None: cannot be told from this capture"""
    packets: int | None = None
    """for how many of the verdict's packets it holds"""


class Verdict(Struct):
    source: str
    destination: str
    result: str
    """proved, refuted, undecided"""
    packets: int
    evidence: list[Fact]
    claim: str = "bridged through docker0"
    reason: str = ""
    """one sentence: why it is refuted or undecided; empty where proved"""
    delivered: int = 0
    """packets that were seen where they had to go: a proof is about these"""
    lost: int = 0
    """packets that got nowhere"""
    way: str = ""
    """of the delivered packets: bridged, routed, tunnelled (VXLAN), host (an end is the host
    itself), other-bridge, beside (macvlan, ipvlan, a pair without a bridge), mixed; empty where
    undecided"""


class OtherService(Struct):
    """Conversations that are not told one by one, by whom they were for."""

    port: int
    """of the side that was asked"""
    conversations: int
    packets: int
    bytes: int
    """of payload"""
    lost: int


class LeftOut(Struct):
    """Rows of one kind of flow that the report counts and does not tell one by one."""

    rows: int
    """at the most: a conversation that came back is counted again"""
    services: list[OtherService] = field(default_factory=list)
    """of TCP and UDP: the ones with most packets, a port of all servers together"""


class Finding(Struct):
    severity: str
    """info, warning, error"""
    code: str
    text: str


class PathNode(Struct):
    """One station of the drawn path."""

    vantage: str
    role: str
    container: str
    mac: str
    addresses: list[str]


class Path(Struct):
    """The way of one conversation's packets, drawn once: source → … → destination."""

    source: str
    destination: str
    protocol: str
    packets: int
    nodes: list[PathNode]
    kinds: list[str]
    """hop kind between node i and i+1"""
    bridges: list[str]
    """name of the bridge that the hop i passes, '' where none"""
    rounds: int = 0
    """how often it came by one of these vantages, where it went round: the rest is not drawn"""


class PacketRow(Struct):
    """One packet with its journey (``--packets``)."""

    id: int
    """the number of its first frame, as Wireshark counts"""
    ts_ns: int | None
    """None, and so below, where the file does not tell it"""
    protocol: str
    source: str
    destination: str
    summary: str
    vantages: list[str]
    deltas_ns: list[int | None]
    """time since the packet's first frame, per vantage"""
    certain: bool
    last_seen: str = ""
    """the last vantage on its way"""
    fate: str = ""
    """delivered, lost, unmatched; dropped: by the stack behind the last vantage"""
    reason: str = ""
    """the kernel's, with its place, where it is known"""
    translated: list[str] = field(default_factory=list)
    """what NAT made of its addresses and ports, in order of the path"""


class Report(Struct):
    """All that is known of a capture. ``report.dns`` is short for ``report.flows["dns"]``."""

    capture: CaptureInfo
    vantages: list[VantageRow] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    hops: list[HopRow] = field(default_factory=list)
    flows: dict[str, list[Any]] = field(default_factory=dict)
    """rows by the names of `analyzer.flows.registry`, in its order"""
    losses: list[LossRow] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    """by kind of flow (``verdicts``, ``hops`` too), what there is besides its rows; kinds of which
    all rows are there are not in it"""
    packets: Sequence[PacketRow] = field(default_factory=list)

    def __getattr__(self, name: str) -> list[Any]:
        if name == "flows" or name not in self.flows:
            raise AttributeError(f"a report has no {name!r}")
        return self.flows[name]

    def more_rows(self, kind: str) -> int:
        """How many rows of a kind of flow are left out."""
        return self.left_out[kind].rows if kind in self.left_out else 0

    def to_json(self) -> dict[str, Any]:
        """The contract's object: plain dicts and lists; ``from_`` becomes ``from``."""
        return {**self.to_json_without_packets(), "packets": list(self.packets_json())}

    def to_json_without_packets(self) -> dict[str, Any]:
        """The same with ``packets`` left empty: of a long capture they are printed one by one."""
        document: dict[str, Any] = {"schema": SCHEMA}
        for key, value in _plain(to_builtins(replace(self, packets=[]))).items():
            document |= value if key == "flows" else {key: value}
        return document

    def packets_json(self) -> Iterator[dict[str, Any]]:
        """What belongs into ``packets``."""
        return (to_builtins(row) for row in self.packets)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.rstrip("_"): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
