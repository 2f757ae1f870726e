"""Watch the topology: discover again whenever something happens, and tell the difference.

What happens is told by netlink notifications of the host's namespace (links and addresses) and by
the engine's own events. Neither says what it means: a container's start is a dozen of them. So
they only wake us up; when they have been quiet for a moment, a new discovery is compared with
the last one.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from analyzer.closing import Closing
from analyzer.model.topology import Container, Interface, Topology
from analyzer.net import rtnetlink
from analyzer.net.netns import run_inside
from analyzer.net.rtnetlink import RtnetlinkSocket
from analyzer.topology.discover import Source, discover
from analyzer.topology.relations import bridge_of, container_of, is_host, other_end
from analyzer.topology.resolve import PAIRED

GROUPS = rtnetlink.RTMGRP_LINK | rtnetlink.RTMGRP_IPV4_IFADDR | rtnetlink.RTMGRP_IPV6_IFADDR
QUIET_S = 0.15
"""Events of one change come closer together than this."""
BUSY_S = 1.0
"""Where it never gets quiet, look so often all the same."""
UNKNOWN_S = 2.0
"""A pair whose container the engine does not tell yet, or any more, is held back so long."""


class Change(Struct, frozen=True):
    """Something appeared, is gone, or changed."""

    kind: str
    """container, veth, bridge"""
    action: str
    """appeared, gone, changed"""
    name: str
    """of the container, the host end of the pair, or the bridge"""
    container: str
    """whose pair it is; empty where unknown"""
    text: str
    """one line for a person, safe for a terminal"""
    ts_ns: int
    """when it was noticed, ns since the epoch"""

    def __str__(self) -> str:
        return self.text

    def to_json(self) -> dict[str, Any]:
        """The change as ``topology --watch --json`` tells it."""
        return asdict(self)


class Watch(Closing):
    """The changes of a topology from now on, as an iterator. A context manager.

    The first state is ``topology``. ``stop`` ends the iteration at once; it may be called from
    another thread or a signal handler. Raises what `discover` raises, also later, when the engine
    has gone away.
    """

    def __init__(self, engine: Source) -> None:
        self._engine = engine
        self._stopping = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._end: Callable[[], None] = lambda: None
        self._netlink: RtnetlinkSocket | None = None
        try:
            # Listen first, look afterwards: nothing can happen unseen between the two.
            self._netlink = run_inside(engine.host_netns_path, RtnetlinkSocket, GROUPS)
            self._end = engine.subscribe(self._notify)
            self.topology = discover(engine)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop, and let go of sockets and events."""
        self._stopping = True
        self._end()
        if self._netlink is not None:
            self._netlink.close()
        wake, self._wake = self._wake, -1
        if wake >= 0:
            os.close(wake)

    def stop(self) -> None:
        """End the iteration."""
        self._stopping = True
        self._notify()

    def __iter__(self) -> Iterator[Change]:
        while self._wait(None):
            self._settle(BUSY_S)
            after = discover(self._engine)
            deadline = time.monotonic() + UNKNOWN_S
            while _unknown_pairs(self.topology, after) and time.monotonic() < deadline:
                self._settle(QUIET_S)
                if self._stopping:
                    return
                after = discover(self._engine)
            before, self.topology = self.topology, after
            yield from changes(before, after, time.time_ns())

    def _notify(self) -> None:
        # Already closed: an engine's last event may come late.
        with contextlib.suppress(OSError, ValueError):
            os.eventfd_write(self._wake, 1)

    def _settle(self, most_s: float) -> None:
        """Wait until events have been quiet for a while, or for so long at most."""
        deadline = time.monotonic() + most_s
        while not self._stopping and time.monotonic() < deadline and self._wait(QUIET_S):
            pass

    def _wait(self, timeout_s: float | None) -> bool:
        """Whether something happened within the time; False at once when stopped."""
        assert self._netlink is not None
        if self._stopping:
            return False
        netlink = self._netlink.fileno()
        ready, _, _ = select.select([netlink, self._wake], [], [], timeout_s)
        if self._wake in ready:
            os.eventfd_read(self._wake)
        if netlink in ready:
            # ENOBUFS: more than the socket could hold. What it said does not matter anyway.
            with contextlib.suppress(OSError):
                self._netlink.receive()
        return bool(ready) and not self._stopping


