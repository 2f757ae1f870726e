"""Sysctls of which the kernel tells no change: looked at again and again while a capture runs.

A file of /proc/sys/net is that of the namespace in which it was opened, for as long as it is open,
and keeps no namespace in existence. So each is opened once, inside, and read from anywhere then.
Each look goes over the few that stop traffic at once, and over some of the others in turn, so that
hundreds of containers cost no more in a second than a few.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from analyzer.closing import Closing
from analyzer.errors import VethscopeError
from analyzer.model.evidence import KernelEvent
from analyzer.net.netns import allow_descriptors, visit

OF_CONTAINERS = ("net.ipv4.icmp_echo_ignore_all",)
OF_ROUTERS = (
    *OF_CONTAINERS,
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.bridge.bridge-nf-call-arptables",
)
"""in the host's namespace"""
OF_DEVICES = ("arp_ignore", "arp_announce")
"""of ``all`` devices, and of each one that is told; looked at in turn (``rp_filter`` is told by the
kernel, see `analyzer.recorders.evidence.netconf`)"""
_IN_TURN, _TURNS = 50, 20
"""of those that are looked at in turn: so many at once, and a twentieth where they are more"""
_LEAST_PAUSE_S, _PAUSE_EACH_S = 0.1, 0.0018
"""a look at one takes 2 to 6 µs: some tenths of a percent of a core for any number of them"""
_MOST_BYTES = 64
_CONF = "net.ipv4.conf."
_AS_PATH = str.maketrans("./", "/.")
_AT_ONCE = 2


class SysctlSamples(Closing):
    """Values as they were looked at last."""

    def __init__(self) -> None:
        self._files: dict[tuple[int, str], int] = {}
        """(namespace inode, name) → descriptor"""
        self._always: list[tuple[int, str]] = []
        self._in_turn: deque[tuple[int, str]] = deque()
        self._values: dict[tuple[int, str], tuple[int, bytes]] = {}
        """when it was looked at last, and its value then"""
        self._lock = threading.Lock()
        self.problem = ""
        """why some are not looked at"""

    def add(
        self,
        paths: Mapping[int, str],
        host: int,
        now_ns: int,
        devices: Mapping[int, Sequence[str]] | None = None,
    ) -> None:
        """Look at those of these namespaces, inode → path, from now on. Safe in threads.

        devices: inode → interfaces of which the own ones are looked at, too.
        """
        names = {inode: _names(inode == host, (devices or {}).get(inode, ())) for inode in paths}
        allow_descriptors(len(self._files) + sum(map(len, names.values())))

        def open_all(inode: int, path: str) -> dict[tuple[int, str], int]:
            try:
                opened = visit(path, inode, lambda: _open(names[inode]))
            except (OSError, VethscopeError) as error:
                self.problem = str(error)
                return {}
            return {(inode, name): fd for name, fd in opened}

        with ThreadPoolExecutor(_AT_ONCE, "sysctls") as pool:
            for files in pool.map(open_all, paths.keys(), paths.values()):
                self._take(files, now_ns)
        with self._lock:
            self._share_out()

    def _take(self, files: dict[tuple[int, str], int], now_ns: int) -> None:
        """An inode's number may have been another namespace's before."""
        with self._lock:
            for key, fd in files.items():
                if key in self._files:
                    os.close(self._files[key])
                self._files[key] = fd
                self._values.pop(key, None)
            self._look_at(files, now_ns)

    def _share_out(self) -> None:
        """Which are looked at each time, and which in turn; whose turn it is stays."""
        rare = [key for key in self._files if key[1].startswith(_CONF)]
        waiting = [key for key in self._in_turn if key in self._files]
        self._in_turn = deque(dict.fromkeys((*waiting, *rare)))
        self._always = [key for key in self._files if not key[1].startswith(_CONF)]

    @property
    def pause_s(self) -> float | None:
        """How long to wait until the next look; None: there is nothing to look at."""
        count = len(self._always) + self._share
        return max(_LEAST_PAUSE_S, count * _PAUSE_EACH_S) if count else None

    @property
    def _share(self) -> int:
        return min(len(self._in_turn), max(_IN_TURN, len(self._in_turn) // _TURNS))

    def look(self, now_ns: int) -> list[KernelEvent]:
        """What is another value than it was. Safe in threads."""
        with self._lock:
            share = [self._in_turn[at] for at in range(self._share)]
            self._in_turn.rotate(-len(share))
            return self._look_at((*self._always, *share), now_ns)

    def look_at_all(self, now_ns: int) -> list[KernelEvent]:
        """The same, and none is left for later."""
        with self._lock:
            return self._look_at(self._files, now_ns)

    def _look_at(self, keys: Iterable[tuple[int, str]], now_ns: int) -> list[KernelEvent]:
        changes, gone = [], []
        for key in keys:
            try:
                value = os.pread(self._files[key], _MOST_BYTES, 0)
            except OSError:  # the namespace has gone, or the device
                gone.append(key)
                continue
            since_ns, before = self._values.get(key, (now_ns, value))
            self._values[key] = now_ns, value
            if value != before:
                changes.append(_changed(*key, value, now_ns, since_ns))
        for key in gone:
            os.close(self._files.pop(key))
        if gone:
            self._share_out()
        return changes

    def close(self) -> None:
        with self._lock:
            for fd in self._files.values():
                os.close(fd)
            self._files = {}
            self._share_out()


def _changed(netns: int, name: str, value: bytes, now_ns: int, since_ns: int) -> KernelEvent:
    text = value.decode("ascii", "replace").strip()
    return KernelEvent(now_ns, netns, "sysctl", "changed", name, text, since_ns=since_ns)


def _names(is_host: bool, devices: Sequence[str]) -> list[str]:
    """As ``sysctl`` writes them: a dot in a device's name is a slash."""
    written = ("all", *(one.replace(".", "/") for one in devices))
    of_devices = [f"{_CONF}{device}.{name}" for device in written for name in OF_DEVICES]
    return [*(OF_ROUTERS if is_host else OF_CONTAINERS), *of_devices]


def _open(names: Sequence[str]) -> list[tuple[str, int]]:
    """Of the calling thread's namespace; those that are not there are left out."""
    files = []
    for name in names:
        path = name.translate(_AS_PATH)
        try:
            fd = os.open(f"/proc/sys/{path}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        files.append((name, fd))
    return files
