"""Listen while a capture runs to what changes: links, ports, addresses, routes, neighbours, rules.

Two sockets in the host's namespace hear all namespaces that it has a number for
(NETLINK_LISTEN_ALL_NSID), which are those to which a veth pair leads; so hundreds of containers
cost no more than one. A thread sleeps until something comes, and waits a moment then, so that many
notifications make one wake-up. What an engine tells of its containers is kept beside them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from analyzer.errors import VethscopeError
from analyzer.model.evidence import KernelEvent
from analyzer.net import rtnetlink
from analyzer.net.capabilities import Capability, keep_nothing, keep_only
from analyzer.net.netlink import (
    NETLINK_NETFILTER,
    RECEIVE_BYTES,
    SOL_NETLINK,
    NetlinkSocket,
    attributes,
    messages,
)
from analyzer.net.netns import run_inside
from analyzer.net.rtnetlink import RtnetlinkSocket
from analyzer.recorders.evidence.bridging import read_fdb
from analyzer.recorders.evidence.event_messages import Understanding
from analyzer.recorders.evidence.legacy_tables import LegacyTables
from analyzer.recorders.evidence.record import encode_events
from analyzer.recorders.evidence.sysctl_samples import SysctlSamples

MOST_EVENTS = 8192
"""that a file keeps; those beyond are counted"""
GATHER_S = 0.02
GROUP_NSID, RTM_DELNSID = 1 << 27, 89
"""of linux/rtnetlink.h: namespaces get numbers in this one, and lose them when they are gone"""
GROUPS = (
    rtnetlink.RTMGRP_LINK
    | rtnetlink.RTMGRP_NEIGH
    | rtnetlink.RTMGRP_IPV4_IFADDR
    | rtnetlink.RTMGRP_IPV6_IFADDR
    | rtnetlink.RTMGRP_IPV4_ROUTE
    | rtnetlink.RTMGRP_IPV6_ROUTE
    | rtnetlink.GROUP_IPV4_NETCONF
    | rtnetlink.GROUP_IPV6_NETCONF
    | rtnetlink.GROUP_MDB
    | GROUP_NSID
)
NFNLGRP_NFTABLES = 7
NETLINK_LISTEN_ALL_NSID = 8
_RECEIVE_BUFFER = 4 << 20
_SO_RCVBUFFORCE = 33
_ANCILLARY_BYTES = socket.CMSG_SPACE(4)


class EventWatch:
    """From `open` until `stop`; `take` gives what there is. Nothing in it raises for want of
    rights: what is not heard is told as absent."""

    def __init__(self, host: int, notify: Callable[[], None] = lambda: None) -> None:
        """host: inode of its namespace. notify: called, in a thread of ours, when there is
        something to `take`."""
        self._host, self._notify = host, notify
        self._host_path = ""
        self._sockets: list[NetlinkSocket] = []
        self._namespaces: dict[int, int] = {}
        """number in the host's namespace → inode; the kernel gives both again at once"""
        self._hearing = threading.Lock()
        self._understanding = Understanding()
        self._samples = SysctlSamples()
        self._tables: LegacyTables | None = None
        self._lock = threading.Lock()
        self._fresh: list[KernelEvent] = []
        self._count = 0
        self._told = False
        self.missed = 0
        self.absent: dict[str, str] = {}
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ends, self._bare = threading.Event(), threading.Event()
        """_bare: the thread has given up its rights"""
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def open(self, paths: Mapping[int, str]) -> EventWatch:
        """Listen in these namespaces from now on; inode → path, the host's among them."""
        self._host_path = paths[self._host]
        run_inside(self._host_path, self._listen, paths)
        self._thread.start()
        self._bare.wait()
        return self

    def _listen(self, paths: Mapping[int, str]) -> None:
        """In the host's namespace."""
        self._tables = LegacyTables(self._host)
        if self._tables.problem:
            self.absent["x_tables"] = self._tables.problem
        for name, protocol, groups in (
            ("rtnetlink", socket.NETLINK_ROUTE, GROUPS),
            ("nftables", NETLINK_NETFILTER, 1 << NFNLGRP_NFTABLES - 1),
        ):
            try:
                self._sockets.append(_hear_all(protocol, groups))
            except OSError as error:
                self.absent[name] = error.strerror or str(error)
        try:
            with RtnetlinkSocket() as netlink:
                self._namespaces = _numbers(netlink, paths, self._host)
                self._understanding.fdb.know(self._host, read_fdb(netlink))
        except OSError as error:
            self.absent["namespaces"] = error.strerror or str(error)
        unheard = len(paths) - 1 - len(self._namespaces)
        if unheard > 0:
            self.absent["namespaces"] = f"{unheard} have no number in the host's"

    def welcome(self, paths: Mapping[int, str]) -> None:
        """Namespaces that joined later: what is heard of them is kept, too. Safe in threads."""

        def find() -> dict[int, int]:
            with RtnetlinkSocket() as netlink:
                return _numbers(netlink, paths, self._host)

        with contextlib.suppress(OSError, VethscopeError):
            fresh = run_inside(self._host_path, find)
            self._hear()  # that those that had these numbers before are gone waits there
            self._namespaces |= fresh

    def sample(
        self, paths: Mapping[int, str], devices: Mapping[int, Sequence[str]] | None = None
    ) -> None:
        """Look at the sysctls of these namespaces, and of these devices in them, too. Takes a
        moment for hundreds; safe in threads."""
        self._samples.add(paths, self._host, time.time_ns(), devices)
        if self._samples.problem:
            self.absent["sysctls"] = self._samples.problem
        with contextlib.suppress(OSError):
            os.eventfd_write(self._wake, 1)

    def tell(self, event: KernelEvent) -> None:
        """Keep what an engine tells. Safe in threads."""
        self._keep([event])

    def stop(self) -> None:
        """Listen no more; `take` has the rest then."""
        self._ends.set()
        if self._thread.is_alive():
            os.eventfd_write(self._wake, 1)
            self._thread.join()
        self._hear()
        self._keep(self._samples.look_at_all(time.time_ns()))
        self._samples.close()
        if self._tables is not None:
            self._keep(self._tables.look(time.time_ns()))
            self._tables.close()
        for one in self._sockets:
            one.close()
        self._sockets = []

    def close(self) -> None:
        self.stop()
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1

    def take(self) -> list[bytes]:
        """The data of blocks for the file, heard since the last call. Safe in threads."""
        with self._lock:
            events, self._fresh = self._fresh, []
        if self._told and not events:
            return []
        self._told = True
        return encode_events(events, self.missed, self.absent)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            if self._tables and self._tables.counts:
                keep_only((Capability.NET_ADMIN,))
            else:
                keep_nothing()
        self._bare.set()
        poll = select.poll()
        for fd in (self._wake, *(one.fileno() for one in self._sockets)):
            poll.register(fd, select.POLLIN)
        looked_s = time.monotonic()
        while not self._ends.is_set():
            pause_s = self._samples.pause_s
            due_s = None if pause_s is None else looked_s + pause_s - time.monotonic()
            if poll.poll(None if due_s is None else max(due_s, 0) * 1000):
                self._sleep_a_moment()
                self._hear()
            if pause_s is not None and time.monotonic() >= looked_s + pause_s:
                looked_s = time.monotonic()
                self._keep(self._samples.look(time.time_ns()))
                if self._tables:
                    self._keep(self._tables.look(time.time_ns()))

    def _sleep_a_moment(self) -> None:
        """So that many notifications make one wake-up."""
        self._ends.wait(GATHER_S)
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)

    def _hear(self) -> None:
        """Take all notifications that wait."""
        events: list[KernelEvent] = []
        with self._hearing:
            for one in self._sockets:
                while (got := self._receive(one.socket)) is not None:
                    data, netns = got
                    if netns is not None:
                        events += self._understanding.events(data, netns, time.time_ns())
        self._keep(events)

    def _receive(self, sock: socket.socket) -> tuple[bytes, int | None] | None:
        """(datagram, inode of the namespace that it is of, if known); None: nothing waits."""
        try:
            data, ancillary, _, _ = sock.recvmsg(RECEIVE_BYTES, _ANCILLARY_BYTES)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                return None
            self.missed += 1
            return b"", None
        for level, kind, value in ancillary:
            if (level, kind) == (SOL_NETLINK, NETLINK_LISTEN_ALL_NSID):
                number = int.from_bytes(value[:4], "little", signed=True)
                return data, self._namespaces.get(number)
        self._forget_number(data)
        return data, self._host

    def _forget_number(self, data: bytes) -> None:
        """Of a namespace that is gone: what the next one with its number does is not its."""
        for kind, _, _, body in messages(data):
            number = attributes(body, 4).get(rtnetlink.NETNSA_NSID) if kind == RTM_DELNSID else None
            if number:
                self._namespaces.pop(int.from_bytes(number, "little", signed=True), None)

    def _keep(self, events: list[KernelEvent]) -> None:
        with self._lock:
            room = max(MOST_EVENTS - self._count, 0)
            self.missed += max(len(events) - room, 0)
            self._fresh += events[:room]
            self._count += len(events[:room])
        if events[:room]:
            self._notify()


def _hear_all(protocol: int, groups: int) -> NetlinkSocket:
    """A socket that hears this namespace, and all that have a number in it. Not blocking."""
    netlink = NetlinkSocket(protocol, groups)
    try:
        netlink.socket.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
        netlink.socket.setblocking(False)
        with contextlib.suppress(PermissionError):
            netlink.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except BaseException:
        netlink.close()
        raise
    return netlink


def _numbers(netlink: RtnetlinkSocket, paths: Mapping[int, str], host: int) -> dict[int, int]:
    """Number of a namespace in the socket's → inode."""
    inodes = {}
    for inode, path in paths.items():
        if inode == host:
            continue
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if (number := netlink.nsid(fd)) >= 0 and os.fstat(fd).st_ino == inode:
                    inodes[number] = inode
            finally:
                os.close(fd)
    return inodes