def changes(before: Topology, after: Topology, ts_ns: int = 0) -> list[Change]:
    """What is gone, then what changed or appeared: bridges around pairs around containers. Pure."""
    old_pairs, new_pairs = _pairs(before), _pairs(after)
    old_bridges, new_bridges = _bridges(before), _bridges(after)
    old_running, new_running = _running(before), _running(after)
    changed = [
        *[_pair(before, i, "gone", ts_ns) for k, i in old_pairs.items() if k not in new_pairs],
        *[_box(before, c, "gone", ts_ns) for k, c in old_running.items() if k not in new_running],
        *[_bridge(i, "gone", ts_ns) for k, i in old_bridges.items() if k not in new_bridges],
        *[_bridge(i, "appeared", ts_ns) for k, i in new_bridges.items() if k not in old_bridges],
        *[_pair(after, i, "appeared", ts_ns) for k, i in new_pairs.items() if k not in old_pairs],
    ]
    for key in old_pairs.keys() & new_pairs.keys():
        if _state(before, old_pairs[key]) != _state(after, new_pairs[key]):
            changed.append(_pair(after, new_pairs[key], "changed", ts_ns))
    fresh = [c for key, c in new_running.items() if key not in old_running]
    return changed + [_box(after, c, "appeared", ts_ns) for c in fresh]


def _unknown_pairs(before: Topology, after: Topology) -> bool:
    """Whether there are pairs of which no container is known: not yet, or not any more.

    A container is gone some time before the kernel takes its veth down.
    """
    old = _pairs(before)
    return any(
        container_of(after, interface) is None
        for key, interface in _pairs(after).items()
        if key not in old or container_of(before, old[key]) is not None
    )


def _pairs(topology: Topology) -> dict[object, Interface]:
    """The host ends of all pairs; one that was made anew under an old ifindex is another."""
    return {
        (i.key, i.mac): i
        for i in topology.interfaces
        if is_host(topology, i) and i.kind in PAIRED and i.key not in topology.uplinks
    }


def _bridges(topology: Topology) -> dict[object, Interface]:
    bridges = [i for i in topology.interfaces if is_host(topology, i) and i.kind == "bridge"]
    return {(i.key, i.name): i for i in bridges}


def _running(topology: Topology) -> dict[object, Container]:
    """A container that was started again is another one: its namespace is."""
    return {(c.id or c.name, c.netns): c for c in topology.containers if c.running}


def _state(topology: Topology, interface: Interface) -> tuple[object, ...]:
    bridge = bridge_of(topology, interface)
    return (interface.name, interface.peer, interface.up, bridge.key if bridge else None)


def _pair(topology: Topology, host: Interface, action: str, ts_ns: int) -> Change:
    end = other_end(topology, host)
    owner = container_of(topology, host)
    bridge = bridge_of(topology, host)
    inside = f"{end.name}@if{host.ifindex}" if end else "?"
    outside = f"{host.name}@if{end.ifindex}" if end else host.name
    whose = f" ({owner.name})" if owner else ""
    where = f" on {bridge.name}" if bridge and action != "gone" else ""
    down = ", down" if not host.up and action == "changed" else ""
    text = f"veth pair {inside} ↔ {outside}{whose} {_VERBS[action]}{where}{down}"
    name = owner.name if owner else ""
    return Change("veth", action, host.name, name, _plain(text), ts_ns)


def _box(topology: Topology, container: Container, action: str, ts_ns: int) -> Change:
    addresses = [a for n in container.networks for a in n.addresses]
    more = f": {', '.join(addresses)}" if addresses and action == "appeared" else ""
    short = f" ({container.id[:12]})" if container.id else ""
    text = f"container {container.name}{short} {_VERBS[action]}{more}"
    return Change("container", action, container.name, container.name, _plain(text), ts_ns)


def _bridge(bridge: Interface, action: str, ts_ns: int) -> Change:
    text = f"bridge {bridge.name} {_VERBS[action]}"
    return Change("bridge", action, bridge.name, "", _plain(text), ts_ns)


_VERBS = {"appeared": "appeared", "gone": "is gone", "changed": "changed"}


def _plain(text: str) -> str:
    """Names may hold escape sequences and newlines: a line stays one line, and plain."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
