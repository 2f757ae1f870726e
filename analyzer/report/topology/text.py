"""Draw a topology as text: one bridge after the other, with what hangs on it.

::

    docker0  02:42:c7:e1:18:10  172.17.0.1/16  network bridge
      tomcat01  eth0@if5 ↔ veth7fdecc1@if2 ↔ docker0  id 5ada66532277
                02:42:ac:11:00:02  172.17.0.2/16
      FDB       02:42:ac:11:00:02 → veth7fdecc1 (tomcat01)
"""

from __future__ import annotations

from analyzer.formatting.sanitize import sanitize
from analyzer.model.topology import Container, Interface, Topology
from analyzer.report.topology.dot import render_dot
from analyzer.topology.relations import (
    bridge_of,
    container_of,
    interfaces_of,
    link_note,
    network_of,
    other_end,
    shown_addresses,
    speaker_behind,
)

__all__ = ["render_dot", "render_topology"]

_NAME_MOST = 24
"""Longer names push their own line to the right, not everybody's."""


def render_topology(topology: Topology) -> str:
    """The drawing, several lines without a newline at the end; safe for a terminal.

    In 80 columns unless names are longer than Docker's usual.
    """
    width = _width(topology)
    blocks = [
        _bridge_block(topology, bridge, width)
        for bridge in interfaces_of(topology, topology.host_netns)
        if bridge.kind == "bridge"
    ]
    blocks.append(_elsewhere(topology, width))
    blocks.append([_uplink_line(topology.by_key[key]) for key in topology.uplinks])
    blocks.append(_stopped(topology))
    text = "\n\n".join("\n".join(map(sanitize, block)) for block in blocks if block)
    return text or "no bridge and no container"


def _width(topology: Topology) -> int:
    names = [len(c.name) for c in topology.containers if c.running]
    return min(max(names, default=0), _NAME_MOST)


def _bridge_block(topology: Topology, bridge: Interface, width: int) -> list[str]:
    network = network_of(topology, bridge)
    head = [
        bridge.name,
        bridge.mac,
        *shown_addresses(bridge),
        f"network {network}" if network else "",
    ]
    lines = ["  ".join(filter(None, head))]
    ports = topology.ports(bridge.key)
    for port in sorted(ports, key=lambda p: (_owner_name(topology, p), p.ifindex)):
        lines += _port_lines(topology, bridge, port, width)
    if not ports:
        lines.append("  no ports")
    return lines + _fdb_lines(topology, bridge, width)


def _owner_name(topology: Topology, port: Interface) -> str:
    owner = container_of(topology, port)
    return owner.name if owner else ""


def _port_lines(topology: Topology, bridge: Interface, port: Interface, width: int) -> list[str]:
    """A port with what is at its other end: the pair, then MAC and addresses inside."""
    end = other_end(topology, port)
    owner = container_of(topology, port)
    state = "" if port.port_state in ("forwarding", "") else f"  {port.port_state}"
    if end is None:
        name = owner.name if owner else "?"
        how = f"  id {owner.id[:12]}, told by the FDB" if owner else ""
        return [f"  {name:<{width}}  {port.name} ↔ {bridge.name}{how}{state}"]
    chain = f"{end.name}@if{port.ifindex} ↔ {port.name}@if{end.ifindex} ↔ {bridge.name}"
    name = owner.name if owner else "?"
    short = f"  id {owner.id[:12]}" if owner and owner.id else ""
    lines = [f"  {name:<{width}}  {chain}{short}{state}"]
    lines.append(f"  {'':<{width}}  {'  '.join([end.mac, *shown_addresses(end)])}")
    if owner and (others := topology.sharing(owner.netns)[1:]):
        names = ", ".join(c.name for c in others)
        lines.append(f"  {'':<{width}}  shared by {names}")
    return lines


def _fdb_lines(topology: Topology, bridge: Interface, width: int) -> list[str]:
    """What the bridge has learned: which MAC is behind which port."""
    ports = {port.ifindex: port for port in topology.ports(bridge.key)}
    lines: list[str] = []
    for entry in topology.fdb:
        port = ports.get(entry.port_ifindex)
        of_bridge = (entry.netns, entry.bridge_ifindex) == bridge.key
        # Multicast addresses are subscriptions of the bridge itself, not places of anyone.
        if not of_bridge or entry.local or port is None or int(entry.mac[:2], 16) & 1:
            continue
        owner = _owner_name(topology, port)
        title = "" if lines else "FDB"
        whose = f" ({owner})" if owner else ""
        lines.append(f"  {title:<{width}}  {entry.mac} → {port.name}{whose}")
    return lines


def _elsewhere(topology: Topology, width: int) -> list[str]:
    """Running containers with no place on a bridge of the host: host, none, macvlan …"""
    lines = []
    for container in topology.containers:
        on_host = container.netns == topology.host_netns
        if container.running and (on_host or topology.owner(container.netns) is container):
            lines += _off_bridge(topology, container, width)
    return ["not on a bridge", *lines] if lines else []


def _off_bridge(topology: Topology, container: Container, width: int) -> list[str]:
    if container.netns == topology.host_netns:
        return [f"  {container.name:<{width}}  the host's own network  id {container.id[:12]}"]
    if not container.netns or ((paths := topology.netns_paths) and container.netns not in paths):
        heard = [speaker_behind(topology, port) for port in topology.interfaces]
        if container in [one[0] for one in heard if one]:
            return []
        return [f"  {container.name:<{width}}  may not be looked into  id {container.id[:12]}"]
    inside = interfaces_of(topology, container.netns)
    if not inside:
        return [f"  {container.name:<{width}}  no network interface  id {container.id[:12]}"]
    words = [
        (_link(topology, i), i.mac, *shown_addresses(i))
        for i in inside
        if bridge_of(topology, i) is None
    ]
    return [f"  {container.name:<{width}}  {'  '.join(line)}" for line in words]


def _link(topology: Topology, interface: Interface) -> str:
    """``eth0@if7 ↔ veth1@if2``, ``eth0 (macvlan on eth0)``, ``eth0 (veth, other end unknown)``."""
    end = other_end(topology, interface)
    if end is not None:
        return f"{interface.name}@if{end.ifindex} ↔ {end.name}@if{interface.ifindex}"
    return f"{interface.name} ({link_note(topology, interface)})"


def _uplink_line(uplink: Interface) -> str:
    return "  ".join(filter(None, [f"uplink {uplink.name}", uplink.mac, *shown_addresses(uplink)]))


def _stopped(topology: Topology) -> list[str]:
    names = [c.name for c in topology.containers if not c.running]
    return [f"not running: {', '.join(names)}"] if names else []
