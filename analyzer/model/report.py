"""The report as data: what is computed once and then only rendered (console, JSON, HTML).

The field names are the JSON keys of ``vethscope/report/1``. Times are integer nanoseconds;
None means: not known or not applicable, never 0.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA = "vethscope/report/1"


@dataclass(slots=True)
class CaptureInfo:
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
    """of a capture with the kernel's drops: tied to packets, of other packets by reason …"""
    since_ns: int | None = None
    """the edges of the time window that was asked for: frames from here on …"""
    until_ns: int | None = None
    """… and before this"""


@dataclass(slots=True)
class VantageRow:
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


@dataclass(slots=True)
class HopRow:
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


@dataclass(slots=True)
class EchoHop:
    from_: str
    to: str
    kind: str
    delay_ns: int


@dataclass(slots=True)
class Echo:
    seq: int
    rtt_ns: int | None
    turnaround_ns: int | None
    request_hops: list[EchoHop]
    reply_hops: list[EchoHop]
    lost_after: str | None
    """last vantage of the path that saw the request or the reply, where it was not answered"""
    lost: str | None = None
    """'request' or 'reply', where the topology says that one was lost"""
    ts_ns: int | None = None
    process_rtt_ns: int | None = None
    """what the pinging process measured, where it was our own"""
    ttl: int | None = None
    """of the reply as the asker received it"""


@dataclass(slots=True)
class IcmpRow:
    source: str
    destination: str
    source_ip: str
    destination_ip: str
    id: int
    sent: int
    answered: int
    lost: int
    duplicates: int
    rtt_min_ns: int | None
    rtt_p50_ns: int | None
    rtt_p99_ns: int | None
    rtt_max_ns: int | None
    turnaround_p50_ns: int | None
    echoes: list[Echo] = field(default_factory=list)
    measured_at: str = ""
    """the vantage at which the RTT was taken (the asker's own interface where captured)"""
    unmatched: int = 0
    """neither answered nor provably lost: sent too close to the capture's end, or frames dropped"""
    process_rtt_p50_ns: int | None = None
    payload_len: int = 0


@dataclass(slots=True)
class ArpRow:
    asker: str
    asker_ip: str
    asker_mac: str
    target_ip: str
    answered_by: str
    answer_mac: str
    requests: int
    replies: int
    latency_p50_ns: int | None
    latency_max_ns: int | None
    state: str
    """resolved, unanswered, gratuitous, probe, conflict"""
    macs: list[str] = field(default_factory=list)
    """all MACs that claimed the address, where more than one did"""


@dataclass(slots=True)
class TransportRow:
    """A TCP or UDP conversation, both directions together."""

    client: str
    server: str
    client_ip: str
    client_port: int
    server_ip: str
    server_port: int
    packets: int
    """packets, not their copies at the vantages"""
    bytes: int
    """of payload"""
    lost: int


@dataclass(slots=True)
class LossRow:
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


@dataclass(slots=True)
class Fact:
    fact: str
    holds: bool | None
    """None: cannot be told from this capture"""
    packets: int | None = None
    """for how many of the verdict's packets it holds"""


@dataclass(slots=True)
class Verdict:
    source: str
    destination: str
    result: str
    """proved, refuted, undecided"""
    packets: int
    evidence: list[Fact]
    claim: str = "bridged through docker0"
    reason: str = ""
    """one sentence: why it is refuted or undecided; empty where proved"""


@dataclass(slots=True)
class Finding:
    severity: str
    """info, warning, error"""
    code: str
    text: str


@dataclass(slots=True)
class PathNode:
    """One station of the drawn path."""

    vantage: str
    role: str
    container: str
    mac: str
    addresses: list[str]


@dataclass(slots=True)
class Path:
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


@dataclass(slots=True)
class PacketRow:
    """One packet with its journey (``--packets``)."""

    id: int
    ts_ns: int
    protocol: str
    source: str
    destination: str
    summary: str
    vantages: list[str]
    deltas_ns: list[int]
    """time since the packet's first frame, per vantage"""
    certain: bool
    last_seen: str = ""
    """the last vantage on its way"""
    fate: str = ""
    """delivered, lost, unmatched; dropped: by the stack behind the last vantage"""
    reason: str = ""
    """the kernel's, with its place, where it is known"""


@dataclass(slots=True)
class Report:
    capture: CaptureInfo
    vantages: list[VantageRow] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    hops: list[HopRow] = field(default_factory=list)
    icmp: list[IcmpRow] = field(default_factory=list)
    arp: list[ArpRow] = field(default_factory=list)
    tcp: list[TransportRow] = field(default_factory=list)
    udp: list[TransportRow] = field(default_factory=list)
    losses: list[LossRow] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    packets: list[PacketRow] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The contract's object: plain dicts and lists; ``from_`` becomes ``from``."""
        return {"schema": SCHEMA, **_plain(asdict(self))}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.rstrip("_"): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
