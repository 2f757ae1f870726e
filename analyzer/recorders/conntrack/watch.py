"""Listen to connection tracking while a capture runs: one thread that sleeps while nothing happens.

The kernel tells of a new connection while its first packet is still on its way, so whatever the
packets of a capture were translated to is known when the capture ends. After a wake-up the thread
waits a moment, so that many connections make one wake-up. Where the kernel has more to tell than
there is room for (ENOBUFS), the times are counted and told; nobody waits.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time
from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Interface, ip_interface

import numpy as np
import numpy.typing as npt

from analyzer.errors import EnvironmentProblem
from analyzer.model.nat_entries import ENDED, ROW, Rows
from analyzer.native.keys import mixed
from analyzer.native.words import padded
from analyzer.net.capabilities import keep_nothing
from analyzer.net.ip import MAPPED
from analyzer.net.netlink import RECEIVE_BYTES, NetlinkSocket
from analyzer.net.netns import run_inside
from analyzer.recorders.conntrack.ctnetlink import open_events, read_table
from analyzer.recorders.conntrack.messages import WORDS, to_rows, walk_messages
from analyzer.recorders.conntrack.record import Heard, encode_entries

MOST_ENTRIES = 1 << 17
"""rows that a file keeps: eleven megabytes"""
GATHER_S = 0.02
"""after a wake-up: what comes meanwhile is taken with it"""
_ROOM = 4 * RECEIVE_BYTES
_SMALLEST = 64
"""bytes of a message that tells two tuples; it is more in fact"""


class ConntrackWatch:
    """Of one namespace, from `open` until `stop`; `take` gives what there is."""

    def __init__(
        self,
        netns: int,
        networks: Sequence[str] = (),
        protocols: Collection[int] = (),
        notify: Callable[[], None] | None = None,
    ) -> None:
        """networks, protocols: only what has an end in these, of these; none: everything.

        notify: called, in a thread of ours, when there is something to `take`.
        """
        self.netns = netns
        self._networks = network_masks(networks)
        self._protocols = np.array(sorted(protocols), np.uint64)
        self._notify = notify or (lambda: None)
        self._buffer = np.zeros(_ROOM, np.uint8)
        self._out = np.zeros((_ROOM // _SMALLEST, WORDS), np.uint64)
        self._lock, self._draining = threading.Lock(), threading.Lock()
        self._fresh: list[Rows] = []
        self._kept: list[Rows] = []
        self._count = 0
        self._told = False
        """a block was written: the file tells that there was somebody to listen"""
        self.overruns = self.left_out = 0
        self._wake = -1
        self._events: NetlinkSocket | None = None
        self._ends = threading.Event()
        self._bare = threading.Event()
        """its thread has given up its rights"""
        self._thread = threading.Thread(target=self._run, name="conntrack", daemon=True)

    def open(self, path: str) -> ConntrackWatch:
        """Listen from now on in the namespace at ``path``, and read what is there.

        Raises EnvironmentProblem; then nothing is left behind.
        """
        warm()  # before events come
        try:
            table = run_inside(path, self._open)
        except OSError as error:
            self.close()
            raise EnvironmentProblem(_reason(error)) from error
        except BaseException:
            self.close()
            raise
        for data in table:
            self._understand(np.frombuffer(bytearray(data), np.uint8), len(data))
        self._wake = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread.start()
        self._bare.wait()
        self._notify()
        return self

    def _open(self) -> list[bytes]:
        self._events = open_events()
        return list(read_table())

    def stop(self) -> None:
        """Listen no more and read what is left; `take` has the rest then."""
        self._ends.set()
        if self._thread.is_alive():
            os.eventfd_write(self._wake, 1)
            self._thread.join()

    def close(self) -> None:
        self.stop()
        if self._events:
            self._events.close()
            self._events = None
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1

    def take(self) -> list[bytes]:
        """The data of blocks for the file, heard since the last call. Safe in threads."""
        with self._lock:
            rows, self._fresh = self._fresh, []
        if self._told and not rows:
            return []
        self._told = True
        return encode_entries(self._heard(rows))

    def whole(self) -> list[bytes]:
        """The data of blocks with all that a file tells; the next file begins. Safe in threads."""
        self._drain()
        with self._lock:
            kept, self._fresh = self._kept, []
            rows = np.concatenate([np.empty(0, ROW), *kept])
            self._kept = [_living(rows)]
            self._count = len(self._kept[0])
        return encode_entries(self._heard([rows]))

    def _heard(self, rows: Sequence[Rows]) -> Heard:
        together = np.concatenate([np.empty(0, ROW), *rows])
        return Heard(self.netns, together, self.overruns, self.left_out)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            keep_nothing()
        self._bare.set()
        assert self._events
        poll = select.poll()
        for fd in (self._events.fileno(), self._wake):
            poll.register(fd, select.POLLIN)
        while not self._ends.is_set():
            poll.poll()
            self._ends.wait(GATHER_S)
            self._drain()

    def _drain(self) -> None:
        """Take all events that wait."""
        with self._draining:
            self._drain_alone()

    def _drain_alone(self) -> None:
        used, view = 0, self._buffer.data
        while True:
            try:
                got = self._events.socket.recv_into(view[used:]) if self._events else 0
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    return
                self.overruns += 1
                continue
            used += padded(got)
            if used > _ROOM - RECEIVE_BYTES:
                self._understand(self._buffer, used)
                used = 0
        self._understand(self._buffer, used)

    def _understand(self, data: npt.NDArray[np.uint8], used: int) -> None:
        count, _ = walk_messages(data, used, self._networks, self._protocols, self._out, 0)
        if not count:
            return
        rows = to_rows(self._out[:count], time.time_ns())
        with self._lock:
            room = max(MOST_ENTRIES - self._count, 0)
            self.left_out += max(len(rows) - room, 0)
            if len(rows := rows[:room]):
                self._fresh.append(rows)
                self._kept.append(rows)
                self._count += len(rows)
        self._notify()


def warm() -> None:
    """Have the code of its loops at hand: a running capture can open no file for it."""
    ConntrackWatch(0)._understand(np.zeros(4, np.uint8), 0)
    _living(np.empty(0, ROW))


def network_masks(networks: Sequence[str]) -> npt.NDArray[np.uint64]:
    """[n, 4] address and mask, in high and low words; IPv4 as ::ffff:a.b.c.d."""
    rows = []
    for text in networks:
        network = ip_interface(text).network
        base, mask = int(network.network_address), int(network.netmask)
        if isinstance(ip_interface(text), IPv4Interface):
            base, mask = base | MAPPED, mask | (((1 << 128) - 1) ^ 0xFFFFFFFF)
        rows.append([base >> 64, base & (1 << 64) - 1, mask >> 64, mask & (1 << 64) - 1])
    return np.array(rows, np.uint64).reshape(-1, 4)


def _living(rows: Rows) -> Rows:
    """Without the connections that have ended."""
    ended = rows["what"] == ENDED
    keys = mixed(*(rows[name] for name in ROW.names or () if name not in ("ts_ns", "what")))
    return rows[~np.isin(keys, keys[ended])]


def _reason(error: OSError) -> str:
    if error.errno in (errno.EPERM, errno.EACCES):
        return "listening to conntrack is not permitted: run as root or with CAP_NET_ADMIN"
    return f"this kernel tells nothing of conntrack ({error.strerror}): load nf_conntrack_netlink"
