"""Containers without an engine: every network namespace that has processes, or a name.

Podman, containerd, CRI-O and Kubernetes show their containers' ids in the cgroup path of each
process (cgroups(7)), and that is enough to tell them apart without any of their APIs. The host
is the namespace of process 1 where that may be read, else our own: inside a privileged
container with the host's pids, process 1 is what a person means by "the host".
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from msgspec import Struct

from analyzer.closing import Closing
from analyzer.model.evidence import KernelEvent
from analyzer.model.topology import Container

NETNS_DIR = "/run/netns"
_HEX_ID = r"([0-9a-f]{64}|[0-9a-f]{32}-[0-9]+)"
_PREFIXES = "docker-|libpod-|crio-|cri-containerd-|containerd-|cri-o-|buildkit-|nerdctl-"
CONTAINER_ID = re.compile(rf"/(?:{_PREFIXES})?{_HEX_ID}(?:\.scope)?(?=/|$)")
"""The last of a path: docker/ID, docker-ID.scope, libpod-ID.scope/container, kubepods/…/podUID/ID,
kubepods-…slice/cri-containerd-ID.scope; cgroup v1 and v2 (ECS: 32 hex, dash, number). A
monitor outside the container (libpod-conmon-ID.scope) bears the id too and must not match."""


class _Process(Struct, frozen=True):
    pid: int
    netns: int
    container_id: str


class NetnsEngine(Closing):
    """Every namespace with processes, plus those in /run/netns. A context manager.

    ``proc`` and ``netns_dir`` are the places to read, so that a recorded tree is as good as
    this machine.
    """

    name = "netns"

    def __init__(self, proc: str = "/proc", netns_dir: str = NETNS_DIR) -> None:
        self.proc = proc
        self.netns_dir = netns_dir
        self.warnings: list[str] = []
        first = f"{proc}/1/ns/net"
        self.host_netns_path = first if os.access(first, os.R_OK) else f"{proc}/self/ns/net"

    def close(self) -> None:
        """Nothing is held."""

    def starting(self, bridge: str) -> None:
        """None: `containers` knows a container as soon as its namespace is there."""
        return None

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Namespaces send no events; the host's netlink notifications have to do."""
        return lambda: None

    def hear(self, heard: Callable[[KernelEvent], None]) -> Callable[[], None]:
        """Namespaces send no events."""
        return lambda: None

    def containers(self) -> list[Container]:
        """By name: first 12 of the container's id, or the /run/netns name, or ``comm:pid``.

        In a shared namespace (a pod) the container with the lowest pid is the owner, which is
        the pause container that was started first; the others share with it.
        """
        self.warnings = []
        host = os.stat(self.host_netns_path).st_ino
        processes = self._processes()
        names = self._named()
        containers: list[Container] = []
        for netns in sorted({p.netns for p in processes} | set(names)):
            inside = [p for p in processes if p.netns == netns]
            if netns == host:
                containers += self._with_ids(inside, "host")
            else:
                containers += self._in_namespace(netns, inside, names.get(netns, ""))
        return sorted(containers, key=lambda c: c.name)

    def _in_namespace(self, netns: int, inside: list[_Process], named: str) -> list[Container]:
        if with_ids := self._with_ids(inside, ""):
            return with_ids
        if named:
            pid = inside[0].pid if inside else 0
            return [Container(named, "", pid, netns, netns_path=f"{self.netns_dir}/{named}")]
        pid = inside[0].pid
        path = f"{self.proc}/{pid}/ns/net"
        return [Container(f"{self._comm(pid)}:{pid}", "", pid, netns, netns_path=path)]

    def _with_ids(self, inside: list[_Process], shares: str) -> list[Container]:
        """One container per id, by lowest pid; the first of a namespace is its owner."""
        first: dict[str, _Process] = {}
        for process in inside:
            if process.container_id:
                first.setdefault(process.container_id, process)
        containers: list[Container] = []
        for container_id, process in first.items():
            owner = shares or (containers[0].name if containers else "")
            path = f"{self.proc}/{process.pid}/ns/net"
            name = container_id[:12]
            containers.append(
                Container(name, container_id, process.pid, process.netns, (), owner, path)
            )
        return containers

    def _processes(self) -> list[_Process]:
        """All processes whose namespace we may see, by pid."""
        processes, refused = [], 0
        for pid in sorted(int(name) for name in os.listdir(self.proc) if name.isdecimal()):
            try:
                netns = os.stat(f"{self.proc}/{pid}/ns/net").st_ino
                with open(f"{self.proc}/{pid}/cgroup") as file:
                    processes.append(_Process(pid, netns, container_id(file.read())))
            except PermissionError:
                refused += 1
            except OSError:
                continue  # it ended meanwhile
        if refused and os.geteuid():
            self.warnings.append(
                f"{refused} processes of other users could not be looked into; run as root"
            )
        return processes

    def _named(self) -> dict[int, str]:
        """netns inode → name in /run/netns, the first by name.

        A file on another file system is what a crash left of a name whose mount is gone.
        """
        named: dict[int, str] = {}
        nsfs = os.stat(self.host_netns_path).st_dev
        try:
            names = sorted(os.listdir(self.netns_dir), reverse=True)
        except OSError:
            return named
        for name in names:
            try:
                status = os.stat(f"{self.netns_dir}/{name}")
            except OSError:
                continue
            if status.st_dev == nsfs:
                named[status.st_ino] = name
        return named

    def _comm(self, pid: int) -> str:
        try:
            with open(f"{self.proc}/{pid}/comm", errors="backslashreplace") as file:
                return file.read().strip()
        except OSError:
            return "process"


def container_id(cgroup: str) -> str:
    """The container's id in the text of /proc/PID/cgroup; empty where there is none.

    Nested containers (Docker in Docker) show several: the innermost counts.
    """
    for line in cgroup.splitlines():
        if ids := CONTAINER_ID.findall(line):
            return str(ids[-1])
    return ""
