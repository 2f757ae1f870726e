"""Describe an interface as a vantage: everything that analysis will want to know of it. Pure."""

from __future__ import annotations

from analyzer.model.topology import Attachment, Interface, Topology
from analyzer.model.vantage import Role, Vantage
from analyzer.topology.relations import (
    bridge_of,
    container_of,
    is_host,
    lower_of,
    network_of,
    other_end,
    speaker_behind,
    vantage_name,
)
from analyzer.topology.resolve import PAIRED

_SOFTWARE_KINDS = frozenset({"", "bond", "team", "dummy"})
"""Kinds that stand for the host itself: real devices (no kind) and what bundles them."""


def role_of(topology: Topology, interface: Interface) -> Role:
    """What an interface is in the picture of one container host."""
    if not is_host(topology, interface):
        return Role.CONTAINER if topology.owner(interface.netns) else Role.OTHER
    if interface.kind == "bridge":
        return Role.BRIDGE
    if interface.key in topology.uplinks:
        return Role.UPLINK
    if interface.kind in PAIRED:
        end = other_end(topology, interface)
        return Role.OTHER if end is not None and is_host(topology, end) else Role.HOST_VETH
    return Role.HOST if interface.kind in _SOFTWARE_KINDS else Role.OTHER


def describe_vantage(topology: Topology, interface: Interface) -> Vantage:
    """The vantage of an interface. ``ring`` is left to the capture."""
    end = other_end(topology, interface)
    lower = lower_of(topology, interface)
    bridge = bridge_of(topology, interface)
    owner = container_of(topology, interface)
    sharing = topology.sharing(owner.netns)[1:] if owner else ()
    speaker = speaker_behind(topology, interface)
    attachment = speaker[1] if speaker else Attachment("")
    return Vantage(
        name=vantage_name(topology, interface),
        interface=interface.name,
        role=role_of(topology, interface),
        netns=interface.netns,
        ifindex=interface.ifindex,
        kind=interface.kind,
        mac=interface.mac,
        addresses=interface.addresses,
        mtu=interface.mtu,
        qdisc=interface.qdisc,
        container=owner.name if owner else "",
        container_id=owner.id if owner else "",
        paused=bool(owner and owner.paused),
        sharing=tuple(c.name for c in sharing),
        network=network_of(topology, interface),
        peer=vantage_name(topology, end) if end else "",
        peer_mac=end.mac if end else attachment.mac,
        peer_addresses=end.addresses if end else attachment.addresses,
        peer_netns=end.netns if end else 0,
        peer_ifindex=end.ifindex if end else 0,
        bridge=bridge.name if bridge else "",
        master_ifindex=interface.master_ifindex or 0,
        lower=vantage_name(topology, lower) if lower else "",
        lower_netns=lower.netns if lower else 0,
        lower_ifindex=lower.ifindex if lower else 0,
        vni=interface.vni or 0,
        promiscuous=interface.promiscuous,
        fdb=_fdb(topology, interface),
    )


def _fdb(topology: Topology, bridge: Interface) -> tuple[tuple[str, int], ...]:
    """(mac, port) of a bridge. The ports' own MACs lead up to the host, not out of the port."""
    entries = {
        (e.mac, e.port_ifindex): None
        for e in topology.fdb
        if (e.netns, e.bridge_ifindex) == bridge.key and not e.local
    }
    return tuple(entries)
