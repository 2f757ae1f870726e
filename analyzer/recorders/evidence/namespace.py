"""All that is recorded of one network namespace, read at one moment.

Each source is read by itself: one that the kernel or our rights do not give is told as absent, with
the reason, and never keeps the others from being read.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any

from analyzer.errors import VethscopeError
from analyzer.model.evidence import MOST_ROWS, NamespaceEvidence
from analyzer.net.netns import visit
from analyzer.net.rtnetlink import RtnetlinkSocket
from analyzer.recorders.evidence import addressing, bridging, procfs, qdiscs
from analyzer.recorders.evidence.counters import read_counters
from analyzer.recorders.evidence.rulesets import (
    NOT_ASKED,
    has_legacy_ebtables,
    read_rulesets,
)
from analyzer.recorders.evidence.sockets import read_sockets
from analyzer.topology.procfs import read_small

GONE = "the namespace is gone"
_SO_NETNS_COOKIE = 71
_AT_ONCE = 2


def read_namespaces(
    paths: Mapping[int, str], *, at_start: bool, ends: threading.Event | None = None
) -> Iterator[NamespaceEvidence]:
    """One after the other, of the namespaces with these inode numbers and paths.

    ends: when it is set, no more are read.
    """

    def read(inode: int, path: str) -> NamespaceEvidence | None:
        return None if ends and ends.is_set() else _visit(inode, path, at_start)

    with ThreadPoolExecutor(_AT_ONCE, "evidence") as pool:
        for found in pool.map(read, paths.keys(), paths.values()):
            if found is not None:
                yield found


def _visit(inode: int, path: str, at_start: bool) -> NamespaceEvidence:
    """In a thread that does nothing else."""
    try:
        return visit(path, inode, lambda: _read(inode, at_start))
    except (FileNotFoundError, ProcessLookupError):
        return _absent(inode, at_start, GONE)
    except (OSError, VethscopeError) as error:
        return _absent(inode, at_start, str(error))


def _absent(inode: int, at_start: bool, reason: str) -> NamespaceEvidence:
    return NamespaceEvidence(inode, 0, at_start, time.time_ns(), absent={"namespace": reason})


def netns_cookie() -> int:
    """A number that no other namespace will have while the kernel runs; 0 before Linux 5.14."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            raw = probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        except OSError:
            return 0
    return int.from_bytes(raw, "little")


class _Sources:
    """Reads one source after the other, and remembers what could not be read."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[Any, ...]] = {}
        self.absent: dict[str, str] = {}
        self.truncated: dict[str, int] = {}

    def read(self, kind: str, source: Callable[[], Iterable[Any]]) -> tuple[Any, ...]:
        """At most `MOST_ROWS` rows of one kind; those beyond are counted."""
        try:
            rows = iter(source())
            self.rows[kind] = tuple(islice(rows, MOST_ROWS))
            if more := sum(1 for _ in rows):
                self.truncated[kind] = more
        except (OSError, ValueError) as error:
            self.absent[kind] = getattr(error, "strerror", None) or str(error)
        return self.rows.get(kind, ())


def _read(inode: int, at_start: bool) -> NamespaceEvidence:
    sources, ts_ns = _Sources(), time.time_ns()
    counters = read_counters(sources.absent)
    sources.read("sockets", read_sockets)
    try:
        with RtnetlinkSocket() as netlink:
            _read_by_rtnetlink(netlink, sources)
    except OSError as error:
        sources.absent["rtnetlink"] = error.strerror or str(error)
    sources.read("memberships", procfs.read_memberships)
    links = sources.rows.get("links", ())
    sources.read("settings", lambda: procfs.read_settings(links))
    sources.read("rulesets", read_rulesets)
    if sources.rows.get("bridges") and has_legacy_ebtables(_modules()):
        sources.absent["ebtables-legacy"] = NOT_ASKED
    return NamespaceEvidence(
        inode,
        netns_cookie(),
        at_start,
        ts_ns,
        counters,
        **_rows(sources.rows),
        truncated=sources.truncated,
        absent=sources.absent,
        reading_ns=time.time_ns() - ts_ns,
    )


def _modules() -> str:
    """'' of a kernel without any."""
    with suppress(OSError):
        return read_small("/proc/modules")
    return ""


def _rows(rows: Mapping[str, tuple[Any, ...]]) -> Mapping[str, Any]:
    return rows


def _read_by_rtnetlink(netlink: RtnetlinkSocket, sources: _Sources) -> None:
    devices = bridging.Devices([], [], [])
    try:
        devices = bridging.read_devices(netlink)
    except OSError as error:
        sources.absent["links"] = error.strerror or str(error)
    for kind in devices._fields:
        sources.read(kind, partial(getattr, devices, kind))
    sources.read("addresses", lambda: addressing.read_addresses(netlink))
    sources.read("routes", lambda: addressing.read_routes(netlink))
    sources.read("rules", lambda: addressing.read_rules(netlink))
    sources.read("neighbours", lambda: addressing.read_neighbours(netlink))
    disciplines = sources.read("qdiscs", lambda: qdiscs.read_qdiscs(netlink))
    if any(one.kind in qdiscs.WITH_CLASSES for one in disciplines):
        sources.read("classes", lambda: qdiscs.read_classes(netlink, disciplines))
    if disciplines:
        sources.read("filters", lambda: qdiscs.read_filters(netlink, disciplines))
    if devices.forwards_by_mac:
        sources.read("fdb", lambda: bridging.read_fdb(netlink))
    if devices.bridges:
        sources.read("mdb", lambda: bridging.read_mdb(netlink))
