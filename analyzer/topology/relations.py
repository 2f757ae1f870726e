"""Questions that several readers of a topology ask: whose, on which bridge, in which network."""

from __future__ import annotations

from analyzer.model.topology import Attachment, Container, Interface, Topology
from analyzer.topology.resolve import PAIRED

LOOPBACK = "lo"
STACKED = frozenset({"macvlan", "macvtap", "ipvlan", "ipvtap", "vlan"})
"""kinds of devices whose frames go through the device beneath as they are"""


def is_host(topology: Topology, interface: Interface) -> bool:
    """Whether it is in the namespace that has the bridges."""
    return interface.netns == topology.host_netns


def vantage_name(topology: Topology, interface: Interface) -> str:
    """``docker0`` on the host, ``tomcat01:eth0`` inside, ``netns4026532178:eth0`` elsewhere."""
    if is_host(topology, interface):
        return interface.name
    owner = topology.owner(interface.netns)
    return f"{owner.name if owner else f'netns{interface.netns}'}:{interface.name}"


def other_end(topology: Topology, interface: Interface) -> Interface | None:
    """The other end of a pair; a parent (of a macvlan, a VLAN) is none."""
    if interface.kind not in PAIRED or interface.peer is None:
        return None
    return topology.by_key.get(interface.peer)


def lower_of(topology: Topology, interface: Interface) -> Interface | None:
    """The device beneath a macvlan, an ipvlan or a VLAN: all its frames pass there, too."""
    if interface.kind not in STACKED or interface.peer is None:
        return None
    return topology.by_key.get(interface.peer)


def bridge_of(topology: Topology, interface: Interface) -> Interface | None:
    """The bridge that it, or its other end, is a port of."""
    for end in (interface, other_end(topology, interface)):
        if end is not None and end.bridge_key is not None:
            master = topology.by_key.get(end.bridge_key)
            if master is not None and master.kind == "bridge":
                return master
    return None


def container_of(topology: Topology, interface: Interface) -> Container | None:
    """Whose it is: of an interface inside, its owner; of a host veth, who is at the other end.

    Where the other end may not be looked into, the bridge's FDB may tell who speaks there.
    """
    inside = other_end(topology, interface) if is_host(topology, interface) else interface
    if inside is None:
        speaker = speaker_behind(topology, interface)
        return speaker[0] if speaker else None
    return None if is_host(topology, inside) else topology.owner(inside.netns)


def speaker_behind(topology: Topology, port: Interface) -> tuple[Container, Attachment] | None:
    """The container whose MAC, as its engine tells it, the bridge has learned at this port.

    Only of containers into whose namespace nobody let us look: of others the pair is known.
    None where that is nobody, or not one alone.
    """
    if not is_host(topology, port) or port.kind not in PAIRED or port.peer is not None:
        return None
    here = {e.mac for e in topology.fdb if (e.netns, e.port_ifindex) == port.key and not e.local}
    speakers = [
        (container, attachment)
        for container in topology.containers
        if container.running and container.netns not in topology.netns_paths
        for attachment in container.networks
        if attachment.mac in here
    ]
    return speakers[0] if len(speakers) == 1 else None


def attachment_of(topology: Topology, interface: Interface) -> Attachment | None:
    """The engine's network that an interface inside belongs to.

    Told by the MAC, then by an address, then by the bridge: a random MAC, a network without
    addresses and an engine that tells neither are all real.
    """
    networks = [a for c in topology.sharing(interface.netns) for a in c.networks]
    bridge = bridge_of(topology, interface)
    tests = (
        lambda a: bool(a.mac) and a.mac == interface.mac,
        lambda a: bool(set(a.addresses) & set(interface.addresses)),
        lambda a: bool(a.bridge) and bridge is not None and a.bridge == bridge.name,
    )
    for test in tests:
        matching = [a for a in networks if test(a)]
        if len(matching) == 1:
            return matching[0]
    return None


def network_of(topology: Topology, interface: Interface) -> str:
    """Name of the engine's network of an interface inside, a host veth or a bridge; else empty."""
    if interface.kind == "bridge" and is_host(topology, interface):
        names = {a.network for c in topology.containers for a in c.networks}
        bridges = {(a.network, a.bridge) for c in topology.containers for a in c.networks}
        return min((n for n in names if (n, interface.name) in bridges), default="")
    inside = other_end(topology, interface) if is_host(topology, interface) else interface
    if inside is None:
        speaker = speaker_behind(topology, interface)
        return speaker[1].network if speaker else ""
    if is_host(topology, inside):
        return ""
    attachment = attachment_of(topology, inside)
    return attachment.network if attachment else ""


def interfaces_of(topology: Topology, netns: int) -> list[Interface]:
    """All interfaces of a namespace but the loopback, by ifindex."""
    interfaces = [i for i in topology.interfaces if i.netns == netns and i.name != LOOPBACK]
    return sorted(interfaces, key=lambda i: i.ifindex)


def shown_addresses(interface: Interface) -> list[str]:
    """Addresses without the link-local ones, which every device has."""
    return [a for a in interface.addresses if not a.startswith("fe80:")]


def link_note(topology: Topology, interface: Interface) -> str:
    """What it is where it is no pair: ``macvlan on eth0``, ``veth, other end unknown``."""
    if other_end(topology, interface) is not None:
        return ""
    parent = topology.by_key.get(interface.peer) if interface.peer else None
    kind = interface.kind or "device"
    if parent is not None and is_host(topology, parent):
        return f"{kind} on {parent.name}"
    return f"{kind}, other end unknown"
