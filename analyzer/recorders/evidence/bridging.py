"""Devices, bridges with their ports, and where bridges and VXLAN devices send frames.

Sources: linux/if_link.h, linux/if_bridge.h, linux/neighbour.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from analyzer.model.kernel_state import BridgeState, FdbState, LinkState, MdbState, PortState
from analyzer.net import rtnetlink
from analyzer.net.netlink import attribute_pairs, attributes, number_of
from analyzer.net.rtnetlink import RtnetlinkSocket
from analyzer.topology import netlink as links

BRPORT_GUARD, BRPORT_LEARNING, BRPORT_FLOOD, BRPORT_PROXY_ARP, BRPORT_ROUTER = 5, 8, 9, 10, 25
BRPORT_MCAST_FLOOD, BRPORT_BCAST_FLOOD, BRPORT_NEIGH_SUPPRESS, BRPORT_LOCKED = 27, 30, 32, 39
BR_AGEING, BR_STP, BR_SNOOPING, BR_QUERIER = 4, 5, 23, 25
IFLA_AF_SPEC, IFLA_INET_CONF, IFLA_INET6_CONF = 26, 1, 2
PROXY_ARP, RP_FILTER, ARP_IGNORE, ROUTE_LOCALNET = 2, 7, 18, 25
ACCEPT_RA, DISABLE_IPV6 = 3, 26
"""places in the list of a device's sysctls (linux/ip.h, counted from 0 here; linux/ipv6.h)"""
_CONF = struct.Struct("=30I")
NDA_DST, NDA_LLADDR, NDA_VLAN, NDA_VNI, NDA_MASTER = 1, 2, 5, 7, 9
MDBA_MDB, MDBA_ENTRY, MDBA_INFO = 1, 1, 1
_NDMSG = struct.Struct("=BxxxiHBB")
_PERMANENT = 0x80
_BR_PORT_MSG = struct.Struct("=BxxxI")
_MDB_ENTRY = struct.Struct("=IBBH16s2s")
"""port, state, flags, VLAN, address, protocol"""
_GROUP_FAMILIES = {b"\x08\x00": (socket.AF_INET, 4), b"\x86\xdd": (socket.AF_INET6, 16)}


class Devices(NamedTuple):
    """What one dump of all links tells."""

    links: list[LinkState]
    ports: list[PortState]
    bridges: list[BridgeState]

    @property
    def forwards_by_mac(self) -> bool:
        """Whether something here has a table of MACs."""
        return any(link.kind in ("bridge", "vxlan") for link in self.links)


def read_devices(netlink: RtnetlinkSocket) -> Devices:
    """All links of the socket's namespace. Raises OSError, as all here."""
    devices = Devices([], [], [])
    for body in links.dump_links(netlink):
        fields = links.link_attributes(body)
        facts = links.link_facts(body, fields)
        devices.links.append(_link(facts, fields))
        if facts.port_state:
            devices.ports.append(_port(facts, fields))
        if facts.kind == "bridge":
            devices.bridges.append(_bridge(facts.ifindex, fields))
    return devices


def _link(facts: links.LinkFacts, fields: dict[int, bytes]) -> LinkState:
    families = attributes(fields.get(IFLA_AF_SPEC, b""))
    four = _words(attributes(families.get(socket.AF_INET, b"")).get(IFLA_INET_CONF, b""))
    six = _words(attributes(families.get(socket.AF_INET6, b"")).get(IFLA_INET6_CONF, b""))
    return LinkState(
        ifindex=facts.ifindex,
        name=facts.name,
        kind=facts.kind,
        mac=facts.mac,
        mtu=facts.mtu,
        up=facts.up,
        running=facts.running,
        master=facts.master or 0,
        rp_filter=four[RP_FILTER],
        arp_ignore=four[ARP_IGNORE],
        proxy_arp=bool(four[PROXY_ARP]),
        route_localnet=bool(four[ROUTE_LOCALNET]),
        accept_ra=six[ACCEPT_RA],
        disable_ipv6=bool(six[DISABLE_IPV6]),
        noarp=facts.noarp,
    )


def _words(data: bytes) -> tuple[int, ...]:
    """32-bit numbers; zeros behind those that the kernel tells."""
    return _CONF.unpack_from(data.ljust(_CONF.size, b"\0"))


