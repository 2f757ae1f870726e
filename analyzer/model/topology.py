"""Who is connected to whom: interfaces, containers, bridges, FDB.

Everything is keyed by ``(netns inode, ifindex)``: an ifindex alone repeats across
namespaces, and a name does too. A missing peer is a valid value (``None``): the other
end may live in a namespace that nobody let us look into.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TypeAlias

from msgspec import Struct, field

Key: TypeAlias = tuple[int, int]
"""(netns inode, ifindex): the identity of an interface on one machine."""


class Interface(Struct, frozen=True):
    """One network device in one network namespace, as rtnetlink shows it."""

    netns: int
    """inode number of the network namespace (``stat -L /proc/PID/ns/net``)"""
    ifindex: int
    name: str
    kind: str = ""
    """IFLA_INFO_KIND: veth, bridge, macvlan, vxlan …; empty for physical devices and lo"""
    mac: str = ""
    """lower-case, colons; empty where the device has none"""
    addresses: tuple[str, ...] = ()
    """with prefix length, IPv4 first: ``172.17.0.2/16``"""
    mtu: int = 0
    up: bool = False
    promiscuous: bool = False
    """IFLA_PROMISCUITY > 0"""
    qdisc: str = ""
    """root qdisc; egress taps sit after it, so anything but noqueue may hold frames back"""
    peer: Key | None = None
    """the other end of a veth pair; the parent of a macvlan/vlan; None where unknown"""
    master_ifindex: int | None = None
    """ifindex of the bridge (same namespace) that this interface is a port of"""
    port_state: str = ""
    """bridge port STP state: disabled, listening, learning, forwarding, blocking"""
    hairpin: bool = False
    isolated: bool = False
    vni: int | None = None
    """of a VXLAN device: its network identifier"""

    @property
    def key(self) -> Key:
        return (self.netns, self.ifindex)

    @property
    def bridge_key(self) -> Key | None:
        """Key of the bridge that this interface is a port of."""
        return None if self.master_ifindex is None else (self.netns, self.master_ifindex)


class Attachment(Struct, frozen=True):
    """A container's place in one network of the engine (Docker: ``NetworkSettings.Networks``)."""

    network: str
    mac: str = ""
    """as the engine tells it; never derived from the address (Engine 28 no longer does)"""
    addresses: tuple[str, ...] = ()
    """with prefix length"""
    gateway: str = ""
    bridge: str = ""
    """name of the bridge device of this network on the host; empty where there is none"""


class Container(Struct, frozen=True):
    """A container (or lab node, or other occupant of a namespace) as its engine tells it."""

    name: str
    id: str
    pid: int
    """0 where it has no process of its own (lab)"""
    netns: int
    """inode of its network namespace; 0 where it is not running"""
    networks: tuple[Attachment, ...] = ()
    shares: str = ""
    """'host', 'none', or the name of the container whose namespace it joined; else empty"""
    netns_path: str = ""
    """a path that setns can open: /proc/PID/ns/net, /proc/self/fd/N, /run/netns/NAME"""
    running: bool = True
    paused: bool = False
    """frozen: its processes do nothing, while the kernel goes on answering for it"""
    published: tuple[tuple[str, int, str, int], ...] = ()
    """(protocol, port inside, host address, host port) as the engine publishes them"""


class FdbEntry(Struct, frozen=True):
    """One line of ``bridge fdb``: frames for ``mac`` leave by ``port``."""

    netns: int
    bridge_ifindex: int
    port_ifindex: int
    mac: str
    vlan: int = 0
    local: bool = False
    """the port's own address (``permanent``): frames for it go up to the host"""


class Topology(Struct, frozen=True, dict=True):
    """All that was discovered at one moment, with relations resolved."""

    host_netns: int
    interfaces: tuple[Interface, ...] = ()
    containers: tuple[Container, ...] = ()
    fdb: tuple[FdbEntry, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """dotted name → value; only those on which a result depends"""
    netns_paths: Mapping[int, str] = field(default_factory=dict)
    """netns inode → a path that setns can open (host included)"""
    warnings: tuple[str, ...] = ()
    """what could not be read, one line each (a container that died meanwhile …)"""
    engine: str = ""
    """docker, lab, netns"""
    uplinks: tuple[Key, ...] = ()
    """interfaces of the host namespace that carry its default route"""

    @cached_property
    def by_key(self) -> dict[Key, Interface]:
        return {interface.key: interface for interface in self.interfaces}

    def owner(self, netns: int) -> Container | None:
        """The container that a namespace belongs to: the one that did not join another's."""
        inside = [c for c in self.containers if c.netns == netns and c.running]
        return next((c for c in inside if not c.shares), inside[0] if inside else None)

    def sharing(self, netns: int) -> tuple[Container, ...]:
        """All containers in a namespace, the owner first."""
        owner = self.owner(netns)
        rest = [c for c in self.containers if c.netns == netns and c.running and c is not owner]
        return (owner, *rest) if owner else ()

    def ports(self, bridge: Key) -> tuple[Interface, ...]:
        """The ports of a bridge, by ifindex."""
        ports = [i for i in self.interfaces if i.bridge_key == bridge]
        return tuple(sorted(ports, key=lambda i: i.ifindex))
