"""The Docker engine, against a real one: what it tells is what docker inspect and ip link say."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from analyzer.engines.docker import DockerEngine
from analyzer.errors import UsageProblem
from analyzer.model.topology import Container, Topology
from analyzer.topology.discover import discover
from analyzer.topology.relations import interfaces_of, network_of, other_end
from analyzer.topology.vantages import find_container, select_vantages

pytestmark = [pytest.mark.root, pytest.mark.docker]
Run = Callable[..., Any]


@pytest.fixture
def engine(docker_engine: Any) -> Iterator[DockerEngine]:
    with DockerEngine() as opened:
        yield opened


def named(topology: Topology, one: Any) -> Container:
    return find_container(topology, one.name)


def ip_links(one: Any | None = None) -> dict[int, dict[str, Any]]:
    """What ``ip -j link`` says, by ifindex, on the host or inside a container."""
    inside = [] if one is None else ["nsenter", f"--net=/proc/{one.attrs['State']['Pid']}/ns/net"]
    done = subprocess.run([*inside, "ip", "-j", "link"], capture_output=True, check=True)
    return {link["ifindex"]: link for link in json.loads(done.stdout)}


def test_pairs_are_those_of_ip_link_and_macs_those_of_inspect(
    engine: DockerEngine, container: Run
) -> None:
    ones = [container("a"), container("b", mac_address="0a:5e:11:22:33:44")]
    topology = discover(engine)
    host = ip_links()
    for one in ones:
        found = named(topology, one)
        (eth0,) = interfaces_of(topology, found.netns)
        said = one.attrs["NetworkSettings"]["Networks"]["bridge"]
        veth = other_end(topology, eth0)
        assert veth is not None
        link = ip_links(one)[eth0.ifindex]
        assert (eth0.name, eth0.mac) == (link["ifname"], link["address"])
        assert (veth.ifindex, veth.netns) == (link["link_index"], topology.host_netns)
        assert host[veth.ifindex]["ifname"] == veth.name
        assert host[veth.ifindex]["link_index"] == eth0.ifindex
        assert host[veth.ifindex]["master"] == "docker0"
        assert found.networks[0].mac == said["MacAddress"] == eth0.mac
        assert found.networks[0].addresses == eth0.addresses
        assert eth0.addresses == (f"{said['IPAddress']}/{said['IPPrefixLen']}",)
        assert found.networks[0].gateway == said["Gateway"]
        assert (found.pid, found.id) == (one.attrs["State"]["Pid"], one.id)
    assert interfaces_of(topology, named(topology, ones[1]).netns)[0].mac == "0a:5e:11:22:33:44"


@pytest.fixture
def network(docker_engine: Any) -> Iterator[Any]:
    """A network of the test's own; released once the containers on it are gone."""
    made = docker_engine.networks.create(f"vs{os.getpid()}-{uuid.uuid4().hex[:6]}", driver="bridge")
    yield made
    made.reload()
    for one in made.containers:
        made.disconnect(one, force=True)
    made.remove()


def test_two_networks(engine: DockerEngine, container: Run, network: Any) -> None:
    one = container("two")
    network.connect(one)
    topology = discover(engine)
    found = named(topology, one)
    bridges = {
        network_of(topology, i): (peer and topology.by_key[peer.bridge_key].name)
        for i in interfaces_of(topology, found.netns)
        if (peer := other_end(topology, i)) and peer.bridge_key
    }
    assert bridges == {"bridge": "docker0", network.name: f"br-{network.id[:12]}"}
    names = [v.name for v in select_vantages(topology, [found.name], networks=[network.name])]
    assert names[0] == f"{found.name}:eth1"
    assert names[-1] == f"br-{network.id[:12]}"
    assert len(names) == 3


def test_shared_host_and_no_network(engine: DockerEngine, container: Run) -> None:
    owner = container("owner")
    side = container("side", network_mode=f"container:{owner.id}")
    host = container("host", network_mode="host")
    lone = container("lone", network_mode="none")
    topology = discover(engine)
    found = {one.name: named(topology, one) for one in (owner, side, host, lone)}
    assert found[side.name].shares == owner.name
    assert topology.sharing(found[owner.name].netns) == (found[owner.name], found[side.name])
    assert (found[host.name].shares, found[host.name].netns) == ("host", topology.host_netns)
    assert found[lone.name].shares == "none"
    assert interfaces_of(topology, found[lone.name].netns) == []
    by_side = [v.name for v in select_vantages(topology, [side.name])]
    assert by_side == [v.name for v in select_vantages(topology, [owner.name])]
    with pytest.raises(UsageProblem, match="has no network interface"):
        select_vantages(topology, [lone.name])


def test_stopped_container_is_known_as_such(engine: DockerEngine, container: Run) -> None:
    one = container("stopped")
    one.kill()
    one.wait()
    topology = discover(engine)
    (found,) = [c for c in topology.containers if c.name == one.name]
    assert (found.running, found.netns, found.pid) == (False, 0, 0)
    with pytest.raises(UsageProblem, match=f"{one.name} is not running"):
        find_container(topology, one.name)


def test_id_prefix(engine: DockerEngine, container: Run) -> None:
    one = container("prefix")
    assert find_container(discover(engine), one.id[:10]).name == one.name


def test_containers_that_die_while_being_read_never_raise(
    engine: DockerEngine, container: Run
) -> None:
    done = threading.Event()

    def churn() -> None:
        try:
            for number in range(4):
                container(f"churn{number}").remove(force=True)
        finally:
            done.set()

    thread = threading.Thread(target=churn)
    thread.start()
    rounds = 0
    while not done.is_set() or rounds == 0:
        topology = discover(engine)
        rounds += 1
        for found in topology.containers:
            assert not found.running or found.netns
    thread.join()
    assert rounds > 5


def test_host_namespace_is_dockerds(engine: DockerEngine) -> None:
    assert os.stat(engine.host_netns_path).st_ino == os.stat("/proc/self/ns/net").st_ino


def test_events_wake_a_subscriber(engine: DockerEngine, container: Run) -> None:
    woken = threading.Event()
    end = engine.subscribe(woken.set)
    try:
        container("event")
        assert woken.wait(15)
    finally:
        end()
    assert not [t for t in threading.enumerate() if t.name == "docker-events"]
