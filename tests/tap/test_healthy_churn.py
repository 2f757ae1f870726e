"""No alarm while containers come and go on a real engine, with the address of the one before."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_follow import capturing, run

from analyzer.net.netns import run_inside

Make = Callable[..., Any]
pytestmark = [pytest.mark.root, pytest.mark.docker]
ROUNDS = 4


@pytest.fixture
def network(docker_engine: Any) -> Iterator[Any]:
    import docker

    subnet = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}.0/24"
    made = docker_engine.networks.create(
        f"vs{os.getpid()}-churn",
        ipam=docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=subnet)]),
    )
    yield made
    for one in docker_engine.containers.list(all=True, filters={"network": made.name}):
        one.remove(force=True)
    made.remove()


def test_churn_is_no_alarm(network: Any, container: Make, tmp_path: Path) -> None:
    """Each has the address of the one before and another MAC: made anew, and no conflict."""
    asker = container("asker", network=network.name)
    namespace = f"/proc/{asker.attrs['State']['Pid']}/ns/net"
    file = tmp_path / "churn.pcapng"
    addresses, macs = set(), set()
    with capturing("--network", network.name, "-w", str(file), "--json") as capture:
        for number in range(ROUNDS):
            one = container(
                f"one{number}", network=network.name, mac_address=f"02:42:aa:00:00:{number:02x}"
            )
            capture.wait_for(f"{one.name} is captured from now on")
            told = one.attrs["NetworkSettings"]["Networks"][network.name]
            addresses.add(told["IPAddress"])
            macs.add(told["MacAddress"])
            # what a neighbour entry of the one before would swallow is no matter of this test
            flush = ["ip", "neigh", "flush", "dev", "eth0"]
            run_inside(namespace, subprocess.check_call, flush)
            done = asker.exec_run(["ping", "-c", "3", "-i", "0.1", told["IPAddress"]])
            assert done.exit_code == 0
            one.remove(force=True)
        capture.end()
    assert (len(addresses), len(macs)) == (1, ROUNDS)
    report = json.loads(run("report", str(file), "--json"))
    assert [row["answered"] for row in report["icmp"]] == [3] * ROUNDS
    assert {f["code"] for f in report["findings"] if f["severity"] != "info"} == set()
    assert not {"arp-spoofing", "address-conflict"} & {f["code"] for f in report["findings"]}
    assert "conflict" not in {row["state"] for row in report["arp"]}
    assert report["losses"] == []


def test_one_mac_and_address_in_turn(network: Any, container: Make, tmp_path: Path) -> None:
    """Each by its own name, everywhere, though nothing but the time and the port tells them."""
    asked = container("asked", network=network.name)
    target = asked.attrs["NetworkSettings"]["Networks"][network.name]["IPAddress"]
    file, names, borne = tmp_path / "turn.pcapng", [], set()
    with capturing("--network", network.name, "-w", str(file), "--json") as capture:
        for number in range(3):
            one = container(f"one{number}", network=network.name, mac_address="02:42:aa:00:00:01")
            names.append(one.name)
            capture.wait_for(f"{one.name} is captured from now on")
            told = one.attrs["NetworkSettings"]["Networks"][network.name]
            borne.add((told["IPAddress"], told["MacAddress"]))
            assert one.exec_run(["ping", "-c", "2", "-i", "0.1", target]).exit_code == 0
            one.remove(force=True)
        capture.end()
    assert len(borne) == 1
    report = json.loads(run("report", str(file), "--packets", "--json"))
    pings = [(row["source"], row["sent"], row["answered"]) for row in report["icmp"]]
    assert pings == [(name, 2, 2) for name in names]
    askers = [row["asker"] for row in report["arp"] if row["target_ip"] == target]
    assert askers == names
    assert {v["source"] for v in report["verdicts"]} == {*names, asked.name}
    assert {v["way"] for v in report["verdicts"]} == {"other-bridge"}
    assert {f["code"] for f in report["findings"] if f["severity"] != "info"} == set()
    assert report["losses"] == []
    shown = [line for line in run("show", str(file)).splitlines() if "echo request" in line]
    assert [sum(name in line for line in shown) for name in names] == [2, 2, 2]


def test_a_published_port_that_nobody_serves_is_named(container: Make, tmp_path: Path) -> None:
    """As the engine publishes it: docker-proxy or DNAT, the container is who refuses."""
    one = container("web", ports={"80/tcp": ("127.0.0.1", None)})
    port = one.attrs["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"]
    asker = container("asker")
    address = one.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    file = tmp_path / "web.pcapng"
    with capturing(one.name, asker.name, "-w", str(file), "--json") as capture:
        done = asker.exec_run(["nc", "-w", "2", address, "80"])
        assert done.exit_code != 0
        capture.end()
    report = json.loads(run("report", str(file), "--json"))
    (text,) = [f["text"] for f in report["findings"] if f["code"] == "published-unserved"]
    assert text.startswith(
        f"{asker.name} → {one.name} TCP port 80: refused by {one.name} itself, "
        f"published as 127.0.0.1:{port}: nothing listens there"
    )
