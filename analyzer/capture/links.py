"""Notice what becomes of interfaces: which vanish, and which are ports of which bridge.

RTM_DELLINK and RTM_NEWLINK on a netlink socket (rtnetlink(7)). A port that joins or leaves a bridge
is told of as a link that has changed.
"""

from __future__ import annotations

import errno
import socket
from collections import defaultdict

from analyzer.capture.inside import open_inside
from analyzer.capture.payload import BridgePorts
from analyzer.net.netlink import attributes, number_of
from analyzer.net.rtnetlink import (
    RTM_NEWLINK,
    RTMGRP_LINK,
    RtnetlinkSocket,
    deleted_links,
    notifications,
)
from analyzer.topology.netlink import (
    IFLA_BR_VLAN_FILTERING,
    IFLA_INFO_DATA,
    IFLA_LINKINFO,
    dump_links,
    link_attributes,
    link_facts,
)

_OF_PORTS = bytes([socket.AF_BRIDGE])
"""the family of an ifinfomsg, its first byte: what such a message tells is a port's state"""


class LinkWatch:
    """Hears of the interfaces of one namespace from its making on."""

    def __init__(self, path: str, inode: int) -> None:
        """Raises UsageProblem and EnvironmentProblem as `open_inside` does."""
        self.netns = inode
        self._masters: dict[int, int] = {}
        """ifindex → that of the bridge, or the like, that it is a port of; 0: of none"""
        self._by_vlan: dict[int, bool] = {}
        """bridge → whether it filters by VLAN"""
        self.changes = 0
        """grows when something of `bridges` has changed: of links much is told that has not"""
        self._socket, self._asking = open_inside(path, inode, lambda: (_open(), RtnetlinkSocket()))
        self._ask()

    def fileno(self) -> int:
        return self._socket.fileno()

    def gone(self) -> set[int] | None:
        """Indexes of interfaces deleted since the last call, or moved to another namespace.

        None: more happened than the socket's buffer held; look for yourself.
        """
        deleted: set[int] = set()
        while True:
            try:
                message = self._socket.receive()
            except BlockingIOError:
                return deleted
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    self._ask()
                    return None
                raise
            for kind, body in notifications(message):
                if kind == RTM_NEWLINK and body[:1] != _OF_PORTS:
                    self._learn(body)
            fresh = deleted_links(message)
            deleted |= fresh
            for ifindex in fresh:
                self._masters.pop(ifindex, None)
                self._by_vlan.pop(ifindex, None)
            self.changes += len(fresh)

    def bridges(self) -> dict[int, BridgePorts]:
        """The bridges there are, by ifindex, as far as was told until `gone` was called last."""
        ports: defaultdict[int, set[int]] = defaultdict(set)
        for port, master in self._masters.items():
            ports[master].add(port)
        return {one: BridgePorts(ports[one], by_vlan) for one, by_vlan in self._by_vlan.items()}

    def _ask(self) -> None:
        """Learn of all that there are."""
        self._masters, self._by_vlan = {}, {}
        for body in dump_links(self._asking):
            self._learn(body)

    def _learn(self, body: bytes) -> None:
        """Take what an RTM_NEWLINK tells."""
        told = link_attributes(body)
        link = link_facts(body, told)
        before = self._masters.get(link.ifindex), self._by_vlan.get(link.ifindex)
        self._masters[link.ifindex] = link.master or 0
        if link.kind == "bridge":
            info = attributes(attributes(told[IFLA_LINKINFO]).get(IFLA_INFO_DATA, b""))
            self._by_vlan[link.ifindex] = bool(number_of(info.get(IFLA_BR_VLAN_FILTERING)))
        after = self._masters.get(link.ifindex), self._by_vlan.get(link.ifindex)
        self.changes += before != after

    def close(self) -> None:
        self._socket.close()
        self._asking.close()


def _open() -> RtnetlinkSocket:
    made = RtnetlinkSocket(RTMGRP_LINK)
    made.socket.setblocking(False)
    return made
