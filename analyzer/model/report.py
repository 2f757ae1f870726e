"""The report as data: what is computed once and then only rendered (console, JSON, HTML).

The field names are the JSON keys of ``vethscope/report/1``. Times are integer nanoseconds;
None means: not known or not applicable, never 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
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
class EchoProcess:
    """What the pinging process itself saw, beside the wire."""

    received: int
    """answers that it got"""
    rtt_p50_ns: int | None
    """None where it got none"""


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
    turnaround_at: str = ""
    """the vantage nearest to the answering end, at which the turnaround was taken"""
    turnaround_inside: bool = False
    """whether that is the answering end's own interface: else the turnaround is all beyond it"""
    own: bool = False
    """whether it is the echo that ``vethscope ping`` sent"""
    process: EchoProcess | None = None
    """what the pinging process saw, where it was our own"""


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
    client_packets: int
    """those that the client sent; so with all that follow"""
    server_packets: int
    client_bytes: int
    server_bytes: int
    client_lost: int
    server_lost: int
    client_min_ns: int | None
    """one way, from the first vantage to the last, of packets that were delivered"""
    client_mean_ns: int | None
    client_max_ns: int | None
    server_min_ns: int | None
    server_mean_ns: int | None
    server_max_ns: int | None
    client_p50_ns: int | None
    """within 1 %; the bucket's middle where more than one packet is in it"""
    client_p99_ns: int | None
    server_p50_ns: int | None
    server_p99_ns: int | None
    lost_between: list[str]
    """where, the most first: ``client: veth0 → veth1: 3`` (whose packets, vantages, how many)"""


@dataclass(slots=True)
class UdpRow(TransportRow):
    """A UDP conversation."""


@dataclass(slots=True)
class TcpRow(TransportRow):
    """A TCP conversation: all connections between the same two ports."""

    connections: int
    """begun with a SYN that was seen; sequence numbers tell one from the next"""
    state: str
    """open, closed, reset, refused (RST for the SYN), unanswered (SYN without answer)"""
    handshake_rtt_ns: int | None
    """SYN to SYN-ACK at the vantage where the SYN was first seen, of the first connection"""
    initial_rtt_ns: int | None
    """SYN to the first ACK behind it, each where it was first seen"""
    retransmissions: int
    """of all kinds; a copy at another vantage is none"""
    fast_retransmissions: int
    spurious_retransmissions: int
    """of what had been acknowledged"""
    out_of_order: int
    duplicate_acks: int
    zero_windows: int
    keep_alives: int
    resets: int
    gaps: int
    """segments behind bytes that were not seen: lost before the first vantage, or not captured"""
    client_mss: int | None
    """as the client's latest SYN offers; null: not offered, or no SYN was seen"""
    client_window_scale: int | None
    """the shift (RFC 7323)"""
    client_sack_permitted: bool | None
    """null: no SYN was seen"""
    client_window_max_bytes: int | None
    """the largest window that it announced, scaled; null where a SYN of either side is missing"""
    server_mss: int | None
    server_window_scale: int | None
    server_sack_permitted: bool | None
    server_window_max_bytes: int | None


@dataclass(slots=True)
class DnsRow:
    """The questions of one client to one server for one name and type."""

    client: str
    server: str
    client_ip: str
    server_ip: str
    name: str
    """in lower case, escaped as in master files (RFC 1035): printable ASCII"""
    type: str
    queries: int
    """questions, not their repetitions"""
    answered: int
    unanswered: int
    """those that were neither answered nor asked right before the capture's end"""
    retries: int
    failures: int
    """answers that are errors"""
    rcodes: list[str]
    """response codes, the most frequent first"""
    latency_p50_ns: int | None
    """question to answer, at the vantage where the question was first seen"""
    latency_p99_ns: int | None
    latency_max_ns: int | None


@dataclass(slots=True)
class IcmpErrorRow:
    """Errors of one kind that one node reported about packets to one destination."""

    reporter: str
    reporter_ip: str
    source: str
    """who sent the packets, and got the errors"""
    source_ip: str
    destination_ip: str
    """where they were to go"""
    destination_port: int | None
    protocol: str
    """of the packets"""
    error: str
    """port unreachable, TTL exceeded, fragmentation needed …"""
    mtu: int | None
    """the least that was told"""
    errors: int
    tied: int
    """errors of which the packet that caused them was found"""
    cause: int | None
    """number of the first such packet"""


@dataclass(slots=True)
class NatRow:
    """Connections of which addresses or ports were translated, in the direction seen first."""

    protocol: str
    source: str
    destination: str
    source_ip: str
    """as before, and ``new_…`` as behind the translation"""
    source_port: int | None
    """where it is one connection alone; None with ICMP, as the others"""
    destination_ip: str
    destination_port: int | None
    new_source_ip: str
    new_source_port: int | None
    new_destination_ip: str
    new_destination_port: int | None
    from_: str
    """the last vantage before the translation"""
    to: str
    """the first one behind it"""
    connections: int
    """of ICMP: echo sessions"""
    packets: int
    answers: int
    """packets in the other direction"""
    told_by: str
    """conntrack: certain; packets: what NAT leaves of them was the same, likely"""


@dataclass(slots=True)
class ProxyRow:
    """Two connections that docker-proxy ties: to the host, and on to the container."""

    protocol: str
    client: str
    server: str
    client_ip: str
    client_port: int
    host_ip: str
    """where the first one ends"""
    host_port: int
    proxy_ip: str
    """where the second one comes from"""
    proxy_port: int
    server_ip: str
    server_port: int
    ts_ns: int
    delay_ns: int
    """first packet to first packet"""
    certain: bool


@dataclass(slots=True)
class DhcpRow:
    """What one client asked of DHCP servers, and what it got."""

    client: str
    client_mac: str
    server: str
    server_ip: str
    address: str
    lease_s: int | None
    discovers: int
    offers: int
    requests: int
    acks: int
    naks: int
    releases: int
    latency_ns: int | None
    """the first question to the first acknowledgment"""
    state: str
    """bound, offered, refused, released, unanswered"""


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
    delivered: int = 0
    """packets that were seen where they had to go: a proof is about these"""
    lost: int = 0
    """packets that got nowhere"""
    way: str = ""
    """of the delivered packets: bridged, routed, tunnelled (VXLAN), host (an end is the host
    itself), other-bridge, beside (macvlan, ipvlan, a pair without a bridge), mixed; empty where
    undecided"""


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
    """the number of its first frame, as Wireshark counts"""
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
    translated: list[str] = field(default_factory=list)
    """what NAT made of its addresses and ports, in order of the path"""


@dataclass(slots=True)
class Report:
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
    packets: Sequence[PacketRow] = field(default_factory=list)

    def __getattr__(self, name: str) -> list[Any]:
        if name == "flows" or name not in self.flows:
            raise AttributeError(f"a report has no {name!r}")
        return self.flows[name]

    def to_json(self) -> dict[str, Any]:
        """The contract's object: plain dicts and lists; ``from_`` becomes ``from``."""
        return {**self.to_json_without_packets(), "packets": list(self.packets_json())}

    def to_json_without_packets(self) -> dict[str, Any]:
        """The same with ``packets`` left empty: of a long capture they are printed one by one."""
        told: dict[str, Any] = {"schema": SCHEMA}
        for key, value in _plain(asdict(replace(self, packets=[]))).items():
            told |= value if key == "flows" else {key: value}
        return told

    def packets_json(self) -> Iterator[dict[str, Any]]:
        """What belongs into ``packets``."""
        return (asdict(row) for row in self.packets)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.rstrip("_"): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
