"""The topology as the JSON object that ``topology --json`` prints. Pure."""

from __future__ import annotations

from typing import Any

from analyzer.model.topology import Container, Interface, Topology
from analyzer.topology.relations import (
    bridge_of,
    container_of,
    interfaces_of,
    is_host,
    network_of,
    other_end,
)

SCHEMA = "vethscope/topology/1"


def to_json(topology: Topology) -> dict[str, Any]:
    """One object: schema, engine, bridges, containers, veths, uplinks, sysctls, warnings."""
    host = interfaces_of(topology, topology.host_netns)
    return {
        "schema": SCHEMA,
        "engine": topology.engine,
        "netns": topology.host_netns,
        "bridges": [_bridge(topology, i) for i in host if i.kind == "bridge"],
        "containers": [_container(topology, c) for c in topology.containers],
        "veths": [_veth(topology, i) for i in host if i.kind == "veth"],
        "uplinks": [_device(topology.by_key[key]) for key in topology.uplinks],
        "sysctls": dict(topology.sysctls),
        "warnings": list(topology.warnings),
    }


def _device(interface: Interface) -> dict[str, Any]:
    return {
        "name": interface.name,
        "ifindex": interface.ifindex,
        "mac": interface.mac,
        "addresses": list(interface.addresses),
        "kind": interface.kind,
        "up": interface.up,
        "mtu": interface.mtu,
    }


def _bridge(topology: Topology, bridge: Interface) -> dict[str, Any]:
    ports = {port.ifindex: port.name for port in topology.ports(bridge.key)}
    entries = [e for e in topology.fdb if (e.netns, e.bridge_ifindex) == bridge.key]
    return {
        **_device(bridge),
        "network": network_of(topology, bridge),
        "promiscuous": bridge.promiscuous,
        "ports": list(ports.values()),
        "fdb": [
            {
                "mac": e.mac,
                "port": ports.get(e.port_ifindex, bridge.name),
                "vlan": e.vlan,
                "local": e.local,
            }
            for e in entries
        ],
    }


def _container(topology: Topology, container: Container) -> dict[str, Any]:
    seen = container.running and container.netns != topology.host_netns
    interfaces = interfaces_of(topology, container.netns) if seen else []
    return {
        "name": container.name,
        "id": container.id,
        "pid": container.pid,
        "netns": container.netns,
        "running": container.running,
        "shares": container.shares,
        "networks": [a.network for a in container.networks],
        "interfaces": [_inside(topology, i) for i in interfaces],
    }


def _inside(topology: Topology, interface: Interface) -> dict[str, Any]:
    end = other_end(topology, interface)
    bridge = bridge_of(topology, interface)
    return {
        **_device(interface),
        "peer": end.name if end else None,
        "peer_ifindex": end.ifindex if end else None,
        "network": network_of(topology, interface),
        "bridge": bridge.name if bridge else "",
    }


def _veth(topology: Topology, interface: Interface) -> dict[str, Any]:
    end = other_end(topology, interface)
    owner = container_of(topology, interface)
    bridge = topology.by_key.get(interface.bridge_key) if interface.bridge_key else None
    return {
        **_device(interface),
        "peer": end.name if end else None,
        "peer_ifindex": end.ifindex if end else None,
        "peer_netns": end.netns if end and not is_host(topology, end) else None,
        "bridge": bridge.name if bridge else "",
        "container": owner.name if owner else "",
        "qdisc": interface.qdisc,
        "state": interface.port_state,
    }
