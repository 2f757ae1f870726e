"""A topology as a graph in the DOT language, for Graphviz: containers, pairs, bridges, uplinks."""

from __future__ import annotations

from analyzer.formatting.sanitize import sanitize
from analyzer.model.topology import Container, Interface, Topology
from analyzer.topology.relations import (
    interfaces_of,
    is_host,
    network_of,
    other_end,
    shown_addresses,
)

_BRIDGE, _VETH, _UPLINK = "box3d", "box", "house"


def render_dot(topology: Topology) -> str:
    """An undirected graph; each container is a cluster with its interfaces. Ends with a newline."""
    lines = ["graph vethscope {", "  rankdir=LR;", '  node [shape=box, fontname="monospace"];']
    for container in topology.containers:
        if topology.owner(container.netns) is container and container.netns != topology.host_netns:
            lines += _cluster(topology, container)
    host = interfaces_of(topology, topology.host_netns)
    shown = [i for i in host if _shape(topology, i)]
    for interface in shown:
        network = network_of(topology, interface) if interface.kind == "bridge" else ""
        label = _label(interface, f"network {network}" if network else "")
        lines.append(f"  {_id(interface)} [shape={_shape(topology, interface)}, label={label}];")
    lines += _edges(topology, shown)
    return "\n".join([*lines, "}", ""])


def _shape(topology: Topology, interface: Interface) -> str:
    """How a device of the host is drawn; empty for one that has no part in this."""
    if interface.kind == "bridge":
        return _BRIDGE
    if interface.key in topology.uplinks:
        return _UPLINK
    return _VETH if interface.bridge_key or other_end(topology, interface) else ""


def _cluster(topology: Topology, container: Container) -> list[str]:
    names = [c.name for c in topology.sharing(container.netns)]
    title = _quote("\n".join(filter(None, [", ".join(names), container.id[:12]])))
    lines = [f"  subgraph cluster_{container.netns} {{", f"    label={title};"]
    for interface in interfaces_of(topology, container.netns):
        lines.append(f"    {_id(interface)} [label={_label(interface)}];")
    if len(lines) == 2:  # Graphviz draws no empty cluster
        lines.append(f'    none_{container.netns} [shape=plaintext, label="no interface"];')
    return [*lines, "  }"]


def _edges(topology: Topology, shown: list[Interface]) -> list[str]:
    lines = []
    for interface in shown:
        end = other_end(topology, interface)
        if end is not None and (not is_host(topology, end) or end.key < interface.key):
            lines.append(f"  {_id(end)} -- {_id(interface)};")
        master = topology.by_key.get(interface.bridge_key) if interface.bridge_key else None
        if master is not None:
            lines.append(f"  {_id(interface)} -- {_id(master)};")
    return lines


def _id(interface: Interface) -> str:
    return f"i{interface.netns}_{interface.ifindex}"


def _label(interface: Interface, more: str = "") -> str:
    lines = [interface.name, interface.mac, *shown_addresses(interface), more]
    return _quote("\n".join(filter(None, lines)))


def _quote(text: str) -> str:
    """A DOT string: lines sanitised one by one, quotes and backslashes escaped."""
    escaped = [sanitize(x).replace("\\", "\\\\").replace('"', '\\"') for x in text.split("\n")]
    return '"' + "\\n".join(escaped) + '"'
