"""Beside a capture: what the namespaces of its vantages counted, how they stood, what changed.

Reading hundreds of namespaces takes a second or two, and the start of a capture is not held up by
it: after a moment the rest is read while frames come in already. Each reading has its time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from msgspec import Struct, field

from analyzer.capture.session import CaptureSession
from analyzer.errors import VethscopeError
from analyzer.model.evidence import KernelEvent, NamespaceEvidence
from analyzer.model.vantage import Role, Vantage
from analyzer.recorders.evidence.events import EventWatch
from analyzer.recorders.evidence.namespace import read_namespaces
from analyzer.recorders.evidence.record import encode_moment
from analyzer.savefile.blocks import own

PATIENCE_S = 0.5
"""how long a start waits for it"""


class EvidenceLog(Struct):
    """Begins with `open`, once the session is; `close` gives the blocks that remain."""

    paths: Mapping[int, str]
    """namespace inode → a path that setns can open"""
    host: int = 0
    """inode of the host's namespace, where changes are heard of"""
    again: bool = False
    """tell of the start at the end as well: where the first file may be gone by then"""
    unheard: dict[str, str] = field(default_factory=dict)
    """engine → why its events are not heard"""
    ends: list[NamespaceEvidence] = field(default_factory=list)
    """how the namespaces were at the end, when it is closed"""
    _joined: dict[int, str] = field(default_factory=dict)
    """inode → path, of namespaces that joined later"""
    _told: set[int] = field(default_factory=set)
    """namespaces whose start is in a file"""
    _starts: dict[int, NamespaceEvidence] = field(default_factory=dict)
    _events: EventWatch | None = None
    _reader: threading.Thread | None = None
    _ends: threading.Event = field(default_factory=threading.Event)

    def open(self, session: CaptureSession) -> None:
        spaces = namespaces_of(session.vantages, self.paths)
        self._listen(session, spaces)
        self._reader = threading.Thread(
            target=self._read_starts,
            args=(session, spaces, session.vantages),
            name="evidence",
            daemon=True,
        )
        self._reader.start()
        self._reader.join(PATIENCE_S)

    def welcome(
        self, session: CaptureSession, paths: Mapping[int, str], vantages: Sequence[Vantage]
    ) -> None:
        """Namespaces that joined later, with these vantages: for them, this is the start. Takes
        some milliseconds."""
        fresh = {inode: path for inode, path in paths.items() if self._path(inode) != path}
        self._joined |= fresh
        if self._events:
            self._events.welcome(fresh)
        self._read_starts(session, fresh, vantages)

    def _path(self, inode: int) -> str | None:
        return self._joined.get(inode, self.paths.get(inode))

    def close(self, session: CaptureSession) -> bytes:
        """How it is now."""
        self.abandon()
        spaces = namespaces_of(session.vantages, {**self.paths, **self._joined})
        blocks = []
        for end in read_namespaces(spaces, at_start=False):
            start = self._starts.get(end.netns)
            if start and (self.again or end.netns not in self._told):
                blocks.append(self._start_of(end.netns))
            before = start if start and start.cookie == end.cookie else None
            blocks.append(own(encode_moment(end, before)))
            self.ends.append(end)
        return b"".join([*blocks, self._heard()])

    def abandon(self) -> None:
        """Read no more."""
        self._ends.set()
        if self._reader:
            self._reader.join()
            self._reader = None
        if self._events:
            self._events.close()

    def tell(self, event: KernelEvent) -> None:
        """Keep what the engine tells while the capture runs. Safe in threads."""
        if self._events:
            self._events.tell(event)

    def _listen(self, session: CaptureSession, spaces: Mapping[int, str]) -> None:
        """Hear from now on what changes; without the rights to, that is told."""
        if self.host not in self.paths:
            return
        events = EventWatch(self.host, lambda: session.keep(self._heard))
        try:
            self._events = events.open({self.host: self.paths[self.host], **spaces})
        except (OSError, VethscopeError) as error:
            events.absent["namespaces"] = str(error)
            session.keep(lambda: b"".join(map(own, events.take())))
            events.close()

    def _heard(self) -> bytes:
        if not self._events:
            return b""
        self._events.absent |= self.unheard
        return b"".join(map(own, self._events.take()))

    def _read_starts(
        self, session: CaptureSession, spaces: Mapping[int, str], vantages: Sequence[Vantage]
    ) -> None:
        if self._events:
            self._events.sample(spaces, devices_of(vantages))
        for start in read_namespaces(spaces, at_start=True, ends=self._ends):
            self._starts[start.netns] = start
            session.keep(partial(self._start_of, start.netns))

    def _start_of(self, netns: int) -> bytes:
        self._told.add(netns)
        return own(encode_moment(self._starts[netns]))


def namespaces_of(vantages: Iterable[Vantage], paths: Mapping[int, str]) -> dict[int, str]:
    """Inode → path; the host's first: most of what can go wrong is counted there."""
    inside = {v.netns: v.role is Role.CONTAINER for v in reversed(list(vantages))}
    spaces = sorted((inode for inode in inside if inode in paths), key=lambda one: inside[one])
    return {inode: paths[inode] for inode in spaces}


def devices_of(vantages: Iterable[Vantage]) -> dict[int, Sequence[str]]:
    """Inode → interfaces that have a stack behind them: ports of bridges answer nobody."""
    devices: dict[int, list[str]] = {}
    for vantage in vantages:
        if not vantage.master_ifindex:
            devices.setdefault(vantage.netns, []).append(vantage.interface)
    return {netns: list(dict.fromkeys(names)) for netns, names in devices.items()}
