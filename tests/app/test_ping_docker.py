"""The main job on a real Docker Engine."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.app.ping import PingPlan, PingResult, ping
from analyzer.capture.options import CaptureOptions
from analyzer.engines.docker import DockerEngine
from analyzer.errors import UsageProblem
from analyzer.model.echo_rows import IcmpRow
from analyzer.model.report import Report
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


def run(engine: DockerEngine, source: str, destination: str, **options: Any) -> PingResult:
    plan = {"count": 20, "interval_s": 0.01, "wait_s": 0.3, **options}
    return ping(engine, PingPlan(source, destination, **plan))


def conversation(report: Report, source: str, destination: str) -> IcmpRow:
    (row,) = [r for r in report.icmp if (r.source, r.destination) == (source, destination)]
    return row


def links() -> list[dict[str, Any]]:
    return json.loads(subprocess.check_output(["ip", "-j", "link"]))


def veth_of(container: Any) -> str:
    """The host veth, found as the seed does it: eth0@ifN inside, N outside."""
    _, output = container.exec_run(["cat", "/sys/class/net/eth0/iflink"])
    return next(link["ifname"] for link in links() if link["ifindex"] == int(output))


def test_twenty_echoes_are_those_of_docker_inspect_and_ip_link(
    engine: DockerEngine, container: Make
) -> None:
    one, two = container("tomcat01"), container("tomcat02")
    a, b = veth_of(one), veth_of(two)
    result = run(engine, one.name, two.name)
    report, row = result.report, conversation(result.report, one.name, two.name)
    assert result.exit_code == 0
    assert (row.sent, row.answered, row.lost, row.duplicates) == (20, 20, 0, 0)
    for echo in row.echoes:
        assert [(h.from_, h.to, h.kind) for h in echo.request_hops] == [
            (f"{one.name}:eth0", a, "veth"),
            (a, b, "bridge"),
            (b, f"{two.name}:eth0", "veth"),
        ]
        assert [(h.from_, h.to, h.kind) for h in echo.reply_hops] == [
            (f"{two.name}:eth0", b, "veth"),
            (b, a, "bridge"),
            (a, f"{one.name}:eth0", "veth"),
        ]
        hops = sum(h.delay_ns for h in (*echo.request_hops, *echo.reply_hops))
        assert hops + echo.turnaround_ns == echo.rtt_ns
    assert [v.result for v in report.verdicts if v.source in (one.name, two.name)] == ["proved"] * 2
    macs = {v.name: v.mac for v in report.vantages}
    by_name = {link["ifname"]: link["address"] for link in links()}
    assert {name: macs[name] for name in (a, b, "docker0")} == {
        name: by_name[name] for name in (a, b, "docker0")
    }
    for c in (one, two):
        network = c.attrs["NetworkSettings"]["Networks"]["bridge"]
        assert macs[f"{c.name}:eth0"] == network["MacAddress"]
        vantage = next(v for v in report.vantages if v.name == f"{c.name}:eth0")
        assert f"{network['IPAddress']}/{network['IPPrefixLen']}" in vantage.addresses


def test_random_mac_is_attributed(engine: DockerEngine, container: Make) -> None:
    one, two = container("tomcat01"), container("tomcat02", mac_address="92:d0:c6:0a:29:33")
    result = run(engine, one.name, two.name, count=3)
    assert conversation(result.report, one.name, two.name).answered == 3
    assert {v.mac for v in result.report.vantages if v.name == f"{two.name}:eth0"} == {
        "92:d0:c6:0a:29:33"
    }
    assert {a.answer_mac for a in result.report.arp if a.answered_by == two.name} == {
        "92:d0:c6:0a:29:33"
    }


@pytest.fixture
def dropping() -> Iterator[Callable[[str], None]]:
    """Drop what comes from an address, in DOCKER-USER; undone at the end."""
    rules: list[list[str]] = []

    def drop(address: str) -> None:
        rule = ["DOCKER-USER", "-s", address, "-j", "DROP"]
        subprocess.run(["iptables", "-I", *rule], check=True)
        rules.append(rule)

    yield drop
    for rule in rules:
        subprocess.run(["iptables", "-D", *rule], check=True)


def test_iptables_drop(engine: DockerEngine, container: Make, dropping: Any) -> None:
    one, two = container("tomcat01"), container("tomcat02")
    dropping(one.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])
    result = run(engine, one.name, two.name, count=5)
    a, b = veth_of(one), veth_of(two)
    row = conversation(result.report, one.name, two.name)
    assert result.exit_code == 1
    assert (row.sent, row.answered, row.lost) == (5, 0, 5)
    ends = (one.name, two.name)
    mine = [x for x in result.report.losses if (x.source, x.destination) == ends]
    (loss,) = [x for x in mine if x.protocol == "icmp"]
    assert (loss.packets, loss.last_seen, loss.expected) == (5, a, b)
    assert "docker0" in loss.seen
    verdicts = result.report.verdicts
    (verdict,) = [v for v in verdicts if (v.source, v.destination) == ends]
    assert verdict.result == "undecided"


def test_user_defined_network_is_another_bridge(
    engine: DockerEngine, docker_engine: Any, container: Make
) -> None:
    network = docker_engine.networks.create(f"vs-net-{os.getpid()}")
    try:
        one = container("tomcat01", network=network.name)
        two = container("tomcat02", network=network.name)
        result = run(engine, one.name, two.name, count=3)
        one.remove(force=True)
        two.remove(force=True)
    finally:
        network.remove()
    row = conversation(result.report, one.name, two.name)
    assert row.answered == 3
    assert row.echoes[0].request_hops[1].kind == "bridge"
    verdict = next(v for v in result.report.verdicts if v.source == one.name)
    assert verdict.result == "refuted"
    assert f"br-{network.id[:12]}" in verdict.reason


def test_two_networks_and_a_shared_namespace(
    engine: DockerEngine, docker_engine: Any, container: Make
) -> None:
    network = docker_engine.networks.create(f"vs-net2-{os.getpid()}")
    try:
        one, two = container("tomcat01"), container("tomcat02", network=network.name)
        network.connect(one)
        three = container("tomcat03", network_mode=f"container:{two.name}")
        result = run(engine, one.name, three.name, count=3)
        for c in (one, three, two):
            c.remove(force=True)
    finally:
        network.remove()
    row = conversation(result.report, one.name, two.name)
    assert row.answered == 3
    assert row.measured_at == f"{one.name}:eth1"


def test_host_network_is_refuted(engine: DockerEngine, container: Make) -> None:
    one, two = container("tomcat01", network_mode="host"), container("tomcat02")
    result = run(engine, one.name, two.name, count=3)
    row = conversation(result.report, "host", two.name)
    assert row.answered == 3
    verdict = next(v for v in result.report.verdicts if v.source == "host")
    assert (verdict.result, "host" in verdict.reason) == ("refuted", True)


def test_bridged_tcp_is_proved_too(engine: DockerEngine, container: Make, tmp_path: Path) -> None:
    """Its frames carry no receive stamp: docker0's copies are tied by kernel order instead."""
    one, two = container("tomcat01"), container("tomcat02")
    address = two.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    topology = discover(engine)
    vantages = select_vantages(topology, targets=[one.name, two.name])
    file = str(tmp_path / "tcp.pcapng")
    tap = Tap(topology, vantages, file, TapOptions(CaptureOptions(filter="tcp")))
    # with an input of its own that has ended, nc would close before it was told anything
    two.exec_run(["nc", "-l", "-p", "9000", "-e", "cat"], detach=True)
    knock = f"echo hi | nc {address} 9000 && exit 0; sleep 0.1"
    script = f"for i in $(seq 50); do {knock}; done; exit 1"
    running = threading.Thread(target=tap.run)
    with tap:
        running.start()
        code, told = one.exec_run(["sh", "-c", script])
        tap.stop()
        running.join()
    assert code == 0, told
    report, _ = report_files([file], AnalysisOptions(packets=True))
    assert {(v.source, v.destination, v.result) for v in report.verdicts} == {
        (one.name, two.name, "proved"),
        (two.name, one.name, "proved"),
    }
    assert report.losses == []
    assert {len(p.vantages) for p in report.packets} == {5}
    assert max(row.bytes for row in report.tcp) == 2 * len("hi\n")
    assert sum(row.packets for row in report.tcp) == len(report.packets)


def test_from_the_host(engine: DockerEngine, container: Make) -> None:
    one = container("tomcat01")
    row = conversation(run(engine, "host", one.name, count=3).report, "host", one.name)
    assert row.answered == 3
    assert [h.kind for h in row.echoes[0].request_hops] == ["originate", "veth"]


def test_stopped_none_and_unknown(engine: DockerEngine, container: Make) -> None:
    one, two = container("tomcat01"), container("tomcat02", network_mode="none")
    three = container("tomcat03")
    three.kill()
    three.wait()
    for name, words in (
        (two.name, "no address"),
        (three.name, "not running"),
        ("vsx", "no container"),
    ):
        with pytest.raises(UsageProblem, match=words):
            run(engine, one.name, name, count=1)
    with pytest.raises(UsageProblem, match=r"ambiguous|no container"):
        run(engine, one.name, "", count=1)
