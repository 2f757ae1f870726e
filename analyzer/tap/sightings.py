"""New ports of bridges of which it is not known yet whose they are, and what the kernel tells.

A short container is gone before the engine has told whose it is. So what its namespace has is read
as soon as the other end of the port is there, again until it is known whose it is, and kept when
the port is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct
from msgspec.structs import replace

from analyzer.engines.base import Engine
from analyzer.model.topology import Container, Topology
from analyzer.net.rtnetlink import RtnetlinkSocket
from analyzer.tap.namespaces import namespace_of_peer
from analyzer.tap.naming import Question
from analyzer.tap.wanted import Few
from analyzer.topology.discover import discover
from analyzer.topology.newcomers import PATIENCE_S, Candidate


class Sighting(Struct):
    """A new port."""

    candidate: Candidate
    """as it was seen last"""
    since_s: float
    """on the monotonic clock"""
    inode: int = 0
    """of the namespace in which its other end is; 0: not known"""
    path: str = ""
    placed_s: float = 0.0
    """since when that is known"""
    topology: Topology | None = None
    """the host and that namespace as they were last, with nobody's name"""
    gone: bool = False

    gone_s: float = 0.0
    """since when the port is gone"""

    def overdue(self, now_s: float) -> bool:
        return self.candidate.overdue or (self.gone and now_s - self.gone_s >= PATIENCE_S)

    @property
    def question(self) -> Question:
        inside = self.topology.interfaces if self.topology else ()
        macs = frozenset(one.mac for one in inside if one.netns == self.inode and one.mac)
        bridge = self.candidate.bridge.name
        return Question(bridge, self.since_s, self.inode, self.path, self.placed_s, macs)

    def of(self, owners: Iterable[Container]) -> Topology:
        """What is known, and whose it is."""
        assert self.topology
        return replace(self.topology, containers=tuple(owners))


class Sightings:
    """Those that are not settled, by the ifindex of the port."""

    def __init__(
        self, engine: Engine, netlink: RtnetlinkSocket, mounted: Callable[[], dict[int, str]]
    ) -> None:
        """netlink: of the host's namespace. mounted: namespaces that have a name, inode → path."""
        self._engine, self._netlink, self._mounted = engine, netlink, mounted
        self._open: dict[int, Sighting] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def open(self) -> dict[int, Sighting]:
        return dict(self._open)

    @property
    def urgent(self) -> bool:
        """Whether one is worth looking again soon, of which the host's links tell nothing."""
        return any(one.candidate.moved for one in self._open.values())

    @property
    def inodes(self) -> set[int]:
        """Of the namespaces in which their other ends are."""
        return {one.inode for one in self._open.values()}

    def settle(self, ifindex: int) -> None:
        self._open.pop(ifindex, None)

    def look(self, candidates: Iterable[Candidate], now_s: float) -> None:
        """These are the new ports that there are now."""
        there = {one.link.ifindex: one for one in candidates}
        for ifindex, candidate in there.items():
            sighting = self._open.setdefault(ifindex, Sighting(candidate, now_s))
            sighting.candidate, sighting.gone = candidate, False
            if not sighting.inode:
                self._find_namespace(sighting, now_s)
        for ifindex, sighting in self.open().items():
            if ifindex not in there and not sighting.gone:
                sighting.gone, sighting.gone_s = True, now_s
            if sighting.gone and not sighting.topology:
                self.settle(ifindex)  # nothing is known of it
        self._look_inside([one for one in self._open.values() if one.inode and not one.gone])

    def _find_namespace(self, sighting: Sighting, now_s: float) -> None:
        link = sighting.candidate.link
        namespace = namespace_of_peer(link, self._netlink, self._mounted)
        if namespace:
            sighting.inode, sighting.path = namespace
            sighting.placed_s = now_s

    def _look_inside(self, sightings: list[Sighting]) -> None:
        """Read the namespaces of all of them at once."""
        if not sightings:
            return
        nobody = [Container("", "", 0, one.inode, netns_path=one.path) for one in sightings]
        topology = discover(Few(self._engine, nobody))
        for one in sightings:
            port = topology.by_key.get((topology.host_netns, one.candidate.link.ifindex))
            # An engine takes the other end out again before it deletes the pair.
            if port and port.peer and port.peer[0] == one.inode:
                one.topology = topology
