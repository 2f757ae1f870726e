"""Find the namespace in which the other end of a new veth is, and look into it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from analyzer.net.netns import netns_inode, open_netns
from analyzer.net.rtnetlink import RtnetlinkSocket
from analyzer.topology.netlink import LinkFacts
from analyzer.topology.procfs import process_namespaces


def namespace_of_peer(
    link: LinkFacts, netlink: RtnetlinkSocket, mounted: Callable[[], dict[int, str]]
) -> tuple[int, str] | None:
    """(inode, path) of the namespace in which the other end of a pair is; None: not found.

    netlink: of the link's own namespace. mounted: namespaces that have a name, inode → path.
    """
    if link.link_nsid is None or link.link_nsid < 0:
        return None
    for places in (mounted, process_namespaces):
        # The newest are the likeliest.
        for inode, path in reversed(places().items()):
            with contextlib.suppress(OSError), _opened(path) as fd:
                if netlink.nsid(fd) == link.link_nsid and netns_inode(fd) == inode:
                    return inode, path
    return None


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    """A descriptor of a namespace. Raises OSError."""
    fd = open_netns(path)
    try:
        yield fd
    finally:
        os.close(fd)
