"""Sysctls of which the kernel tells no change: looked at again and again while a capture runs.

A file of /proc/sys/net is that of the namespace in which it was opened, for as long as it is open,
and keeps no namespace in existence. So each is opened once, inside, and read from anywhere then.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from analyzer.closing import Closing
from analyzer.errors import VethscopeError
from analyzer.model.evidence import KernelEvent
from analyzer.net.netns import allow_descriptors, visit

OF_CONTAINERS = ("net.ipv4.icmp_echo_ignore_all",)
OF_ROUTERS = (
    *OF_CONTAINERS,
    "net.ipv4.conf.all.arp_ignore",
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.bridge.bridge-nf-call-arptables",
)
"""in the host's namespace"""
_LEAST_PAUSE_S, _PAUSE_EACH_S = 0.1, 0.002
"""a look at one takes 2 to 4 µs: some tenths of a percent of a core for any number of them"""
_MOST_BYTES = 64
_AT_ONCE = 2


class SysctlSamples(Closing):
    """Values as they were looked at last."""

    def __init__(self) -> None:
        self._files: dict[tuple[int, str], int] = {}
        """(namespace inode, dotted name) → descriptor"""
        self._values: dict[tuple[int, str], tuple[int, bytes]] = {}
        """when it was looked at last, and its value then"""
        self._lock = threading.Lock()
        self.problem = ""
        """why some are not looked at"""

    def add(self, paths: Mapping[int, str], host: int, now_ns: int) -> None:
        """Look at those of these namespaces, inode → path, from now on. Safe in threads."""
        allow_descriptors(len(self._files) + len(paths) * len(OF_CONTAINERS) + len(OF_ROUTERS))

        def open_all(inode: int, path: str) -> dict[tuple[int, str], int]:
            names = OF_ROUTERS if inode == host else OF_CONTAINERS
            try:
                return {(inode, n): fd for n, fd in visit(path, inode, lambda: _open(names))}
            except (OSError, VethscopeError) as error:
                self.problem = str(error)
                return {}

        with ThreadPoolExecutor(_AT_ONCE, "sysctls") as pool:
            for files in pool.map(open_all, paths.keys(), paths.values()):
                self._take(files)
        self.look(now_ns)

    def _take(self, files: dict[tuple[int, str], int]) -> None:
        """An inode's number may have been another namespace's before."""
        with self._lock:
            for key, fd in files.items():
                if key in self._files:
                    os.close(self._files[key])
                self._files[key] = fd
                self._values.pop(key, None)

    @property
    def pause_s(self) -> float | None:
        """How long to wait until the next look; None: there is nothing to look at."""
        count = len(self._files)
        return max(_LEAST_PAUSE_S, count * _PAUSE_EACH_S) if count else None

    def look(self, now_ns: int) -> list[KernelEvent]:
        """What is another value than it was. Safe in threads."""
        changes = []
        with self._lock:
            for key, fd in list(self._files.items()):
                try:
                    value = os.pread(fd, _MOST_BYTES, 0)
                except OSError:  # the namespace has gone
                    os.close(self._files.pop(key))
                    continue
                since_ns, before = self._values.get(key, (now_ns, value))
                self._values[key] = now_ns, value
                if value != before:
                    changes.append(_changed(*key, value, now_ns, since_ns))
        return changes

    def close(self) -> None:
        with self._lock:
            for fd in self._files.values():
                os.close(fd)
            self._files = {}


def _changed(netns: int, name: str, value: bytes, now_ns: int, since_ns: int) -> KernelEvent:
    text = value.decode("ascii", "replace").strip()
    return KernelEvent(now_ns, netns, "sysctl", "changed", name, text, since_ns=since_ns)


def _open(names: tuple[str, ...]) -> list[tuple[str, int]]:
    """Of the calling thread's namespace; those that are not there are left out."""
    files = []
    for name in names:
        try:
            fd = os.open(f"/proc/sys/{name.replace('.', '/')}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        files.append((name, fd))
    return files
