"""The faults on a real Docker Engine, as far as they need one."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker_containers import address
from faulty import the_loss

from analyzer.analysis.analyse import report_files
from analyzer.app.ping import PingPlan, PingResult, ping
from analyzer.capture.options import CaptureOptions
from analyzer.engines.docker import DockerEngine
from analyzer.tap.options import TapOptions
from analyzer.tap.tap import Tap
from analyzer.topology.discover import discover
from analyzer.topology.vantages import select_vantages

pytestmark = [pytest.mark.root, pytest.mark.docker]

Make = Callable[..., Any]


@pytest.fixture
def engine() -> Iterator[DockerEngine]:
    with DockerEngine() as engine:
        yield engine


@pytest.fixture
def rule() -> Iterator[Callable[..., None]]:
    """Insert an iptables rule; undone at the end."""
    made: list[list[str]] = []

    def insert(*words: str) -> None:
        subprocess.run(["iptables", "-w", "-I", *words], check=True)
        made.append(list(words))

    yield insert
    for words in made:
        subprocess.run(["iptables", "-w", "-D", *words], check=True)


def run(engine: DockerEngine, source: Any, target: Any, **options: Any) -> PingResult:
    plan = {"count": 5, "interval_s": 0.01, "wait_s": 0.3, "drops": True, **options}
    return ping(engine, PingPlan(source.name, target.name, **plan))


def inside(container: Any) -> list[str]:
    """The start of a command line, to run the host's own programs in the container's network."""
    return ["nsenter", "-n", "-t", str(container.attrs["State"]["Pid"])]


@pytest.mark.parametrize("target", ["DROP", "REJECT"])
def test_a_rule_in_docker_user(
    engine: DockerEngine, container: Make, rule: Callable[..., None], target: str
) -> None:
    one, two = container("tomcat01"), container("tomcat02")
    run(engine, one, two, count=1)
    rule("DOCKER-USER", "-s", address(one), "-j", target)
    row = the_loss(run(engine, one, two).report)
    assert (row.packets, row.reason) == (5, "NETFILTER_DROP")
    assert row.location.startswith("in bridge docker0, between its ports veth")
    assert row.advice.startswith(f"iptables DOCKER-USER rule 1 (-s {address(one)}/32 -j {target}")
    assert row.advice.endswith(" counted 5: iptables -nvL DOCKER-USER --line-numbers")


def test_two_networks_are_kept_apart(
    engine: DockerEngine, container: Make, docker_engine: Any
) -> None:
    network = docker_engine.networks.create(f"vs-apart-{os.getpid()}")
    try:
        one, two = container("tomcat01"), container("tomcat02", network=network.name)
        row = the_loss(run(engine, one, two).report)
        two.remove(force=True)
    finally:
        network.remove()
    assert (row.packets, row.reason, row.last_seen) == (5, "NETFILTER_DROP", "docker0")
    assert row.location.startswith("in the host's stack, behind docker0")
    assert "Docker keeps its networks apart (iptables DOCKER-ISOLATION-STAGE-2" in row.advice
    assert "docker network connect NETWORK CONTAINER" in row.advice


def test_a_firewall_inside(engine: DockerEngine, container: Make) -> None:
    one, two = container("tomcat01"), container("tomcat02")
    subprocess.run(
        [*inside(two), "iptables", "-A", "INPUT", "-p", "icmp", "-j", "DROP"], check=True
    )
    row = the_loss(run(engine, one, two).report)
    assert (row.packets, row.last_seen) == (5, f"{two.name}:eth0")
    pid = f"$(docker inspect -f '{{{{.State.Pid}}}}' {two.name})"
    assert row.advice == (
        f"iptables INPUT rule 1 (-p icmp -j DROP) counted 5: nsenter -n -t {pid} "
        "iptables -nvL INPUT --line-numbers"
    )


def test_a_paused_container_is_said(engine: DockerEngine, container: Make) -> None:
    """Its kernel stack answers the ping: a report that says nothing else would mislead."""
    one, two = container("tomcat01"), container("tomcat02")
    two.pause()
    try:
        result = run(engine, one, two)
    finally:
        two.unpause()
    assert result.exit_code == 0
    (finding,) = [f for f in result.report.findings if f.code == "paused"]
    assert finding.text.startswith(f"{two.name} was paused")
    assert f"docker unpause {two.name}" in finding.text


def test_a_container_that_is_killed_during_the_ping(
    engine: DockerEngine, container: Make, tmp_path: Path
) -> None:
    one, two = container("tomcat01"), container("tomcat02")
    run(engine, one, two, count=1)
    plan = PingPlan(
        one.name,
        two.name,
        count=150,
        interval_s=0.02,
        wait_s=0.3,
        drops=True,
        output=str(tmp_path / "killed.pcapng"),
    )
    killed = threading.Event()

    def kill(outcome: Any) -> None:
        if len(outcome.rtt_ns) >= 5 and not killed.is_set():
            killed.set()
            two.kill()

    result = ping(engine, plan, on_echo=kill)
    rows = [row for row in result.report.losses if row.reason == "container stopped"]
    assert 5 <= result.report.icmp[0].answered < 150
    assert {row.destination for row in rows} == {two.name}
    assert f"docker logs {two.name}" in rows[0].advice


def test_containers_that_come_and_go_are_no_alarm(
    engine: DockerEngine, container: Make, tmp_path: Path
) -> None:
    """Two talk all the time; three others start and stop meanwhile."""
    one, two = container("tomcat01"), container("tomcat02")
    topology = discover(engine)
    tap = Tap(
        topology,
        select_vantages(topology, targets=["all"]),
        str(tmp_path / "a"),
        TapOptions(CaptureOptions(snaplen=128), drops=True),
    )
    running = threading.Thread(target=tap.run)
    with tap:
        running.start()
        try:
            with subprocess.Popen(
                [*inside(one), "ping", "-c30", "-i.1", address(two)], stdout=subprocess.PIPE
            ) as pinging:
                for n in range(3):
                    other = container(f"churn{n}")
                    argv = [*inside(other), "ping", "-c2", "-i.1", address(two)]
                    subprocess.run(argv, check=True, capture_output=True)
                    other.stop(timeout=0)
                told = pinging.communicate(timeout=60)[0].decode()
        finally:
            tap.stop()
            running.join()
    assert "30 received" in told
    report, _ = report_files([str(tmp_path / "a")])
    names = {one.name, two.name}
    ours = [row for row in report.losses if {row.source, row.destination} & names]
    assert ours == []
    assert [f.text for f in report.findings if f.severity == "error"] == []
