"""What the kernel counted, and how namespaces stood, when a capture began and when it ended.

One frozen dataclass a kind of row; `NamespaceEvidence` holds what one namespace told at one moment,
`KernelEvent` what changed in between. Rows hold numbers, texts and booleans only, so that each kind
is written and read in one way (`analyzer.recorders.evidence.record`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

MOST_ROWS = 4096
"""of one kind, in one namespace: what is beyond is counted"""


@dataclass(frozen=True, slots=True)
class LinkState:
    """One device."""

    ifindex: int = 0
    name: str = ""
    kind: str = ""
    mac: str = ""
    mtu: int = 0
    up: bool = False
    running: bool = False
    master: int = 0
    rp_filter: int = 0
    """sysctls of the device, from here on"""
    arp_ignore: int = 0
    proxy_arp: bool = False
    route_localnet: bool = False
    accept_ra: int = 0
    disable_ipv6: bool = False


@dataclass(frozen=True, slots=True)
class PortState:
    """A bridge's port, as ``bridge -d link`` shows it."""

    ifindex: int = 0
    bridge: int = 0
    """ifindex"""
    state: str = ""
    """forwarding, disabled, blocking …"""
    learning: bool = False
    flood: bool = False
    mcast_flood: bool = False
    bcast_flood: bool = False
    hairpin: bool = False
    isolated: bool = False
    locked: bool = False
    proxy_arp: bool = False
    neigh_suppress: bool = False
    bpdu_guard: bool = False
    mcast_router: int = 0


@dataclass(frozen=True, slots=True)
class BridgeState:
    """A bridge device."""

    ifindex: int = 0
    stp: bool = False
    vlan_filtering: bool = False
    mcast_snooping: bool = False
    mcast_querier: bool = False
    ageing_cs: int = 0
    """hundredths of a second after which what was learned is forgotten"""


@dataclass(frozen=True, slots=True)
class FdbState:
    """Where a bridge or a VXLAN device sends a MAC."""

    ifindex: int = 0
    """the port, or the VXLAN device"""
    bridge: int = 0
    """ifindex; 0: the device's own table"""
    mac: str = ""
    vlan: int = 0
    destination: str = ""
    """of a VXLAN device: the far end's address"""
    vni: int = 0
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class MdbState:
    """A port that gets a multicast group."""

    bridge: int = 0
    port: int = 0
    group: str = ""
    vlan: int = 0
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class Membership:
    """A device whose stack takes a multicast group."""

    interface: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class AddressState:
    """One address."""

    ifindex: int = 0
    address: str = ""
    """with prefix length"""
    flags: str = ""
    """dadfailed, tentative, deprecated, secondary, parted by blanks"""


@dataclass(frozen=True, slots=True)
class RouteState:
    """One route, of any table but ``local``."""

    family: int = 0
    table: int = 0
    kind: str = ""
    """unicast, blackhole, unreachable, prohibit …"""
    destination: str = ""
    """with prefix length; ``default``"""
    gateway: str = ""
    ifindex: int = 0
    source: str = ""
    metric: int = 0
    protocol: int = 0
    nexthops: int = 1
    """of a multipath route: how many, of which the first is told here"""


@dataclass(frozen=True, slots=True)
class RoutingRule:
    """One line of ``ip rule``."""

    family: int = 0
    priority: int = 0
    source: str = ""
    destination: str = ""
    incoming: str = ""
    outgoing: str = ""
    mark: int = 0
    table: int = 0
    action: int = 0


@dataclass(frozen=True, slots=True)
class NeighbourState:
    """One entry of the ARP or ND table."""

    ifindex: int = 0
    address: str = ""
    mac: str = ""
    state: str = ""
    """reachable, stale, failed …"""


@dataclass(frozen=True, slots=True)
class SocketState:
    """A TCP socket that listens, or a UDP socket."""

    protocol: str = ""
    address: str = ""
    port: int = 0
    ifindex: int = 0
    """that it is bound to"""
    inode: int = 0
    queue: int = 0
    """connections that wait to be accepted; bytes that wait to be read"""
    limit: int = 0
    """connections that may wait; bytes of the receive buffer"""
    drops: int = 0
    """what it had no room for, since it is there"""


@dataclass(frozen=True, slots=True)
class QdiscState:
    """One queueing discipline."""

    ifindex: int = 0
    kind: str = ""
    handle: int = 0
    parent: int = 0
    packets: int = 0
    dropped: int = 0
    overlimits: int = 0
    backlog_bytes: int = 0
    queued: int = 0
    """packets that wait"""
    rate_bit_s: int = 0
    """of a tbf; 0: not told"""

    @property
    def is_root(self) -> bool:
        return self.parent == TC_ROOT


TC_ROOT = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class TcFilter:
    """A filter of traffic control."""

    ifindex: int = 0
    parent: int = 0
    kind: str = ""
    protocol: int = 0
    priority: int = 0
    chain: int = 0


@dataclass(frozen=True, slots=True)
class Setting:
    """A sysctl."""

    name: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All rules that one tool prints, with their counters."""

    tool: str = ""
    text: str = ""
    cut: bool = False
    """there was more"""


@dataclass(frozen=True, slots=True)
class NamespaceEvidence:
    """Of one namespace at one moment. A kind that could not be read is in ``absent``."""

    netns: int
    cookie: int
    """which of the namespaces with this inode number; 0 where the kernel does not tell"""
    at_start: bool
    ts_ns: int
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
    filters: Sequence[TcFilter] = ()
    settings: Sequence[Setting] = ()
    rulesets: Sequence[Ruleset] = ()
    truncated: Mapping[str, int] = field(default_factory=dict)
    """kind → rows that were left out"""
    absent: Mapping[str, str] = field(default_factory=dict)
    """source → why it was not read"""

    def link_name(self, ifindex: int) -> str:
        return next((one.name for one in self.links if one.ifindex == ifindex), "")


@dataclass(frozen=True, slots=True)
class KernelEvent:
    """Something that changed while the capture ran."""

    ts_ns: int = 0
    """when it was heard of: a moment after it was so"""
    netns: int = 0
    """0: of the engine"""
    what: str = ""
    """link, port, address, route, neighbour, nftables, container, network"""
    action: str = ""
    """new, gone, changed; of a container: pause, unpause, die …"""
    subject: str = ""
    """the interface, the address, the destination, the chain, the container"""
    detail: str = ""
    ifindex: int = 0


@dataclass(frozen=True, slots=True)
class Span:
    """One namespace at both ends of a capture."""

    start: NamespaceEvidence
    end: NamespaceEvidence

    def grown(self, name: str) -> int:
        """By how much a counter grew; 0 where it was not read at both ends, or set back."""
        source = counter_source(name)
        if source in self.start.absent or source in self.end.absent:
            return 0
        return max(self.end.counters.get(name, 0) - self.start.counters.get(name, 0), 0)


@dataclass(frozen=True, slots=True)
class Evidence:
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
