"""Notice when an interface vanishes: RTM_DELLINK on a netlink socket (rtnetlink(7))."""

from __future__ import annotations

import errno

from analyzer.capture.inside import open_inside
from analyzer.net.rtnetlink import RTMGRP_LINK, RtnetlinkSocket, deleted_links


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
                message = self._socket.receive()
            except BlockingIOError:
                return deleted
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    return None
                raise
            deleted |= deleted_links(message)

    def close(self) -> None:
        self._socket.close()


def _open() -> RtnetlinkSocket:
    made = RtnetlinkSocket(RTMGRP_LINK)
    made.socket.setblocking(False)
    return made
