"""Who is captured: vantages, the ring of each namespace, and what becomes of them.

An interface may vanish while others go on. Its frames are kept; its end is remembered;
and when a namespace has no vantage left, its ring is drained and closed, because an open
packet socket would keep a dead container's namespace (and its veth) in existence.
"""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from analyzer.capture import bpf
from analyzer.capture.arena import reserve_arena
from analyzer.capture.inside import open_inside
from analyzer.capture.links import LinkWatch
from analyzer.capture.options import CaptureOptions
from analyzer.capture.ring import Ring
from analyzer.capture.source import AT_ONCE, Source, close_all
from analyzer.errors import UsageProblem, VethscopeError
from analyzer.model.topology import Key
from analyzer.model.vantage import Role, Vantage

_DESCRIPTOR = re.compile(r"/proc/[^/]+/fd/\d+")
"""a path by which somebody, perhaps we, keeps a namespace on purpose"""


class Roster:
    """Vantages in the order of the file's interfaces, and their sources."""

    def __init__(self, options: CaptureOptions) -> None:
        self.vantages: list[Vantage] = []
        self.begun: dict[int, int] = {}
        """interface id → since when it is captured, ns since the epoch"""
        self.ended: dict[int, int] = {}
        """interface id → when it vanished, ns since the epoch"""
        self.sources: list[Source] = []
        """all that there ever were"""
        self._open: list[Source] = []
        """of these, those that were open when it was last looked"""
        self._dropped = 0
        """by sources that are closed"""
        self._living: dict[int, Vantage] = {}
        """interface id → vantage, of those that did not vanish: what is done again and again does
        not go over all that ever were"""
        self.watches: dict[int, LinkWatch] = {}
        """namespace inode → who hears of its interfaces"""
        self.complete_ns = 0
        """until when all rings heard everything, ns since the epoch; 0: they do still"""
        self.hushed: list[Source] = []
        """those that take no more and are to be drained: kept beside the others, of which there
        may be hundreds, because they are asked for many times a second"""
        self._options = options
        self._arena = reserve_arena(options.ring)
        self.program: bpf.Program | None = None  # the user's filter
        self._paths: dict[int, str] = {}
        """namespace inode → where it was found"""

    def reserve(self, path: str, inode: int) -> Ring:
        """A ring inside a container that hears all its interfaces from now on."""
        rings = len(self.open_sources) + 1
        ring = Ring(path, inode, self._options.ring.joining(rings), self._arena)
        try:
            ring.attach(self.program or bpf.accept(self._options.snaplen))
            ring.start()
        except BaseException:
            ring.close()
            raise
        return ring

    def admit(
        self,
        vantages: Sequence[Vantage],
        paths: Mapping[int, str],
        reserved: dict[int, Ring] | None = None,
    ) -> list[Vantage]:
        """Open what is needed to hear the vantages; rings of new sources are not started.

        Those that are known already are passed over; a ring that is used is taken out of
        ``reserved``. Returns the new ones as captured. Raises UsageProblem, EnvironmentProblem or
        CaptureError; what was admitted before them stays.
        """
        # Of those that ended, the inode number of the namespace may be another's by now.
        live = {vantage.key for vantage in self._living.values()}
        fresh = {one.key: one for one in vantages if one.key not in live}
        groups: defaultdict[int, list[Vantage]] = defaultdict(list)
        for vantage in fresh.values():
            groups[vantage.netns].append(vantage)
        for inode in {_watched(vantage, paths) for vantage in fresh.values()} - set(self.watches):
            self.watches[inode] = LinkWatch(_path(inode, paths), inode)
        before = len(self.vantages)
        self._paths |= paths
        rings = self._open_rings(groups, paths, reserved if reserved is not None else {})
        try:
            for inode, group in groups.items():
                self._take_in(inode, group, rings, paths)
        finally:
            close_all(rings.values())
        fresh_ids = range(before, len(self.vantages))
        self._dismiss([number for number in fresh_ids if self._is_missing(number)])
        return self.vantages[before:]

    def note_begun(self) -> None:
        """All rings hear by now."""
        fresh = range(len(self.begun), len(self.vantages))
        self.begun.update(dict.fromkeys(fresh, time.time_ns()))

    def dismiss(self, watch: LinkWatch) -> bool:
        """Take what the watch tells; returns whether a vantage ended."""
        indexes = watch.gone()
        if indexes is None:
            lost = [number for number in self._living if self._is_missing(number)]
        else:
            keys = {(watch.netns, ifindex) for ifindex in indexes}
            lost = [number for number, one in self._living.items() if _hangs_on(one, keys)]
        for source in self.open_sources:
            if source.curious and source.ring.netns == watch.netns and indexes:
                source.forget(indexes)
        return self._dismiss(lost)

    def dismiss_orphans(self) -> bool:
        """Let go of namespaces that only our own ring keeps; returns whether a vantage ended.

        A container that dies takes its veth with it, unless somebody holds its namespace.
        """
        living = self._living.values()
        on_host = {one.ring for one in living if one.role != Role.CONTAINER}
        inside = {one.ring for one in living} - on_host
        gone = {ring for ring in inside if self._is_orphan(self.sources[ring])}
        return self._dismiss([number for number, one in self._living.items() if one.ring in gone])

    def _is_orphan(self, source: Source) -> bool:
        path = self._paths.get(source.ring.netns, "")
        if not path or _DESCRIPTOR.fullmatch(path):
            return False
        try:
            return os.stat(path).st_ino != source.ring.netns
        except PermissionError:
            return False
        except OSError:
            return True

    def _dismiss(self, lost: Sequence[int]) -> bool:
        by_source: defaultdict[int, set[int]] = defaultdict(set)
        for number in lost:
            self.ended[number] = time.time_ns()
            del self._living[number]
            by_source[self.vantages[number].ring].add(self.vantages[number].ifindex)
        for ring, gone in by_source.items():
            self.sources[ring].dismiss(gone)
        self._note_hushed(self.sources[ring] for ring in by_source)
        return bool(lost)

    def hush(self) -> None:
        """Let no frame in any more."""
        self.complete_ns = self.complete_ns or time.time_ns()
        for source in self.open_sources:
            source.hush()
        self._note_hushed(self.open_sources)

    def _note_hushed(self, sources: Iterable[Source]) -> None:
        self.hushed += [one for one in sources if one.hushed and one not in self.hushed]

    def living(self) -> Collection[int]:
        """Interface ids of the vantages that did not vanish."""
        return self._living.keys()

    def heard(self) -> list[Vantage]:
        """The vantages of which every frame is heard now."""
        return [one for one in self._living.values() if self.sources[one.ring].hears]

    @property
    def all_gone(self) -> bool:
        return not self._living

    def close(self) -> None:
        for watch in self.watches.values():
            watch.close()
        close_all(self.sources)

    @property
    def open_sources(self) -> list[Source]:
        closed = [source for source in self._open if not source.is_open]
        if closed:
            self._dropped += sum(source.ring.dropped for source in closed)
            self._open = [source for source in self._open if source.is_open]
        return list(self._open)

    @property
    def dropped(self) -> int:
        """Frames for which rings had no room, as far as it was counted."""
        return sum(source.ring.dropped for source in self.open_sources) + self._dropped

    @property
    def most_open(self) -> int:
        """So many sources at most are open: for those who ask at each wake-up."""
        return len(self._open)

    def source_of(self, number: int) -> Source:
        """The source of a vantage."""
        return self.sources[self.vantages[number].ring]

    def serving(self, inode: int) -> Source | None:
        """The open source of a namespace."""
        of_namespace = (one for one in self.open_sources if one.ring.netns == inode)
        return next((one for one in of_namespace if not one.hushed), None)

    def _open_rings(
        self,
        groups: Mapping[int, list[Vantage]],
        paths: Mapping[int, str],
        reserved: dict[int, Ring],
    ) -> dict[int, Ring]:
        """Rings for the namespaces that have none; all of them or, with an exception, none."""
        wanted = [inode for inode in groups if self.serving(inode) is None]
        ready = {inode: reserved.pop(inode) for inode in wanted if inode in reserved}
        wanted = [inode for inode in wanted if inode not in ready]
        rings = len(self.open_sources) + sum(_is_inside(groups[inode]) for inode in wanted)
        settings = self._options.ring
        inside = settings.joining(rings) if self.sources else settings.inside(rings)

        def make(inode: int) -> Ring:
            own = inside if _is_inside(groups[inode]) else settings
            return Ring(_path(inode, paths), inode, own, self._arena)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            made = [pool.submit(make, inode) for inode in wanted]
        problems = [problem for one in made if (problem := one.exception())]
        if problems:
            close_all([*ready.values(), *(one.result() for one in made if not one.exception())])
            raise problems[0]
        return {**ready, **{i: one.result() for i, one in zip(wanted, made, strict=True)}}

    def _take_in(
        self, inode: int, group: list[Vantage], rings: dict[int, Ring], paths: Mapping[int, str]
    ) -> None:
        """Add a namespace's vantages to its source; a new one takes its ring out of ``rings``."""
        if self.program is None:
            self.program = self._compile(_path(inode, paths), inode, group)
        source = self.serving(inode)
        if source is None:
            host, newest = self._options.newcomers or (None, 0)
            newer_than = newest if host == inode else None
            source = Source(rings[inode], len(self.sources), self.program, newer_than)
            self.sources.append(source)
            self._open.append(source)
            del rings[inode]
        try:
            admitted = source.admit(group, len(self.vantages), self._options)
        except VethscopeError:
            self._forget(source)
            raise
        self._living |= enumerate(admitted, len(self.vantages))
        self.vantages += admitted

    def _forget(self, source: Source) -> None:
        """Do not let a ring without a vantage keep its namespace."""
        if not source.identifiers:
            self.sources.remove(source)
            source.close()

    def _compile(self, path: str, inode: int, group: list[Vantage]) -> bpf.Program:
        devices = ("lo", *(vantage.interface for vantage in group))
        options = self._options
        return open_inside(
            path, inode, lambda: bpf.compile_filter(options.filter, options.snaplen, devices)
        )

    def _is_missing(self, number: int) -> bool:
        vantage = self.vantages[number]
        return self.sources[vantage.ring].ring.interface_name(vantage.ifindex) is None


def _is_inside(group: Iterable[Vantage]) -> bool:
    return all(vantage.role == Role.CONTAINER for vantage in group)


def _watched(vantage: Vantage, paths: Mapping[int, str]) -> int:
    """The namespace in which the vantage's end is noticed: a container's dies with its peer's."""
    outside = vantage.role == Role.CONTAINER and vantage.peer_key and vantage.peer_netns in paths
    return vantage.peer_netns if outside else vantage.netns


def _hangs_on(vantage: Vantage, gone: set[Key]) -> bool:
    """A veth's two ends, and a macvlan and its parent, are deleted together."""
    return vantage.key in gone or vantage.peer_key in gone


def _path(inode: int, paths: Mapping[int, str]) -> str:
    if inode not in paths:
        raise UsageProblem(
            f"network namespace {inode} cannot be entered: no path to it is known; "
            "run as root, or leave its interfaces out (--no-inside)"
        )
    return paths[inode]
