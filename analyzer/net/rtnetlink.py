"""rtnetlink: links, addresses, neighbours, routes and namespace ids of one network namespace.

Sources: rtnetlink(7), linux/rtnetlink.h, linux/if_link.h, linux/net_namespace.h.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator

from analyzer.net.netlink import NLM_F_REQUEST, NetlinkSocket, attributes, messages
from analyzer.net.netns import netns_inode

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_NEWNEIGH = 16, 17, 18, 28
RTM_NEWADDR, RTM_DELADDR, RTM_NEWROUTE, RTM_DELROUTE = 20, 21, 24, 25
RTM_GETADDR, RTM_GETROUTE, RTM_GETNEIGH, RTM_GETNSID = 22, 26, 30, 90
RTM_GETRULE, RTM_GETQDISC, RTM_GETTFILTER, RTM_GETMDB = 34, 38, 46, 86
RTM_DELNEIGH, RTM_GETTCLASS, RTM_NEWNETCONF, RTM_NEWMDB, RTM_DELMDB = 29, 42, 80, 84, 85
RTMGRP_LINK, RTMGRP_NEIGH, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR = 0x1, 0x4, 0x10, 0x100
RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE = 0x40, 0x400
GROUP_IPV4_NETCONF, GROUP_IPV6_NETCONF, GROUP_MDB = 1 << 23, 1 << 24, 1 << 25
"""as masks, as all others"""
NETNSA_NSID, NETNSA_FD = 1, 3
_IFINFOMSG = struct.Struct("=BxHi")
"""family, type, ifindex"""


class RtnetlinkSocket(NetlinkSocket):
    """One rtnetlink socket, in the namespace of the thread that makes it."""

    def __init__(self, groups: int = 0) -> None:
        super().__init__(socket.NETLINK_ROUTE, groups)

    def nsid(self, netns_fd: int) -> int:
        """The id by which this socket's namespace knows another; -1 where it has none."""
        body = struct.pack("=B3xHHI", 0, 8, NETNSA_FD, netns_fd)
        self.send(RTM_GETNSID, NLM_F_REQUEST, body)
        *_, payload = next(self.answers())
        return int.from_bytes(attributes(payload, 4)[NETNSA_NSID], sys.byteorder, signed=True)


def notifications(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of the messages of one datagram that a multicast group sent."""
    for kind, _, _, body in messages(data):
        yield kind, body


def deleted_links(data: bytes) -> set[int]:
    """The ifindexes that the RTM_DELLINK messages of one datagram name.

    Those of family AF_BRIDGE only say that a port left its bridge.
    """
    removed = set()
    for kind, body in notifications(data):
        if kind == RTM_DELLINK and len(body) >= _IFINFOMSG.size:
            family, _, ifindex = _IFINFOMSG.unpack_from(body)
            if family == socket.AF_UNSPEC:
                removed.add(ifindex)
    return removed


def nsids(netlink: RtnetlinkSocket, wanted: set[int], known: list[int]) -> dict[int, int]:
    """Whose namespace ids are these? nsid → netns inode, for those of ``wanted`` that are known.

    An nsid means something only to the namespace that sees it, and the kernel answers only the
    reverse question; so each known namespace (an open descriptor) is asked for its id until all
    are found.
    """
    inodes: dict[int, int] = {}
    for fd in known:
        if len(inodes) == len(wanted):
            break
        try:
            nsid = netlink.nsid(fd)
        except OSError:
            continue  # not a namespace: a name whose mount is gone
        if nsid in wanted:
            inodes[nsid] = netns_inode(fd)
    return inodes
