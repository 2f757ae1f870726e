"""Addresses, routes, rules and neighbours of one network namespace, by rtnetlink.

Routes of the table ``local``, which follow from the addresses, are left out, and so are neighbours
that need no resolution (multicast). What is the same in many namespaces is decoded once. Sources:
linux/rtnetlink.h, linux/fib_rules.h, linux/neighbour.h, linux/if_addr.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from functools import lru_cache

from analyzer.model.kernel_state import AddressState, NeighbourState, RouteState, RoutingRule
from analyzer.native.words import padded
from analyzer.net import rtnetlink
from analyzer.net.netlink import attributes, number_of, text_of
from analyzer.net.rtnetlink import RtnetlinkSocket

_IFADDR = struct.Struct("=BBBBI")
"""family, prefix length, flags, scope, ifindex"""
_RTMSG = struct.Struct("=BBBBBBBBI")
"""family, length of destination and source, TOS, table, protocol, scope, type, flags"""
_NDMSG = struct.Struct("=BxxxiHBB")
"""family, ifindex, state, flags, type"""
_NEXTHOP_IFINDEX = struct.Struct("=HBBi")
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_MULTIPATH, RTA_TABLE, RTA_VIA = (
    1,
    4,
    5,
    6,
    7,
    9,
    15,
    18,
)
FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_PRIORITY, FRA_FWMARK, FRA_TABLE, FRA_OIFNAME = (
    1,
    2,
    3,
    6,
    10,
    15,
    17,
)
NDA_DST, NDA_LLADDR = 1, 2
ADDRESS_FLAGS = {
    0x01: "secondary",
    0x04: "optimistic",
    0x08: "dadfailed",
    0x20: "deprecated",
    0x40: "tentative",
}
ROUTE_KINDS = (
    "",
    "unicast",
    "local",
    "broadcast",
    "anycast",
    "multicast",
    "blackhole",
    "unreachable",
    "prohibit",
    "throw",
    "nat",
)
NEIGHBOUR_STATES = {
    0x00: "none",
    0x01: "incomplete",
    0x02: "reachable",
    0x04: "stale",
    0x08: "delay",
    0x10: "probe",
    0x20: "failed",
    0x40: "noarp",
    0x80: "permanent",
}
_NOARP, _CLONED, _TABLE_LOCAL = 0x40, 0x200, 255
_FAMILIES: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}
"""bytes of an address"""


def read_addresses(netlink: RtnetlinkSocket) -> Iterator[AddressState]:
    """Of the socket's namespace, as all here. Raises OSError, as all here."""
    request = _IFADDR.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    for body in netlink.dump(rtnetlink.RTM_GETADDR, request):
        if address := decode_address(body):
            yield address


@lru_cache(maxsize=1024)
def decode_address(body: bytes) -> AddressState | None:
    """An RTM_NEWADDR body; None where it is no IP address."""
    family, prefix, low, _, ifindex = _IFADDR.unpack_from(body)
    options = attributes(body, _IFADDR.size)
    flags = number_of(options.get(IFA_FLAGS)) | low
    words = " ".join(word for bit, word in ADDRESS_FLAGS.items() if flags & bit)
    address = _address(family, options.get(IFA_LOCAL, options.get(IFA_ADDRESS)))
    return AddressState(ifindex, f"{address}/{prefix}", words) if address else None


def read_routes(netlink: RtnetlinkSocket) -> Iterator[RouteState]:
    request = _RTMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0)
    for body in netlink.dump(rtnetlink.RTM_GETROUTE, request):
        if route := decode_route(body):
            yield route


