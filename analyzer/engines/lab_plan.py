"""What a lab will look like, worked out before anything is built. Pure.

The picture is Docker's: the first network is ``bridge`` on docker0, 172.17.0.0/16, gateway .1;
containers get the addresses from .2 on in order, and a MAC that spells the address.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping

from msgspec import Struct, field

from analyzer.errors import UsageProblem
from analyzer.model.topology import Attachment

DEFAULT_NETWORK, DEFAULT_BRIDGE, DEFAULT_SUBNET = "bridge", "docker0", "172.17.0.0/16"
PORTS_MAX = 1000
"""The kernel lets a bridge have 1023 ports (net/bridge/br_private.h, BR_MAX_PORTS)."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class LabPlan(Struct, frozen=True):
    """What is asked for. `check` says what is wrong with it."""

    containers: int = 2
    """how many, named tomcat01, tomcat02 …"""
    macs: Mapping[str, str] = field(default_factory=dict)
    """container → MAC of its first interface, instead of the one that spells its address"""
    networks: Mapping[str, str] = field(default_factory=dict)
    """further networks: name → IPv4 subnet"""
    members: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """container → its networks, the one with the default route first; else just ``bridge``"""
    shares: Mapping[str, str] = field(default_factory=dict)
    """further container → the container whose namespace it joins"""

    def check(self) -> None:
        """Raises UsageProblem."""
        if not 1 <= self.containers <= PORTS_MAX:
            raise UsageProblem(f"a lab of {self.containers} containers: use 1 to {PORTS_MAX}")
        names = set(container_names(self.containers))
        for name in (*self.macs, *self.members, *self.shares.values()):
            if name not in names:
                raise UsageProblem(f"the lab has no container {name}: use {min(names)} and so on")
        defined = {DEFAULT_NETWORK, *self.networks}
        for name, networks in self.members.items():
            if unknown := set(networks) - defined:
                raise UsageProblem(f"{name}: no network {min(unknown)} in this lab")


class PlannedNetwork(Struct, frozen=True):
    """A bridge of the lab's host."""

    name: str
    bridge: str
    mac: str
    subnet: ipaddress.IPv4Network

    @property
    def gateway(self) -> str:
        return str(self.subnet[1])


class PlannedContainer(Struct, frozen=True):
    """A container of the lab, its attachments in the order eth0, eth1 …"""

    name: str
    id: str
    attachments: tuple[Attachment, ...]
    shares: str = ""

    def veth(self, number: int) -> str:
        """Name of the host end of its n-th interface: ``veth`` and 7 hex digits, as Docker's."""
        return "veth" + _digest(self.id, f"veth{number}")[:7]


def container_names(count: int) -> list[str]:
    return [f"tomcat{number:02d}" for number in range(1, count + 1)]


def plan_networks(seed: str, plan: LabPlan) -> dict[str, PlannedNetwork]:
    """Name → network; docker0's first. MACs and names follow from ``seed``."""
    networks = {}
    for name, subnet in {DEFAULT_NETWORK: DEFAULT_SUBNET, **plan.networks}.items():
        digest = _digest(seed, "network", name)
        bridge = DEFAULT_BRIDGE if name == DEFAULT_NETWORK else f"br-{digest[:12]}"
        mac = "02:42:" + bytes.fromhex(digest[-8:]).hex(":")
        networks[name] = PlannedNetwork(name, bridge, mac, ipaddress.IPv4Network(subnet))
    return networks


def plan_containers(seed: str, plan: LabPlan) -> list[PlannedContainer]:
    """All containers with their attachments; ids follow from ``seed``."""
    networks = plan_networks(seed, plan)
    taken = dict.fromkeys(networks, 1)
    containers = []
    for name in container_names(plan.containers):
        attachments: list[Attachment] = []
        for network in plan.members.get(name, (DEFAULT_NETWORK,)):
            taken[network] += 1
            mac = "" if attachments else plan.macs.get(name, "")
            attachments.append(_attachment(networks[network], taken[network], mac))
        containers.append(PlannedContainer(name, _digest(seed, name), tuple(attachments)))
    for name, owner in plan.shares.items():
        containers.append(PlannedContainer(name, _digest(seed, name), (), owner))
    return containers


def _attachment(network: PlannedNetwork, number: int, mac: str) -> Attachment:
    address = network.subnet[number]
    return Attachment(
        network=network.name,
        mac=mac.lower() or "02:42:" + address.packed.hex(":"),
        addresses=(f"{address}/{network.subnet.prefixlen}",),
        gateway=network.gateway,
        bridge=network.bridge,
    )


def _digest(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()
