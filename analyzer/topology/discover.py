"""Discover the topology: ask the engine who there is, then every namespace what it has.

Containers come and go while we look. One that dies meanwhile is a warning, never an error;
neither is a namespace that we may not enter: its side of the picture stays blank.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from analyzer.closing import Closing
from analyzer.errors import EnvironmentProblem
from analyzer.model.topology import Container, FdbEntry, Topology
from analyzer.net.netns import allow_descriptors, netns_inode, open_netns, run_inside
from analyzer.topology.netlink import NamespaceFacts, read_bridge_tables, read_namespace
from analyzer.topology.procfs import PER_MACHINE, PER_NAMESPACE, read_sysctls
from analyzer.topology.resolve import resolve_interfaces


class Source(Protocol):
    """Who knows the containers: what discovery needs of an engine."""

    @property
    def name(self) -> str:
        """docker, lab, netns"""

    @property
    def host_netns_path(self) -> str:
        """Path of the namespace that has the bridges."""

    @property
    def warnings(self) -> list[str]:
        """What the last `containers` could not read, one line each."""

    def containers(self) -> list[Container]:
        """All containers, by name; those that are not running too, where the engine knows them."""

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` (from any thread) when containers change; returns how to end that."""


def discover(engine: Source) -> Topology:
    """The whole topology at this moment.

    Raises EnvironmentProblem where the engine does not answer or its host namespace cannot be
    entered. What else fails becomes a line in ``warnings``.
    """
    with _Namespaces(engine.host_netns_path) as namespaces:
        listed = engine.containers()
        allow_descriptors(2 * len(listed))
        containers = [c for c in listed if namespaces.add(c)]
        facts = namespaces.read()
        own = read_sysctls(PER_MACHINE)
        inside = run_inside(namespaces.host_fd, read_sysctls, PER_NAMESPACE)
    host = facts[namespaces.host]
    return Topology(
        host_netns=namespaces.host,
        interfaces=resolve_interfaces(facts.values()),
        containers=tuple(sorted(containers, key=lambda c: c.name)),
        fdb=tuple(entry for fact in facts.values() for entry in fact.fdb),
        sysctls=own | inside,
        netns_paths={inode: namespaces.paths[inode] for inode in facts},
        warnings=(*engine.warnings, *namespaces.warnings),
        engine=engine.name,
        uplinks=tuple((host.netns, ifindex) for ifindex in host.default_routes),
    )


def read_fdb(netns_path: str) -> list[FdbEntry]:
    """The FDB of all bridges of one namespace, as it is now.

    Raises OSError where the path is gone, EnvironmentProblem without the rights.
    """
    return list(run_inside(netns_path, read_bridge_tables))


class _Namespaces(Closing):
    """The open namespaces of one discovery: descriptors keep them while they are read."""

    def __init__(self, host_path: str) -> None:
        try:
            self.host_fd = open_netns(host_path)
        except OSError as error:
            raise EnvironmentProblem(
                f"cannot open the host's network namespace {host_path}: {error.strerror}; "
                "is it still there, and are you root?"
            ) from error
        self.host = netns_inode(self.host_fd)
        self.fds: dict[int, int] = {self.host: self.host_fd}
        self.paths: dict[int, str] = {self.host: host_path}
        self.warnings: list[str] = []
        self.names: dict[int, str] = {self.host: "the host"}

    def close(self) -> None:
        for fd in self.fds.values():
            os.close(fd)

    def add(self, container: Container) -> bool:
        """Open a container's namespace; False where the container is gone meanwhile."""
        if not container.running or container.netns in self.fds or not container.netns_path:
            return True
        try:
            fd = open_netns(container.netns_path)
        except PermissionError:
            self.warnings.append(
                f"container {container.name}: no rights to look into its namespace; run as root"
            )
            return True
        except OSError:
            self._gone(container)
            return False
        # The pid may have been given to another process since the engine told it.
        if netns_inode(fd) != container.netns:
            os.close(fd)
            self._gone(container)
            return False
        self.fds[container.netns] = fd
        self.paths[container.netns] = container.netns_path
        self.names[container.netns] = container.name
        return True

    def _gone(self, container: Container) -> None:
        self.warnings.append(f"container {container.name}: ended while it was being read")

    def read(self) -> dict[int, NamespaceFacts]:
        """The facts of all that could be read, by inode. Host first: most peers are there."""
        facts = {}
        namespaces = list(self.fds.values())
        for inode, fd in self.fds.items():
            try:
                facts[inode] = read_namespace(fd, namespaces, routes=inode == self.host)
            except (OSError, EnvironmentProblem) as error:
                if inode == self.host:
                    raise _unreadable(error) from error
                self.warnings.append(f"namespace of {self.names[inode]}: {error}")
        return facts


def _unreadable(error: Exception) -> EnvironmentProblem:
    return EnvironmentProblem(f"cannot read the host's interfaces: {error}; run as root")
