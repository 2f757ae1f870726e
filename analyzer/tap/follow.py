"""Follow the containers that come while a capture runs.

A thread listens to the links of the host's namespace (netlink) and to new names of namespaces
(mountinfo). As soon as it is known whose a new veth is (`tap.naming`), be it gone by then, the veth
and the container's own interfaces become vantages. The capture has heard the veth from its first
frame on, and the namespace since it got its name: see `capture.pending_interfaces` and
`CaptureSession.hear`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType

from analyzer.capture.ring import Ring
from analyzer.engines.base import Engine
from analyzer.errors import UsageProblem, VethscopeError
from analyzer.model.topology import Container, Topology
from analyzer.net.netns import run_inside
from analyzer.net.rtnetlink import (
    RTM_DELLINK,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTMGRP_LINK,
    RTMGRP_NEIGH,
    RtnetlinkSocket,
    notifications,
)
from analyzer.tap.naming import Naming
from analyzer.tap.sightings import Sighting, Sightings
from analyzer.tap.tap import Tap, container_names
from analyzer.tap.wanted import Few, Wanted
from analyzer.topology.discover import discover
from analyzer.topology.netlink import decode_fdb_entry, read_links
from analyzer.topology.newcomers import Newcomers
from analyzer.topology.procfs import mounted_namespaces
from analyzer.topology.vantages import select_vantages

LOG = logging.getLogger("vethscope")
_RETRY_S = 0.05
"""how soon to look again at a link that is not yet what it will be"""
_IDLE_S = 0.5
"""the same where whatever it becomes is told by netlink"""
_OF_PORTS = bytes([socket.AF_BRIDGE])
"""the family of an ifinfomsg, its first byte"""
_RESERVED_S = 3.0
"""how long a namespace is heard of which nobody says what it is"""


class Follower:
    """From entering it as a context manager until leaving it, newcomers are captured."""

    def __init__(
        self,
        engine: Engine,
        topology: Topology,
        tap: Tap,
        wanted: Wanted,
        say: Callable[[str], None],
    ) -> None:
        """topology: what the capture began with. say: told in one line who joined."""
        self._engine, self._wanted, self._say = engine, wanted, say
        self._tap, self._session, self._learned = tap, tap.session, tap.learned
        self._host = topology.host_netns
        host = [i.ifindex for i in topology.interfaces if i.netns == self._host]
        self._newcomers = Newcomers(host)
        self._known: dict[int, str] = {}
        """namespaces with a name, as they were last seen; an inode number is used again"""
        self._reserved: dict[int, tuple[Ring, float]] = {}
        self._naming = Naming(engine, self._wake_up, self._tell_trouble)
        self._troubles: set[str] = set()
        self._ends = threading.Event()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="follow", daemon=True)

    def __enter__(self) -> Follower:
        path = self._engine.host_netns_path
        self._events = run_inside(path, RtnetlinkSocket, RTMGRP_LINK | RTMGRP_NEIGH)
        self._netlink = run_inside(path, RtnetlinkSocket)
        self._sightings = Sightings(self._engine, self._netlink, self._mounted)
        self._mounts = open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape")
        self._known = self._mounted()
        self._naming.start()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ends.set()
        self._wake_up()
        self._thread.join()
        self._naming.stop()
        for ring, _ in self._reserved.values():
            ring.close()
        self._events.close()
        self._netlink.close()
        self._mounts.close()
        wake, self._wake = self._wake, -1
        os.close(wake)

    def _wake_up(self) -> None:
        # Already closed: an engine's last answer may come late.
        with contextlib.suppress(OSError, ValueError):
            os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        poll = select.poll()
        for fd in (self._events.fileno(), self._wake):
            poll.register(fd, select.POLLIN)
        poll.register(self._mounts.fileno(), select.POLLPRI)
        self._try_to_look()
        while not self._ends.is_set():
            waiting = self._newcomers.waiting or bool(self._sightings)
            pause_s = self._pause_s(waiting)
            events = dict(poll.poll(None if pause_s is None else pause_s * 1000))
            if self._wake in events:
                os.eventfd_read(self._wake)
            news = self._hear() if self._events.fileno() in events else False
            if self._mounts.fileno() in events:
                self._reserve()
            if news or (waiting and self._mounts.fileno() not in events):
                self._try_to_look()
            self._let_go()

    def _pause_s(self, waiting: bool) -> float | None:
        """How long to wait for news."""
        if waiting:
            return _RETRY_S if self._sightings.urgent else _IDLE_S
        return _RESERVED_S if self._reserved else None

    def _try_to_look(self) -> None:
        try:
            self._look()
        except (VethscopeError, OSError) as error:
            self._tell_trouble(str(error))

    def _hear(self) -> bool:
        """Take what the kernel tells; whether it may be of links. Of ports, keep what was learned.

        What is said of links does not matter: all are read anyway, after ENOBUFS too. Not for a
        port's state (family AF_BRIDGE), of which a bridge of hundreds of ports tells for minutes:
        that a link became a port is told of the link itself.
        """
        try:
            messages = list(notifications(self._events.receive()))
        except OSError:
            return True
        for kind, body in messages:
            entry = decode_fdb_entry(body, self._host) if kind == RTM_NEWNEIGH else None
            if entry is not None and not entry.local:
                self._learned.setdefault((entry.bridge_ifindex, entry.mac, entry.port_ifindex))
        return any(
            kind in (RTM_NEWLINK, RTM_DELLINK) and body[:1] != _OF_PORTS for kind, body in messages
        )

    def _look(self) -> None:
        """Whatever happened: settle what can be settled."""
        now_s = time.monotonic()
        candidates = self._newcomers.look(read_links(self._netlink), now_s)
        self._reserve()
        self._sightings.look(candidates, now_s)
        sightings = self._sightings.open()
        self._naming.ask({i: one.question for i, one in sightings.items() if one.topology})
        for ifindex, sighting in sightings.items():
            if self._introduce(sighting):
                self._sightings.settle(ifindex)
            elif sighting.overdue(now_s):
                self._sightings.settle(ifindex)
                self._introduce_alone(sighting)
        if self._newcomers.unwanted:
            unwanted, self._newcomers.unwanted = self._newcomers.unwanted, set()
            self._session.ignore(self._host, unwanted)

    def _let_go(self) -> None:
        """Hear no longer what nobody has told anything of."""
        now = time.monotonic()
        for inode, (ring, since) in list(self._reserved.items()):
            if now - since > _RESERVED_S and inode not in self._sightings.inodes:
                del self._reserved[inode]
                ring.close()

    def _reserve(self) -> None:
        """Listen in a namespace that has just got a name.

        The end of a veth will be made there, or moved into it, and come up any moment.
        """
        before, self._known = self._known, self._mounted()
        for inode, path in self._known.items() - before.items():
            self._listen(inode, path)

    def _listen(self, inode: int, path: str) -> None:
        """Hear a container's namespace from now on, for `CaptureSession.add`."""
        if self._wanted.inside and inode not in self._reserved:
            with contextlib.suppress(VethscopeError, OSError):
                self._reserved[inode] = (self._session.hear(path, inode), time.monotonic())

    def _mounted(self) -> dict[int, str]:
        self._mounts.seek(0)
        return mounted_namespaces(self._mounts.read())

    def _introduce(self, sighting: Sighting) -> bool:
        """Capture a port whose container is known; False: it is not known yet."""
        owners = self._naming.owners(sighting.question)
        if not owners or not sighting.topology:
            return False
        wanted = [one for one in owners if self._wanted.takes(one)]
        if not wanted:
            self._newcomers.settle(sighting.candidate.link, wanted=False)
            return True
        if not sighting.gone:
            self._listen(sighting.inode, sighting.path)
        return self._capture(sighting, wanted[0], sighting.of(owners))

    def _capture(self, sighting: Sighting, container: Container, topology: Topology) -> bool:
        """A container's port, and its own interfaces; False: not all is there yet."""
        link = sighting.candidate.link
        try:
            vantages = select_vantages(
                topology,
                targets=[container.name],
                networks=self._wanted.narrowed(container),
                inside=self._wanted.inside,
            )
        except UsageProblem:
            return False  # its interface is not there yet
        if link.ifindex not in {v.ifindex for v in vantages if v.netns == self._host}:
            return False
        reserved = self._reserved.pop(container.netns, None)
        rings = {container.netns: reserved[0]} if reserved else None
        if sighting.gone and not reserved:
            vantages = [v for v in vantages if v.netns == self._host]
        self._session.add(vantages, topology.netns_paths, container_names(topology), rings)
        if any(v.netns == container.netns for v in vantages) and not sighting.gone:
            paths = {container.netns: topology.netns_paths[container.netns]}
            self._tap.welcome(paths, vantages)
        self._newcomers.settle(link, wanted=True)
        names = [v.name for v in vantages if v.container == container.name]
        self._say(f"{container.name} is captured from now on: {', '.join(names)}")
        return True

    def _introduce_alone(self, sighting: Sighting) -> None:
        """A port of which nobody says whose it is: it is captured where everything is.

        Who may be behind a port that nobody lets us look into, the FDB tells by the MAC.
        """
        link, bridge = sighting.candidate.link, sighting.candidate.bridge.name
        if self._wanted.everything and not self._wanted.networks:
            named = self._naming.heard_of(bridge)
            topology = sighting.of(named) if sighting.gone else discover(Few(self._engine, named))
            vantages = select_vantages(topology, interfaces=[link.name, bridge])
            self._session.add(vantages, topology.netns_paths)
            owner = vantages[0].container
            whose = f"it is {owner}'s" if owner else "nobody says whose it is"
            self._say(f"{link.name} is captured from now on; {whose}")
        self._newcomers.settle(link, wanted=self._wanted.everything)

    def _tell_trouble(self, text: str) -> None:
        if text not in self._troubles:
            self._troubles.add(text)
            self._say(text)
