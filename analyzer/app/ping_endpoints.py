"""The two ends of a ping: a container, the host or an address, found in the topology."""

from __future__ import annotations

import ipaddress

from msgspec import Struct

from analyzer.errors import UsageProblem
from analyzer.model.topology import Container, Topology
from analyzer.topology.vantages import find_container

HOST = "host"


class End(Struct, frozen=True):
    """One end: where it is, or, for an address beyond this host, only what it is called."""

    name: str
    netns: int = 0
    """0: not a namespace that we know"""
    container: Container | None = None
    address: str = ""


def find_end(topology: Topology, word: str, *, address: bool = False) -> End:
    """The end that a word of the command line names.

    Raises UsageProblem where no running container is called so, or several are.
    """
    if word == HOST:
        return End(HOST, topology.host_netns)
    if address and (literal := _address(word)):
        _refuse_own(literal)
        return _owner_of(topology, literal) or End(literal, address=literal)
    container = find_container(topology, word)
    if container.netns == topology.host_netns:
        return End(container.name, topology.host_netns)
    if not container.netns or container.netns not in topology.netns_paths:
        raise UsageProblem(f"{container.name} has no network namespace that can be entered")
    return End(container.name, container.netns, topology.owner(container.netns) or container)


def _address(word: str) -> str:
    try:
        return str(ipaddress.ip_address(word))
    except ValueError:
        return ""


def _refuse_own(address: str) -> None:
    """Raises UsageProblem where an address is that of whoever speaks to it."""
    own = ipaddress.ip_address(address)
    if own.is_loopback or own.is_unspecified:
        raise UsageProblem(
            f"{address} is everybody's own address: packets to it go over lo and cross no veth; "
            "choose another DST"
        )


def _owner_of(topology: Topology, address: str) -> End | None:
    """The container or host that an address belongs to, if exactly one does."""
    owners = {
        i.netns
        for i in topology.interfaces
        if address in [a.partition("/")[0] for a in i.addresses]
    }
    if len(owners) != 1:
        return None
    netns = owners.pop()
    if netns == topology.host_netns:
        return End(HOST, netns, address=address)
    owner = topology.owner(netns)
    return End(owner.name, netns, owner, address) if owner else None


def choose_address(topology: Topology, source: End, destination: End) -> str:
    """The destination's address to ping: one that shares a network with the source.

    Raises UsageProblem where the destination has none.
    """
    if destination.address:
        return destination.address
    addresses = _addresses(topology, destination)
    if not addresses:
        raise UsageProblem(
            f"{destination.name} has no address (network none?): connect it to a network first"
        )
    near = (a for a in addresses if is_near(topology, source, a))
    return next(near, addresses[0]).partition("/")[0]


def is_near(topology: Topology, source: End, address: str) -> bool:
    """Whether an address lies in a network that the source is connected to."""
    wanted = ipaddress.ip_interface(address).ip
    ours = (ipaddress.ip_interface(a).network for a in _addresses(topology, source))
    return any(wanted in network for network in ours)


def _addresses(topology: Topology, end: End) -> list[str]:
    """Addresses with prefix length but link-local ones, IPv4 first; bridges' before others'."""
    addresses = [
        address
        for i in sorted(topology.interfaces, key=lambda i: (i.kind != "bridge", i.ifindex))
        if i.netns == end.netns and i.name != "lo"
        for address in i.addresses
        if not ipaddress.ip_interface(address).ip.is_link_local
    ]
    return sorted(addresses, key=lambda a: ":" in a)