def _port(facts: links.LinkFacts, fields: dict[int, bytes]) -> PortState:
    info = attributes(fields.get(links.IFLA_LINKINFO, b""))
    flags = attributes(info.get(links.IFLA_INFO_SLAVE_DATA, b""))

    def is_set(kind: int) -> bool:
        return bool(number_of(flags.get(kind)))

    return PortState(
        ifindex=facts.ifindex,
        bridge=facts.master or 0,
        state=facts.port_state,
        learning=is_set(BRPORT_LEARNING),
        flood=is_set(BRPORT_FLOOD),
        mcast_flood=is_set(BRPORT_MCAST_FLOOD),
        bcast_flood=is_set(BRPORT_BCAST_FLOOD),
        hairpin=facts.hairpin,
        isolated=facts.isolated,
        locked=is_set(BRPORT_LOCKED),
        proxy_arp=is_set(BRPORT_PROXY_ARP),
        neigh_suppress=is_set(BRPORT_NEIGH_SUPPRESS),
        bpdu_guard=is_set(BRPORT_GUARD),
        mcast_router=number_of(flags.get(BRPORT_ROUTER)),
    )


def _bridge(ifindex: int, fields: dict[int, bytes]) -> BridgeState:
    info = attributes(fields.get(links.IFLA_LINKINFO, b""))
    data = attributes(info.get(links.IFLA_INFO_DATA, b""))
    return BridgeState(
        ifindex,
        stp=bool(number_of(data.get(BR_STP))),
        vlan_filtering=bool(number_of(data.get(links.IFLA_BR_VLAN_FILTERING))),
        mcast_snooping=bool(number_of(data.get(BR_SNOOPING))),
        mcast_querier=bool(number_of(data.get(BR_QUERIER))),
        ageing_cs=number_of(data.get(BR_AGEING)),
    )


def read_fdb(netlink: RtnetlinkSocket) -> Iterator[FdbState]:
    """Tables of bridges and VXLAN devices; what devices merely let in is left out."""
    request = struct.pack("=BxHiII", socket.AF_BRIDGE, 0, 0, 0, 0)
    for body in netlink.dump(rtnetlink.RTM_GETNEIGH, request):
        if entry := decode_fdb(body):
            yield entry


def decode_fdb(body: bytes) -> FdbState | None:
    """An RTM_NEWNEIGH body of the family AF_BRIDGE; None for those that are left out."""
    family, ifindex, state, _, _ = _NDMSG.unpack_from(body)
    options = attributes(body, _NDMSG.size)
    if family != socket.AF_BRIDGE or not (NDA_MASTER in options or NDA_DST in options):
        return None
    destination = options.get(NDA_DST, b"")
    ip = {4: socket.AF_INET, 16: socket.AF_INET6}.get(len(destination))
    return FdbState(
        ifindex,
        number_of(options.get(NDA_MASTER)),
        options.get(NDA_LLADDR, b"").hex(":"),
        number_of(options.get(NDA_VLAN)),
        socket.inet_ntop(ip, destination) if ip else "",
        number_of(options.get(NDA_VNI)),
        bool(state & _PERMANENT),
    )


def read_mdb(netlink: RtnetlinkSocket) -> list[MdbState]:
    """Which ports get which groups."""
    request = _BR_PORT_MSG.pack(socket.AF_BRIDGE, 0)
    bodies = netlink.dump(rtnetlink.RTM_GETMDB, request)
    return [entry for body in bodies for entry in decode_mdb(body)]


def decode_mdb(body: bytes) -> Iterator[MdbState]:
    """An RTM_GETMDB answer: entries nested in entries."""
    _, bridge = _BR_PORT_MSG.unpack_from(body)
    for entry in _inner([body[_BR_PORT_MSG.size :]], (MDBA_MDB, MDBA_ENTRY, MDBA_INFO)):
        if len(entry) < _MDB_ENTRY.size:
            continue
        port, state, _, vlan, address, protocol = _MDB_ENTRY.unpack_from(entry)
        family, size = _GROUP_FAMILIES.get(protocol, (0, 6))
        raw = address[:size]
        group = socket.inet_ntop(family, raw) if family else raw.hex(":")
        yield MdbState(bridge, port, group, vlan, bool(state))


def _inner(data: Sequence[bytes], kinds: Sequence[int]) -> Sequence[bytes]:
    """What stands in attributes of these kinds, one in the other."""
    for wanted in kinds:
        data = [value for one in data for kind, value in attribute_pairs(one) if kind == wanted]
    return data
