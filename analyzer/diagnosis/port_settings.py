"""What a bridge's ports were set to, and what its table held, by the recorded evidence.

Flags of ports (bridge(8), net/bridge/br_forward.c) and entries of the table drop nothing that a
tracepoint would tell: the frame is just not sent out of that port.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.kernel_state import FdbState, LinkState, PortState
from analyzer.model.vantage import Vantage

Explanation = tuple[str, str]
"""reason, advice"""


def explain_ports(
    last: Vantage, expected: Vantage, mac: str, protocol: str, moments: Sequence[NamespaceEvidence]
) -> Explanation | None:
    """Why a bridge did not send from one port out of another; None: no idea.

    mac: of the other port's container. protocol: ``arp`` is broadcast.
    """
    here = [one for one in moments if one.netns == expected.netns]
    return (
        _taken_off(expected, here)
        or _locked(last, here)
        or _own(expected, mac, here)
        or _not_flooded(expected, mac, protocol, here)
    )


def _taken_off(port: Vantage, moments: Sequence[NamespaceEvidence]) -> Explanation | None:
    links = list(_links(port, moments))
    if not links or not port.bridge:
        return None
    if not any(link.master for link in links):
        return (
            f"{port.interface} is no port of {port.bridge}",
            f"nothing goes from {port.bridge} to it: ip link set dev {port.interface} master "
            f"{port.bridge}",
        )
    if not any(link.up for link in links):
        return (
            f"{port.interface} is down",
            f"the port is not up: ip link set dev {port.interface} up",
        )
    return None


def _locked(last: Vantage, moments: Sequence[NamespaceEvidence]) -> Explanation | None:
    """A locked port takes frames only of MACs that the table has there."""
    ports = list(_ports(last, moments))
    if not ports or not all(port.locked for port in ports) or not last.peer_mac:
        return None
    if any(one.ifindex == last.ifindex for one in _entries(last, last.peer_mac, moments)):
        return None
    return (
        f"port {last.interface} is locked",
        f"it takes frames only of MACs that the table has there, and {last.peer_mac} is none: "
        f"bridge -d link show dev {last.interface}; bridge fdb show br {last.bridge}",
    )


def _own(port: Vantage, mac: str, moments: Sequence[NamespaceEvidence]) -> Explanation | None:
    """A permanent entry is a MAC of the bridge's own: frames for it go up to the host."""
    own = [one for one in _entries(port, mac, moments) if one.permanent]
    if not own:
        return None
    return (
        "the FDB has the MAC as the bridge's own",
        f"a permanent entry takes {mac} for an address of {port.bridge} itself, so frames for it "
        f"go to the host and not to {port.interface}: bridge fdb show br {port.bridge} | grep "
        f"{mac}",
    )


def _not_flooded(
    port: Vantage, mac: str, protocol: str, moments: Sequence[NamespaceEvidence]
) -> Explanation | None:
    ports = list(_ports(port, moments))
    if not ports:
        return None
    look = f"bridge -d link show dev {port.interface}"
    if protocol == "arp":
        if any(one.bcast_flood for one in ports):
            return None
        return (
            f"broadcast is not flooded to {port.interface}",
            f"the port's bcast_flood is off, so no ARP request comes to it: {look}; "
            f"bridge link set dev {port.interface} bcast_flood on",
        )
    if any(one.flood for one in ports) or any(True for _ in _entries(port, mac, moments)):
        return None
    return (
        f"unknown unicast is not flooded to {port.interface}",
        f"{port.bridge} does not know where {mac} lives, and the port's flood is off: {look}; "
        f"bridge link set dev {port.interface} flood on",
    )


def _links(vantage: Vantage, moments: Sequence[NamespaceEvidence]) -> Iterator[LinkState]:
    return (link for one in moments for link in one.links if link.ifindex == vantage.ifindex)


def _ports(vantage: Vantage, moments: Sequence[NamespaceEvidence]) -> Iterator[PortState]:
    return (port for one in moments for port in one.ports if port.ifindex == vantage.ifindex)


def _entries(port: Vantage, mac: str, moments: Sequence[NamespaceEvidence]) -> Iterator[FdbState]:
    """Of the bridge that this is a port of."""
    for one in moments:
        for entry in one.fdb:
            if entry.mac == mac and port.master_ifindex in (entry.bridge, entry.ifindex):
                yield entry
