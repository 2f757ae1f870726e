"""Where everything of a topology's picture stands: heights only, the columns are fixed.

Containers stand one below the other, each at the height of its first bridge; a bridge is as
tall as its containers, so that a pair is a straight line. Ports that belong to a container
which stands elsewhere, or to nobody known, follow below.
"""

from __future__ import annotations

from msgspec import Struct, field

from analyzer.model.topology import Container, Interface, Key, Topology
from analyzer.topology.relations import (
    bridge_of,
    interfaces_of,
    is_host,
    other_end,
    shown_addresses,
)

TOP = 76.0
HEAD, LINE, ROW = 28, 16, 38
"""heights of a box's title, of a line of text, of an interface with name and MAC"""
_FOOT, _GAP, _BETWEEN = 2, 10, 24
_FITS = {0: 24, 1: 20}
"""characters of an address that fit beside the name (line 0) and beside the MAC (line 1)"""


class Slot(Struct, frozen=True):
    """A box from top to bottom."""

    top: float
    bottom: float


class Layout(Struct):
    """Heights in the picture's units."""

    containers: dict[int, Slot] = field(default_factory=dict)
    """by the inode of their namespace"""
    bridges: dict[Key, Slot] = field(default_factory=dict)
    lone: dict[Key, Slot] = field(default_factory=dict)
    """the host's ends of pairs that are no ports"""
    uplinks: dict[Key, Slot] = field(default_factory=dict)
    hosted: Slot | None = None
    """the box of the containers in the host's own namespace"""
    rows: dict[Key, float] = field(default_factory=dict)
    """top of the lines of an interface inside, of a port, of a lone end"""
    bottom: float = TOP


def address_lines(interface: Interface, first: int = 0) -> list[tuple[int, str]]:
    """(line, address): each on the next line where it fits beside what stands on the left."""
    lines, line = [], first
    for address in shown_addresses(interface):
        while len(address) > _FITS.get(line, len(address)):
            line += 1
        lines.append((line, address))
        line += 1
    return lines


def head_height(interface: Interface) -> float:
    """Of a bridge or uplink: its title, then MAC and addresses from the second line on."""
    lines = [line for line, _ in address_lines(interface, 1)]
    return HEAD + LINE * max([1, *lines]) + 4


def container_head(topology: Topology, netns: int) -> float:
    """Its title, and a line where others share its namespace."""
    return HEAD + (LINE if len(topology.sharing(netns)) > 1 else 0)


def bridges_of_host(topology: Topology) -> list[Interface]:
    """All bridges, by ifindex."""
    return [i for i in interfaces_of(topology, topology.host_netns) if i.kind == "bridge"]


def hosted_names(topology: Topology) -> list[str]:
    """The running containers that have no namespace of their own but the host's."""
    return [c.name for c in topology.containers if c.running and c.netns == topology.host_netns]


def place(topology: Topology) -> Layout:
    """All boxes and rows of the picture."""
    layout, bottom = Layout(), TOP
    owners = _owners(topology)
    for bridge in bridges_of_host(topology):
        members = [c for c in owners if _first_bridge(topology, c) == bridge]
        bottom = _place_bridge(layout, topology, bridge, members) + _BETWEEN
        layout.bottom = bottom
    for container in owners:
        if container.netns not in layout.containers:
            layout.bottom = _place_container(layout, topology, container, layout.bottom) + _GAP
    if hosted_names(topology):
        layout.hosted = Slot(layout.bottom, layout.bottom + HEAD + LINE + 8)
        layout.bottom = layout.hosted.bottom + _GAP
    _place_lone(layout, topology)
    _place_uplinks(layout, topology)
    return layout


def _owners(topology: Topology) -> list[Container]:
    """The containers with a namespace of their own, by name."""
    own = [
        c
        for c in topology.containers
        if c.running and c.netns != topology.host_netns and topology.owner(c.netns) is c
    ]
    return sorted(own, key=lambda c: c.name)


def _first_bridge(topology: Topology, container: Container) -> Interface | None:
    bridges = (bridge_of(topology, i) for i in interfaces_of(topology, container.netns))
    return next((b for b in bridges if b is not None and is_host(topology, b)), None)


def _place_bridge(
    layout: Layout, topology: Topology, bridge: Interface, members: list[Container]
) -> float:
    """The bridge and its members; returns where both have ended."""
    top, rows = layout.bottom, layout.bottom + head_height(bridge)
    y, inside = rows, set()
    for container in members:
        head = container_head(topology, container.netns)
        y = _place_container(layout, topology, container, max(y - head, top)) + _GAP + head
        inside.add(container.netns)
    lowest = rows
    for port in topology.ports(bridge.key):
        end = other_end(topology, port)
        if end is not None and end.netns in inside:
            layout.rows[port.key] = layout.rows[end.key]
            lowest = max(lowest, layout.rows[end.key] + ROW)
    for port in topology.ports(bridge.key):
        if port.key not in layout.rows and port.key not in topology.uplinks:
            layout.rows[port.key] = lowest
            lowest += ROW
    layout.bridges[bridge.key] = Slot(top, lowest + _FOOT)
    ends = [layout.containers[netns].bottom for netns in inside]
    return max([lowest + _FOOT, *ends])


def _place_container(layout: Layout, topology: Topology, container: Container, top: float) -> float:
    """The box and its rows; returns its bottom."""
    y = top + container_head(topology, container.netns)
    inside = interfaces_of(topology, container.netns)
    for interface in inside:
        layout.rows[interface.key] = y
        y += ROW + LINE * max([0, *(line - 1 for line, _ in address_lines(interface))])
    bottom = y + _FOOT if inside else y + LINE + 8
    layout.containers[container.netns] = Slot(top, bottom)
    return bottom


def _place_lone(layout: Layout, topology: Topology) -> None:
    """Beside the container's interface: pairs that the host routes instead of bridging."""
    for interface in interfaces_of(topology, topology.host_netns):
        end = other_end(topology, interface)
        if interface.key in layout.rows or end is None or end.netns not in layout.containers:
            continue
        y = layout.rows[end.key]
        layout.rows[interface.key] = y
        layout.lone[interface.key] = Slot(y - 4, y + ROW)


def _place_uplinks(layout: Layout, topology: Topology) -> None:
    """From the top of the first bridge down; an uplink that is a bridge has its box already."""
    y = TOP
    for key in topology.uplinks:
        interface = topology.by_key.get(key)
        if interface is not None and key not in layout.bridges:
            layout.uplinks[key] = Slot(y, y + head_height(interface))
            y = layout.uplinks[key].bottom + _GAP
    layout.bottom = max(layout.bottom, y)
