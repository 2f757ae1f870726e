"""Read what one network namespace says of itself: links, addresses, FDB, default routes.

What is read here are bare facts of one namespace. Whose peer is whose is found out later,
from the facts of all of them (`analyzer.topology.resolve`).
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from analyzer.model.topology import FdbEntry
from analyzer.native.words import padded
from analyzer.net import rtnetlink
from analyzer.net.netlink import attributes, text_of
from analyzer.net.netns import SELF, netns_inode, run_inside
from analyzer.net.rtnetlink import RtnetlinkSocket

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_QDISC, IFLA_MASTER = 1, 3, 4, 5, 6, 10
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_EXT_MASK, IFLA_PROMISCUITY, IFLA_LINK_NETNSID = 18, 20, 29, 30, 37
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_VXLAN_ID, IFLA_BR_VLAN_FILTERING = 1, 7
IFLA_BRPORT_STATE, IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED = 1, 4, 33
IFA_ADDRESS, IFA_LOCAL = 1, 2
NDA_LLADDR, NDA_VLAN, NDA_MASTER = 2, 5, 9
RTA_OIF, RTA_MULTIPATH = 4, 9
RTEXT_FILTER_SKIP_STATS = 1 << 3
IFF_UP, IFF_RUNNING, IFF_NOARP = 0x1, 0x40, 0x80
NUD_PERMANENT, NTF_SELF = 0x80, 0x02
RT_TABLE_MAIN, RTN_UNICAST = 254, 1
BR_STATES = ("disabled", "listening", "learning", "forwarding", "blocking")

_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBI")
_NDMSG = struct.Struct("=BxxxiHBB")
_RTMSG = struct.Struct("=BBBBBBBBI")
_RTNEXTHOP = struct.Struct("=HBBi")


class LinkFacts(Struct, frozen=True):
    """One device as its own namespace's rtnetlink shows it."""

    ifindex: int
    name: str
    kind: str = ""
    mac: str = ""
    addresses: tuple[str, ...] = ()
    mtu: int = 0
    up: bool = False
    running: bool = False
    """IFF_RUNNING: up, and the other end is too"""
    noarp: bool = False
    """IFF_NOARP: it neither asks nor answers"""
    promiscuous: bool = False
    qdisc: str = ""
    alias: str = ""
    link: int | None = None
    """IFLA_LINK: ifindex of the peer or parent; may be missing where it equals our own"""
    link_nsid: int | None = None
    """IFLA_LINK_NETNSID: the peer's namespace, as *this* namespace numbers it"""
    master: int | None = None
    port_state: str = ""
    hairpin: bool = False
    isolated: bool = False
    vni: int | None = None
    """of a VXLAN device: its network identifier"""


class NamespaceFacts(Struct, frozen=True):
    """All that one namespace said."""

    netns: int
    links: tuple[LinkFacts, ...] = ()
    fdb: tuple[FdbEntry, ...] = ()
    default_routes: tuple[int, ...] = ()
    """ifindexes of the interfaces that carry a default route"""
    nsids: tuple[tuple[int, int], ...] = ()
    """(nsid, netns inode), for the namespaces that a link here points to"""


def read_namespace(fd: int, peers: Sequence[int] = (), *, routes: bool = False) -> NamespaceFacts:
    """Read one namespace, given as an open descriptor, from a thread inside it.

    ``peers`` are descriptors of the namespaces where peers may be, the likeliest first.
    Default routes are read only on demand. Raises EnvironmentProblem where setns is not
    permitted, OSError where the kernel refuses.
    """
    return run_inside(fd, _read, fd, list(peers), routes)


def read_bridge_tables() -> list[FdbEntry]:
    """The FDB of all bridges in the calling thread's namespace. Raises OSError."""
    with RtnetlinkSocket() as netlink:
        return _read_fdb(netlink, netns_inode(SELF))


def _read(fd: int, peers: list[int], routes: bool) -> NamespaceFacts:
    inode = netns_inode(fd)
    with RtnetlinkSocket() as netlink:
        addresses = _read_addresses(netlink)
        links = tuple(
            replace(link, addresses=tuple(addresses.get(link.ifindex, ())))
            for link in read_links(netlink)
        )
        wanted = {link.link_nsid for link in links if link.link_nsid is not None}
        has_bridge = any(link.kind == "bridge" for link in links)
        return NamespaceFacts(
            inode,
            links,
            tuple(_read_fdb(netlink, inode)) if has_bridge else (),
            tuple(_read_default_routes(netlink)) if routes else (),
            tuple(rtnetlink.nsids(netlink, wanted - {-1}, peers).items()),
        )


def read_links(netlink: RtnetlinkSocket) -> list[LinkFacts]:
    """All links of the socket's namespace, without their addresses. Raises OSError.

    Statistics are left out: they are the greater part of a link's message.
    """
    return [decode_link(body) for body in dump_links(netlink)]


