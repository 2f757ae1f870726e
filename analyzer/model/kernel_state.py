"""Rows of what one namespace told of itself at one moment: one frozen Struct a kind.

They hold numbers, texts and booleans only, so that each kind is written and read in one way
(`analyzer.recorders.evidence.record`).
"""

from __future__ import annotations

from msgspec import Struct


class LinkState(Struct, frozen=True):
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
    noarp: bool = False
    """``ip link set arp off``: it neither asks nor answers"""


class PortState(Struct, frozen=True):
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


class BridgeState(Struct, frozen=True):
    """A bridge device."""

    ifindex: int = 0
    stp: bool = False
    vlan_filtering: bool = False
    mcast_snooping: bool = False
    mcast_querier: bool = False
    ageing_cs: int = 0
    """hundredths of a second after which what was learned is forgotten"""


class FdbState(Struct, frozen=True):
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


class MdbState(Struct, frozen=True):
    """A port that gets a multicast group."""

    bridge: int = 0
    port: int = 0
    group: str = ""
    vlan: int = 0
    permanent: bool = False


class Membership(Struct, frozen=True):
    """A device whose stack takes a multicast group."""

    interface: str = ""
    group: str = ""


class AddressState(Struct, frozen=True):
    """One address."""

    ifindex: int = 0
    address: str = ""
    """with prefix length"""
    flags: str = ""
    """dadfailed, tentative, deprecated, secondary, parted by blanks"""


class RouteState(Struct, frozen=True):
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


class RoutingRule(Struct, frozen=True):
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


class NeighbourState(Struct, frozen=True):
    """One entry of the ARP or ND table."""

    ifindex: int = 0
    address: str = ""
    mac: str = ""
    state: str = ""
    """reachable, stale, failed …"""


class SocketState(Struct, frozen=True):
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


class QdiscState(Struct, frozen=True):
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
    limit_bytes: int = 0
    """that a tbf lets wait; 0: not told"""

    @property
    def is_root(self) -> bool:
        return self.parent == TC_ROOT


TC_ROOT = 0xFFFFFFFF


class ClassState(Struct, frozen=True):
    """One class of a queueing discipline, as ``tc -s class`` shows it."""

    ifindex: int = 0
    kind: str = ""
    classid: int = 0
    parent: int = 0
    packets: int = 0
    dropped: int = 0
    overlimits: int = 0
    backlog_bytes: int = 0
    queued: int = 0
    rate_bit_s: int = 0
    """of an htb; 0: not told"""
    ceil_bit_s: int = 0
    """that it may borrow up to"""


class TcFilter(Struct, frozen=True):
    """A filter of traffic control."""

    ifindex: int = 0
    parent: int = 0
    kind: str = ""
    protocol: int = 0
    priority: int = 0
    chain: int = 0


class Setting(Struct, frozen=True):
    """A sysctl."""

    name: str = ""
    value: str = ""


class Ruleset(Struct, frozen=True):
    """All rules that one tool prints, with their counters."""

    tool: str = ""
    text: str = ""
    cut: bool = False
    """there was more"""
