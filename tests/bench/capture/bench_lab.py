"""A named lab for the benchmarks, so that commands in other processes find it, and its sender."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from analyzer.engines.lab import Lab, take_down_lab
from analyzer.model.vantage import Role, Vantage
from analyzer.net.netns import run_inside
from analyzer.topology.discover import discover
from analyzer.topology.vantages import select_vantages

SENDER, RECEIVER = "tomcat01", "tomcat02"
_FLOOD = Path(__file__).with_name("sendmmsg_flood.py")
_BULK = Path(__file__).with_name("tcp_bulk.py")


@dataclass(frozen=True)
class Flood:
    """What a sender managed."""

    rate: float
    """frames a second"""
    cpu_ns: float
    """the sender's CPU time for a frame; its whole way to the receiver is in it"""


@dataclass(frozen=True)
class BenchLab:
    """tomcat01 sends to tomcat02 across docker0."""

    engine: str
    """for ``--engine``"""
    lab: Lab
    vantages: Sequence[Vantage]
    """docker0, its ports, the eth0 inside"""

    def named(self, *containers: str, inside: bool = False) -> list[Vantage]:
        """docker0, the host veths of the containers, and their eth0 with ``inside``."""
        roles = {Role.BRIDGE, Role.HOST_VETH} | ({Role.CONTAINER} if inside else set())
        return [
            one
            for one in self.vantages
            if one.role in roles and (one.role == Role.BRIDGE or one.container in containers)
        ]

    def places(self, vantages: Sequence[Vantage]) -> list[tuple[str, str]]:
        """(namespace path, interface) of each, for programs that know no containers."""
        return [
            (
                self.lab.netns_path(one.container if one.role == Role.CONTAINER else "host"),
                one.interface,
            )
            for one in vantages
        ]

    def pin(self, container: str) -> None:
        """Have the bridge know the container for good, so that its frames are not flooded."""
        mac, port = self._one(f"{container}:eth0").mac, self.named(container)
        name = next(one.interface for one in port if one.role == Role.HOST_VETH)
        self.inside("host", ["bridge", "fdb", "replace", mac, "dev", name, "master", "static"])

    def _one(self, name: str) -> Vantage:
        return next(one for one in self.vantages if one.name == name)

    def address(self, container: str) -> str:
        """IPv4 address of its eth0."""
        found = next(one for one in self.lab.containers() if one.name == container)
        return found.networks[0].addresses[0].split("/")[0]

    def inside(self, where: str, argv: Sequence[str]) -> str:
        """Run a command in a namespace; returns its output."""
        path = self.lab.netns_path(where)
        run = partial(subprocess.run, check=True, capture_output=True, text=True, timeout=300)
        return str(run_inside(path, lambda: run(argv)).stdout)

    def flood(self, frames: int, size: int = 60) -> Flood:
        """Send from SENDER to RECEIVER as fast as it goes."""
        mac = self._one(f"{RECEIVER}:eth0").mac
        argv = [sys.executable, str(_FLOOD), "eth0", mac, str(frames), str(size)]
        seconds, cpu_s = json.loads(self.inside(SENDER, argv))
        return Flood(frames / seconds, cpu_s / frames * 1e9)

    def bulk(self, mebibytes: int) -> float:
        """A TCP stream from SENDER to RECEIVER; returns bytes a second."""
        address = self.address(RECEIVER)
        argv = [sys.executable, str(_BULK), "sink", address]
        with self.lab.start(RECEIVER, argv, stdout=subprocess.PIPE) as sink:
            assert sink.stdout is not None
            assert sink.stdout.readline() == b"ready\n"
            argv = [sys.executable, str(_BULK), "send", address, str(mebibytes)]
            return (mebibytes << 20) / float(json.loads(self.inside(SENDER, argv)))


@contextmanager
def bench_lab(containers: int) -> Iterator[BenchLab]:
    """Build it, and take it down."""
    name = f"bench{os.getpid()}{secrets.token_hex(2)}"
    with Lab(containers, name) as lab:
        try:
            topology = discover(lab)
            vantages = select_vantages(topology, targets=["all"], inside=True, uplink=False)
            made = BenchLab(f"lab:{name}", lab, vantages)
            made.pin(RECEIVER)
            yield made
        finally:
            take_down_lab(name)
