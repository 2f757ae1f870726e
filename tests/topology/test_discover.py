"""Discovery on labs: tolerant of what is gone, fast, and complete."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from analyzer.engines.lab import Lab
from analyzer.errors import EnvironmentProblem
from analyzer.model.topology import Container
from analyzer.topology.discover import discover, read_fdb
from analyzer.topology.procfs import PER_NAMESPACE, read_sysctls
from analyzer.topology.relations import other_end


class Recorded:
    """An engine that says what it is told to."""

    name = "docker"

    def __init__(self, host: str, containers: list[Container]) -> None:
        self.host_netns_path = host
        self.warnings: list[str] = ["told by the engine"]
        self._containers = containers

    def containers(self) -> list[Container]:
        return self._containers

    def subscribe(self, changed: Callable[[], None]) -> Callable[[], None]:
        return lambda: None


@pytest.mark.root
def test_container_that_died_meanwhile_is_a_warning() -> None:
    process = subprocess.Popen(["sleep", "1000"])
    dead = Container("dead", "d" * 64, process.pid, 4711, netns_path=f"/proc/{process.pid}/ns/net")
    # its pid was given to somebody else, whose namespace is not the one that the engine told
    reused = Container("reused", "e" * 64, 1, 4712, netns_path="/proc/self/ns/net")
    process.kill()
    process.wait()
    with Lab(1) as lab:
        found = discover(Recorded(lab.host_netns_path, [dead, reused, *lab.containers()]))
    assert [c.name for c in found.containers] == ["tomcat01"]
    assert found.warnings == (
        "told by the engine",
        "container dead: ended while it was being read",
        "container reused: ended while it was being read",
    )


@pytest.mark.root
def test_path_that_is_no_namespace_is_a_warning(tmp_path: Path) -> None:
    plain = tmp_path / "net"
    plain.touch()
    odd = Container("odd", "", 0, plain.stat().st_ino, netns_path=str(plain))
    with Lab(1) as lab:
        found = discover(Recorded(lab.host_netns_path, [odd]))
    assert any(w.startswith("namespace of odd: ") for w in found.warnings)


def test_host_namespace_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="cannot open the host's network namespace"):
        discover(Recorded(str(tmp_path / "none"), []))


@pytest.mark.root
def test_lab_is_discovered_whole() -> None:
    with Lab(2) as lab:
        lab.run("tomcat01", ["ping", "-n", "-c", "1", "-W", "2", "172.17.0.3"])
        found = discover(lab)
        learned = {
            e.mac: e.port_ifindex
            for e in read_fdb(found.netns_paths[found.host_netns])
            if not e.local
        }
    assert found.uplinks == tuple(i.key for i in found.interfaces if i.name == "uplink0")
    assert found.sysctls["net.ipv4.ip_forward"] == "1"
    assert "net.core.netdev_tstamp_prequeue" in found.sysctls
    for container in found.containers:
        (eth0,) = [i for i in found.interfaces if i.netns == container.netns and i.name == "eth0"]
        veth = other_end(found, eth0)
        assert veth is not None
        assert other_end(found, veth) == eth0
        assert learned[eth0.mac] == veth.ifindex


def test_sysctls_from_a_recorded_tree(tmp_path: Path) -> None:
    file = tmp_path / "net" / "ipv4" / "ip_forward"
    file.parent.mkdir(parents=True)
    file.write_text("1\n")
    assert read_sysctls(PER_NAMESPACE, tmp_path) == {"net.ipv4.ip_forward": "1"}
