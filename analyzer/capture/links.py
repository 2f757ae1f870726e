"""Notice when an interface vanishes: RTM_DELLINK on a netlink socket (rtnetlink(7)).

Three fields of one message are read by hand, so that the capture needs no netlink library
in its loop.
"""

from __future__ import annotations

import errno
import socket
import struct

from analyzer.capture.inside import open_inside

_RTMGRP_LINK = 1
_RTM_DELLINK = 17
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_LINK = struct.Struct("=BxHi")  # ifinfomsg: family, type, ifindex
_BUFFER = 1 << 16


class LinkWatch:
    """Hears of the interfaces of one namespace from its making on."""

    def __init__(self, path: str, inode: int) -> None:
        """Raises UsageProblem and EnvironmentProblem as `open_inside` does."""
        self.netns = inode
        self._socket = open_inside(path, inode, _open)

    def fileno(self) -> int:
        return self._socket.fileno()

    def gone(self) -> set[int] | None:
        """Indexes of interfaces deleted since the last call, or moved to another namespace.

        None: more happened than the socket's buffer held; look for yourself.
        """
        deleted: set[int] = set()
        while True:
            try:
                message = self._socket.recv(_BUFFER)
            except BlockingIOError:
                return deleted
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return None
                raise
            deleted |= deleted_links(message)

    def close(self) -> None:
        self._socket.close()


def deleted_links(message: bytes) -> set[int]:
    """The ifindexes that the RTM_DELLINK messages of one datagram name.

    Those of family AF_BRIDGE only say that a port left its bridge.
    """
    deleted, at = set(), 0
    while at + _HEADER.size + _LINK.size <= len(message):
        length, kind, *_ = _HEADER.unpack_from(message, at)
        family, _, ifindex = _LINK.unpack_from(message, at + _HEADER.size)
        if kind == _RTM_DELLINK and family == socket.AF_UNSPEC:
            deleted.add(ifindex)
        at += max(_HEADER.size, (length + 3) & ~3)
    return deleted


def _open() -> socket.socket:
    made = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0
    )
    made.bind((0, _RTMGRP_LINK))
    return made