def dump_links(netlink: RtnetlinkSocket) -> list[bytes]:
    """What `decode_link` takes, of all links. Raises OSError."""
    mask = struct.pack("=HHI", 8, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    request = _IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + mask
    return netlink.dump(rtnetlink.RTM_GETLINK, request)


def decode_link(body: bytes) -> LinkFacts:
    """An RTM_NEWLINK body (ifinfomsg and attributes) as facts."""
    return link_facts(body, link_attributes(body))


def link_attributes(body: bytes) -> dict[int, bytes]:
    """Those of an RTM_NEWLINK body."""
    return attributes(body, _IFINFO.size)


def link_facts(body: bytes, fields: dict[int, bytes]) -> LinkFacts:
    """Of an RTM_NEWLINK body with its `link_attributes`."""
    _, _, ifindex, flags, _ = _IFINFO.unpack_from(body)
    info = attributes(fields.get(IFLA_LINKINFO, b""))
    port = {}
    if info.get(IFLA_INFO_SLAVE_KIND, b"").rstrip(b"\0") == b"bridge":
        port = attributes(info.get(IFLA_INFO_SLAVE_DATA, b""))
    state = port.get(IFLA_BRPORT_STATE)
    return LinkFacts(
        ifindex=ifindex,
        name=text_of(fields.get(IFLA_IFNAME)),
        kind=text_of(info.get(IFLA_INFO_KIND)),
        mac=fields.get(IFLA_ADDRESS, b"").hex(":"),
        mtu=_number(fields.get(IFLA_MTU)) or 0,
        up=bool(flags & IFF_UP),
        running=bool(flags & IFF_RUNNING),
        noarp=bool(flags & IFF_NOARP),
        promiscuous=bool(_number(fields.get(IFLA_PROMISCUITY))),
        qdisc=text_of(fields.get(IFLA_QDISC)),
        alias=text_of(fields.get(IFLA_IFALIAS)),
        link=_number(fields.get(IFLA_LINK)),
        link_nsid=_number(fields.get(IFLA_LINK_NETNSID)),
        master=_number(fields.get(IFLA_MASTER)),
        port_state=BR_STATES[state[0]] if state and state[0] < len(BR_STATES) else "",
        hairpin=bool(_number(port.get(IFLA_BRPORT_MODE))),
        isolated=bool(_number(port.get(IFLA_BRPORT_ISOLATED))),
        vni=_vni(info),
    )


def _vni(info: dict[int, bytes]) -> int | None:
    if text_of(info.get(IFLA_INFO_KIND)) != "vxlan":
        return None
    return _number(attributes(info.get(IFLA_INFO_DATA, b"")).get(IFLA_VXLAN_ID))


def _number(value: bytes | None) -> int | None:
    """A native-endian integer of any width; signed, for IFLA_LINK_NETNSID may be -1."""
    return None if value is None else int.from_bytes(value, sys.byteorder, signed=True)


def _read_addresses(netlink: RtnetlinkSocket) -> dict[int, list[str]]:
    """ifindex → addresses with prefix length, IPv4 first."""
    by_link: dict[int, list[str]] = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        request = _IFADDR.pack(family, 0, 0, 0, 0)
        for body in netlink.dump(rtnetlink.RTM_GETADDR, request):
            got, prefix, _, _, ifindex = _IFADDR.unpack_from(body)
            fields = attributes(body, _IFADDR.size)
            raw = fields.get(IFA_LOCAL, fields.get(IFA_ADDRESS))
            # a kernel without IPv6 answers with the dump of another family
            if raw is not None and got == family:
                by_link.setdefault(ifindex, []).append(f"{socket.inet_ntop(family, raw)}/{prefix}")
    return by_link


def _read_fdb(netlink: RtnetlinkSocket, inode: int) -> list[FdbEntry]:
    """The bridges' own tables; the devices' filter lists (NTF_SELF) are not forwarding."""
    request = _IFINFO.pack(socket.AF_BRIDGE, 0, 0, 0, 0)
    bodies = netlink.dump(rtnetlink.RTM_GETNEIGH, request)
    return [entry for body in bodies if (entry := decode_fdb_entry(body, inode)) is not None]


def decode_fdb_entry(body: bytes, inode: int) -> FdbEntry | None:
    """An RTM_NEWNEIGH body (ndmsg and attributes) of a bridge's own table; None for others."""
    family, ifindex, state, flags, _ = _NDMSG.unpack_from(body)
    fields = attributes(body, _NDMSG.size)
    bridge = _number(fields.get(NDA_MASTER))
    if family != socket.AF_BRIDGE or bridge is None or flags & NTF_SELF:
        return None
    mac = fields.get(NDA_LLADDR, b"").hex(":")
    vlan = _number(fields.get(NDA_VLAN)) or 0
    return FdbEntry(inode, bridge, ifindex, mac, vlan, bool(state & NUD_PERMANENT))


def _read_default_routes(netlink: RtnetlinkSocket) -> list[int]:
    """ifindexes with a unicast default route in the main table, IPv4 first, each once."""
    links: dict[int, None] = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        request = _RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
        for body in netlink.dump(rtnetlink.RTM_GETROUTE, request):
            got, bits, _, _, table, _, _, kind, _ = _RTMSG.unpack_from(body)
            if (got, bits, table, kind) != (family, 0, RT_TABLE_MAIN, RTN_UNICAST):
                continue
            fields = attributes(body, _RTMSG.size)
            if (oif := _number(fields.get(RTA_OIF))) is not None:
                links[oif] = None
            links.update(dict.fromkeys(_nexthops(fields.get(RTA_MULTIPATH, b""))))
    return list(links)


def _nexthops(data: bytes) -> list[int]:
    """ifindexes of the struct rtnexthop list of a multipath route."""
    links, offset = [], 0
    while offset + _RTNEXTHOP.size <= len(data):
        length, _, _, ifindex = _RTNEXTHOP.unpack_from(data, offset)
        if length < _RTNEXTHOP.size:
            break
        links.append(ifindex)
        offset += padded(length)
    return links