@lru_cache(maxsize=1024)
def decode_route(body: bytes) -> RouteState | None:
    """An RTM_NEWROUTE body; None for those that are left out."""
    family, bits, _, _, table, protocol, _, kind, flags = _RTMSG.unpack_from(body)
    options = attributes(body, _RTMSG.size)
    table = number_of(options.get(RTA_TABLE)) or table
    if family not in _FAMILIES or table == _TABLE_LOCAL or flags & _CLONED:
        return None
    hops = list(_nexthops(options.get(RTA_MULTIPATH, b"")))
    first, gateways = hops[0] if hops else (number_of(options.get(RTA_OIF)), options)
    return RouteState(
        family=family,
        table=table,
        kind=ROUTE_KINDS[kind] if kind < len(ROUTE_KINDS) else str(kind),
        destination=_network(family, options.get(RTA_DST), bits) or "default",
        gateway=_gateway(family, gateways),
        ifindex=first,
        source=_address(family, options.get(RTA_PREFSRC)),
        metric=number_of(options.get(RTA_PRIORITY)),
        protocol=protocol,
        nexthops=max(len(hops), 1),
    )


def _gateway(family: int, found: dict[int, bytes]) -> str:
    """A gateway of the route's family, or of another one (RTA_VIA: family, address)."""
    if (via := found.get(RTA_VIA)) and len(via) > 2:
        return _address(number_of(via[:2]), via[2:])
    return _address(family, found.get(RTA_GATEWAY))


def _nexthops(data: bytes) -> Iterator[tuple[int, dict[int, bytes]]]:
    """(ifindex, attributes) of the struct rtnexthop list of a multipath route."""
    offset = 0
    while offset + _NEXTHOP_IFINDEX.size <= len(data):
        length, _, _, ifindex = _NEXTHOP_IFINDEX.unpack_from(data, offset)
        if length < _NEXTHOP_IFINDEX.size:
            return
        yield ifindex, attributes(data[: offset + length], offset + _NEXTHOP_IFINDEX.size)
        offset += padded(length)


def read_rules(netlink: RtnetlinkSocket) -> Iterator[RoutingRule]:
    request = _RTMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0)
    for body in netlink.dump(rtnetlink.RTM_GETRULE, request):
        rule = decode_rule(body)
        if rule.family in _FAMILIES:
            yield rule


@lru_cache(maxsize=1024)
def decode_rule(body: bytes) -> RoutingRule:
    """An RTM_NEWRULE body (fib_rule_hdr and attributes)."""
    family, bits, source_bits, _, table, _, _, action, _ = _RTMSG.unpack_from(body)
    options = attributes(body, _RTMSG.size)
    return RoutingRule(
        family=family,
        priority=number_of(options.get(FRA_PRIORITY)),
        source=_network(family, options.get(FRA_SRC), source_bits),
        destination=_network(family, options.get(FRA_DST), bits),
        incoming=text_of(options.get(FRA_IIFNAME)),
        outgoing=text_of(options.get(FRA_OIFNAME)),
        mark=number_of(options.get(FRA_FWMARK)),
        table=number_of(options.get(FRA_TABLE)) or table,
        action=action,
    )


def read_neighbours(netlink: RtnetlinkSocket) -> Iterator[NeighbourState]:
    request = _NDMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    for body in netlink.dump(rtnetlink.RTM_GETNEIGH, request):
        if neighbour := decode_neighbour(body):
            yield neighbour


def decode_neighbour(body: bytes) -> NeighbourState | None:
    """An RTM_NEWNEIGH body; None where it is none of IP, or needs no resolution."""
    family, ifindex, state, _, _ = _NDMSG.unpack_from(body)
    if family not in _FAMILIES or state & _NOARP:
        return None
    options = attributes(body, _NDMSG.size)
    mac = options.get(NDA_LLADDR, b"").hex(":")
    word = NEIGHBOUR_STATES.get(state, f"0x{state:02x}")
    return NeighbourState(ifindex, _address(family, options.get(NDA_DST)), mac, word)


def _address(family: int, raw: bytes | None) -> str:
    if raw is None or len(raw) != _FAMILIES.get(family):
        return ""
    return socket.inet_ntop(family, raw)


def _network(family: int, raw: bytes | None, bits: int) -> str:
    address = _address(family, raw)
    return f"{address}/{bits}" if address else ""
