"""The lab: Docker's picture without Docker, in namespaces of its own.

::

    tomcat01:eth0 ─ vethXXXXXXX ┐
    tomcat02:eth0 ─ vethXXXXXXX ┴ docker0 (172.17.0.1/16)   uplink0 ─ eth0 (198.51.100.2)
    └ containers ┘                └──────── host ────────┘  └─ NAT ─┘ └──── outside ────┘

An anonymous lab is held by descriptors only: it ends with its process, be it by SIGKILL. A named
one is bound to names in /run/netns, so ``ip netns exec NAME.tomcat01 …`` works, and stays until it
is taken down. Runs as root, and without root after
`analyzer.net.netns.become_root_in_user_namespace`, which has to be called before any thread starts.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from analyzer.closing import Closing
from analyzer.engines.lab_build import HOST, OUTSIDE, build_lab
from analyzer.engines.lab_names import (
    NETNS_DIR,
    lab_names,
    member_paths,
    name_namespace,
    unname_namespace,
)
from analyzer.engines.lab_plan import (
    NAME,
    LabPlan,
    PlannedContainer,
    container_names,
    plan_containers,
)
from analyzer.engines.lab_processes import run_in, start_in
from analyzer.errors import EnvironmentProblem, UsageProblem
from analyzer.model.evidence import KernelEvent
from analyzer.model.topology import Container
from analyzer.net.netns import allow_descriptors, netns_inode, new_netns, open_netns

__all__ = ["DEFAULT_NAME", "Lab", "lab_names", "take_down_lab"]

DEFAULT_NAME = "lab"


class Lab(Closing):
    """A lab, as an engine. A context manager.

    On return of the constructor all links are up and all bridge ports forward. ``name`` makes it
    a named one, which takes no other option than the number of containers, so that it can be
    found again from its names alone. See `LabPlan` for the options.

    Raises UsageProblem for what cannot be built, EnvironmentProblem without the rights.
    """

    name = "lab"
    lab_name: str
    """empty for an anonymous lab"""
    plan: LabPlan
    warnings: list[str]
    """what could not be built as Docker does it, one line each"""
    _seed: str
    _fds: dict[str, int]
    _started: list[subprocess.Popen[Any]]

    def __init__(
        self,
        containers: int = 2,
        name: str = "",
        *,
        macs: Mapping[str, str] | None = None,
        networks: Mapping[str, str] | None = None,
        members: Mapping[str, tuple[str, ...]] | None = None,
        shares: Mapping[str, str] | None = None,
    ) -> None:
        plan = LabPlan(containers, macs or {}, networks or {}, members or {}, shares or {})
        plan.check()
        if name:
            _check_name(name, plan)
        self._hold(name, name or secrets.token_hex(8), plan)
        allow_descriptors(2 * containers)
        try:
            for member in (HOST, OUTSIDE, *container_names(containers)):
                self._fds[member] = new_netns()
            self.warnings = build_lab(self._seed, plan, self._fds)
            if name:
                self._name_all()
        except NetlinkError as error:
            self.close()
            raise EnvironmentProblem(
                f"cannot build the lab: {error}; run as root on a kernel with veth and bridge"
            ) from error
        except BaseException:
            self.close()
            raise

    @classmethod
    def attach(cls, name: str) -> Lab:
        """A named lab that is up already, found by its names.

        Raises UsageProblem where it is not, EnvironmentProblem without the rights.
        """
        paths = member_paths(name)
        if not paths:
            raise UsageProblem(f"{_not_up(name)}; start it: vethscope lab up --name {name}")
        lab = cls.__new__(cls)
        lab._hold(name, name, LabPlan())
        if not os.access(paths[HOST], os.R_OK):
            raise EnvironmentProblem(
                f"cannot open lab {name}: no rights on {paths[HOST]}; use root"
            )
        return lab

    def _hold(self, name: str, seed: str, plan: LabPlan) -> None:
        self.lab_name = name
        self.plan = plan
        self.warnings = []
        self._seed = seed
        self._fds = {}
        self._started = []

    def close(self) -> None:
        """End what was started in it. An anonymous lab is gone with that; a named one stays."""
        for process in self._started:
            process.kill()
            process.wait()
        self._started.clear()
        while self._fds:
            os.close(self._fds.popitem()[1])

    @property
    def host_netns_path(self) -> str:
        return self.netns_path(HOST)

    def containers(self) -> list[Container]:
        """All containers by name. Their pid is 0: nobody lives in them but who is sent there."""
        paths = self._paths()
        plan = self.plan
        if self.lab_name:  # others may have taken one away
            numbers = [int(m[6:]) for m in paths if m.startswith("tomcat") and m[6:].isdecimal()]
            plan = LabPlan(max(numbers, default=0))
        containers = []
        for planned in plan_containers(self._seed, plan):
            if path := paths.get(planned.shares or planned.name):
                containers.append(_container(planned, path))
        return sorted(containers, key=lambda c: c.name)

    def starting(self, bridge: str) -> None:
        """None: `containers` knows a container as soon as its namespace is there."""
        return None

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        """A lab sends no events; the host's netlink notifications have to do."""
        return lambda: None

    def hear(self, heard: Callable[[KernelEvent], None]) -> Callable[[], None]:
        """A lab sends no events."""
        return lambda: None

    def netns_fd(self, name: str) -> int:
        """Open descriptor of a namespace: ``host``, ``outside`` or a container. Don't close it.

        Raises UsageProblem for a name that the lab has not.
        """
        member = self.plan.shares.get(name, name)
        if member not in self._fds:
            self._fds[member] = open_netns(self.netns_path(name))
        return self._fds[member]

    def netns_path(self, name: str) -> str:
        """A path of a namespace that setns can open, from other processes too.

        Raises UsageProblem for a name that the lab has not.
        """
        paths = self._paths()
        member = self.plan.shares.get(name, name)
        if member not in paths:
            raise UsageProblem(f"the lab has no {name}: it has {', '.join(paths) or 'ended'}")
        return paths[member]

    def _paths(self) -> dict[str, str]:
        """host, outside, tomcat01 … → path."""
        if self.lab_name:
            return member_paths(self.lab_name)
        return {member: f"/proc/{os.getpid()}/fd/{fd}" for member, fd in self._fds.items()}

    def run(
        self, where: str, argv: Sequence[str], *, check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a namespace and wait for it; see `run_in`."""
        return run_in(self.netns_path(where), argv, check=check, **options)

    def start(self, where: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command in a namespace. It is killed by `close`, and dies with us.

        Options are those of subprocess.Popen. Raises UsageProblem for a name the lab has not.
        """
        process = start_in(self.netns_path(where), argv, **options)
        self._started.append(process)
        return process

    def _name_all(self) -> None:
        """Bind a named lab to its names, all or none; from then on these alone hold it."""
        bound: list[str] = []
        try:
            for member, fd in self._fds.items():
                name_namespace(f"{self.lab_name}.{member}", fd)
                bound.append(f"{NETNS_DIR}/{self.lab_name}.{member}")
        except BaseException:
            for path in bound:
                unname_namespace(path)
            raise
        while self._fds:
            os.close(self._fds.popitem()[1])


def _container(planned: PlannedContainer, path: str) -> Container:
    return Container(
        name=planned.name,
        id=planned.id,
        pid=0,
        netns=netns_inode(path),
        networks=planned.attachments,
        shares=planned.shares,
        netns_path=path,
    )


def take_down_lab(name: str = DEFAULT_NAME) -> int:
    """Take a named lab down; returns how many namespaces it had.

    Each goes with the last process in it. Raises UsageProblem where there is no such lab,
    EnvironmentProblem without the rights.
    """
    paths = member_paths(name)
    if not paths:
        raise UsageProblem(f"{_not_up(name)}; there is nothing to take down")
    # The host last: as long as it stands, what is left of the lab can still be taken down.
    for member in sorted(paths, key=lambda member: member == HOST):
        unname_namespace(paths[member])
    return len(paths)


def _check_name(name: str, plan: LabPlan) -> None:
    if not NAME.fullmatch(name):
        raise UsageProblem(f"lab name {name!r}: use letters, digits, - and _")
    if name in lab_names():
        raise UsageProblem(
            f"lab {name} is up already; take it down: vethscope lab down --name {name}"
        )
    if plan != LabPlan(plan.containers):
        raise UsageProblem("a named lab has one network: only the number of containers is free")


def _not_up(name: str) -> str:
    up = lab_names()
    others = f" (up: {', '.join(up)})" if up else ""
    return f"lab {name} is not up{others}"
