"""What the kernel counted, and how namespaces stood, when a capture began and when it ended.

`NamespaceEvidence` holds what one namespace told at one moment (rows of
`analyzer.model.kernel_state`), `KernelEvent` what changed in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct, field

from analyzer.model.kernel_state import (
    AddressState,
    BridgeState,
    ClassState,
    FdbState,
    LinkState,
    MdbState,
    Membership,
    NeighbourState,
    PortState,
    QdiscState,
    RouteState,
    RoutingRule,
    Ruleset,
    Setting,
    SocketState,
    TcFilter,
)

MOST_ROWS = 4096
"""of one kind, in one namespace: what is beyond is counted"""


class NamespaceEvidence(Struct, frozen=True):
    """Of one namespace at one moment. A kind that could not be read is in ``absent``."""

    netns: int
    cookie: int
    """which of the namespaces with this inode number; 0 where the kernel does not tell"""
    at_start: bool
    ts_ns: int
    """when reading began"""
    counters: Mapping[str, int] = field(default_factory=dict)
    """as ``nstat`` names them, and ``conntrack.…``; those that are zero are left out"""
    links: Sequence[LinkState] = ()
    ports: Sequence[PortState] = ()
    bridges: Sequence[BridgeState] = ()
    fdb: Sequence[FdbState] = ()
    mdb: Sequence[MdbState] = ()
    memberships: Sequence[Membership] = ()
    addresses: Sequence[AddressState] = ()
    routes: Sequence[RouteState] = ()
    rules: Sequence[RoutingRule] = ()
    neighbours: Sequence[NeighbourState] = ()
    sockets: Sequence[SocketState] = ()
    qdiscs: Sequence[QdiscState] = ()
    classes: Sequence[ClassState] = ()
    filters: Sequence[TcFilter] = ()
    settings: Sequence[Setting] = ()
    rulesets: Sequence[Ruleset] = ()
    truncated: Mapping[str, int] = field(default_factory=dict)
    """kind → rows that were left out"""
    absent: Mapping[str, str] = field(default_factory=dict)
    """source → why it was not read"""
    reading_ns: int = 0
    """how long it took: what changed meanwhile may be read, or not; 0: a file does not tell"""

    def link_name(self, ifindex: int) -> str:
        return next((one.name for one in self.links if one.ifindex == ifindex), "")


class KernelEvent(Struct, frozen=True):
    """Something that changed while the capture ran."""

    ts_ns: int = 0
    """when it was heard of: a moment after it was so"""
    netns: int = 0
    """0: of the engine"""
    what: str = ""
    """link, port, address, route, neighbour, fdb, mdb, sysctl, nftables, x_tables (the legacy
    packet filter), container, network"""
    action: str = ""
    """new, gone, changed; of a container: pause, unpause, die …"""
    subject: str = ""
    """the interface, the address, the destination, the chain, the container, the sysctl (of a
    device, which ifindex tells: ``ipv4 rp_filter``), the MAC, the group"""
    detail: str = ""
    ifindex: int = 0
    since_ns: int = 0
    """where it was not told but looked for: when it was known to be otherwise for the last time"""
    bridge: int = 0
    """of a MAC: the ifindex of the bridge that has it in its table; 0: not told"""


class Span(Struct, frozen=True):
    """One namespace at both ends of a capture."""

    start: NamespaceEvidence
    end: NamespaceEvidence

    def grown(self, name: str) -> int:
        """By how much a counter grew; 0 where it was not read at both ends, or set back."""
        source = counter_source(name)
        if source in self.start.absent or source in self.end.absent:
            return 0
        return max(self.end.counters.get(name, 0) - self.start.counters.get(name, 0), 0)


class Evidence(Struct, frozen=True):
    """All that the files tell of it."""

    moments: Sequence[NamespaceEvidence] = ()
    events: Sequence[KernelEvent] = ()
    """in order of time"""
    missed: int = 0
    """events beyond the number that is kept, and times that the kernel had no room for more"""
    absent: Mapping[str, str] = field(default_factory=dict)
    """source of events → why it was not listened to"""

    def spans(self) -> Iterator[Span]:
        """Namespaces of which both ends are known, in order of the start."""
        ends = {(one.netns, one.cookie): one for one in self.moments if not one.at_start}
        for start in self.moments:
            end = ends.get((start.netns, start.cookie))
            if start.at_start and end is not None and end.ts_ns >= start.ts_ns:
                yield Span(start, end)

    def at_end(self) -> Iterator[NamespaceEvidence]:
        """Each namespace as it was told of last."""
        last = {(one.netns, one.cookie): one for one in sorted(self.moments, key=_time)}
        yield from last.values()


def _time(moment: NamespaceEvidence) -> int:
    return moment.ts_ns


def counter_source(name: str) -> str:
    """Which file tells a counter."""
    if name.startswith("conntrack."):
        return "conntrack"
    if name.startswith(("TcpExt", "IpExt", "MPTcpExt")):
        return "netstat"
    return "snmp6" if name.startswith(("Ip6", "Icmp6", "Udp6", "UdpLite6")) else "snmp"
