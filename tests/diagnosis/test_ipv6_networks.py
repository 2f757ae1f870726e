"""IPv6 between containers, hop by hop: in the lab, and in a network of the Docker Engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from faulty import Bench

from analyzer.app.ping import PingPlan, ping
from analyzer.engines.docker import DockerEngine
from analyzer.model.report import Report

PREFIX = "fd00:17::"
QUIET = {"prequeue", "likely", "checksum-offload"}


@pytest.fixture
def six(bench: Bench) -> Bench:
    """All of docker0 has addresses of fd00:17::/64."""
    bench.host(f"ip addr add {PREFIX}1/64 dev docker0 nodad")
    for number, name in enumerate(("tomcat01", "tomcat02", "tomcat03"), 2):
        for key in ("all.disable_ipv6", "all.accept_dad", "eth0.disable_ipv6"):
            bench.inside(name, f"sysctl -qw net.ipv6.conf.{key}=0")
        bench.inside(name, f"ip addr add {PREFIX}{number}/64 dev eth0 nodad")
    return bench


def assert_bridged(report: Report, source: str, destination: str, bridge: str) -> None:
    """Each echo over all hops, adding up to the nanosecond."""
    (row,) = report.icmp
    assert (row.source, row.destination, row.sent, row.answered) == (source, destination, 5, 5)
    for echo in row.echoes:
        for hops in (echo.request_hops, echo.reply_hops):
            assert [hop.kind for hop in hops] == ["veth", "bridge", "veth"]
        parts = [hop.delay_ns for hop in (*echo.request_hops, *echo.reply_hops)]
        assert echo.rtt_ns == sum(parts) + echo.turnaround_ns
    verdicts = {(v.source, v.destination): v for v in report.verdicts}
    for pair in ((source, destination), (destination, source)):
        verdict = verdicts[pair]
        if bridge == "docker0":
            assert verdict.result == "proved"
        else:
            assert verdict.reason == f"bridged through {bridge}, another bridge"


@pytest.mark.root
def test_echoes_by_ipv6_in_the_lab(six: Bench) -> None:
    six.inside("tomcat01", "ip -6 neigh flush dev eth0")
    report = six.ping("tomcat01", f"{PREFIX}3", wait_s=3.0).report
    assert_bridged(report, "tomcat01", "tomcat02", "docker0")
    (row,) = [row for row in report.nd if row.target_ip == f"{PREFIX}3"]
    assert (row.asker, row.answered_by, row.state) == ("tomcat01", "tomcat02", "resolved")
    assert report.losses == []
    assert {f.code for f in report.findings} <= QUIET


@pytest.mark.root
def test_nobody_answers_for_an_ipv6_address(six: Bench) -> None:
    result = six.ping("tomcat01", f"{PREFIX}77", count=1, wait_s=1.5)
    assert result.exit_code == 1
    (text,) = [f.text for f in result.report.findings if f.code == "nd-unanswered"]
    assert text.startswith("tomcat01 solicited ")
    assert f"× {PREFIX}77 and nobody answered: not running, or in another network" in text


@pytest.mark.root
def test_a_rule_that_drops_ipv6_is_named(six: Bench) -> None:
    """The host's ip6tables, which bridged frames pass with bridge-nf-call-ip6tables=1."""
    six.host("sysctl -qw net.bridge.bridge-nf-call-ip6tables=1")
    six.inside("tomcat01", f"ping -c1 -W2 {PREFIX}3")
    six.host(f"ip6tables -I FORWARD -d {PREFIX}3 -p icmpv6 --icmpv6-type echo-request -j DROP")
    report = six.ping("tomcat01", f"{PREFIX}3").report
    (loss,) = [row for row in report.losses if row.protocol == "icmpv6"]
    assert (loss.packets, loss.reason) == (5, "NETFILTER_DROP")
    assert "ip6tables FORWARD rule 1" in loss.advice


@pytest.fixture
def network(docker_engine: Any) -> Iterator[Any]:
    import docker

    made = docker_engine.networks.create(
        f"vs{os.getpid()}-six",
        driver="bridge",
        enable_ipv6=True,
        ipam=docker.types.IPAMConfig(
            pool_configs=[docker.types.IPAMPool(subnet=f"fd00:{os.getpid() & 0xFFFF:x}::/64")]
        ),
    )
    yield made
    made.remove()


@pytest.mark.root
@pytest.mark.docker
def test_echoes_by_ipv6_in_a_network_of_docker(
    network: Any, container: Callable[..., Any], tmp_path: Any
) -> None:
    made = [container(name, network=network.name) for name in ("six01", "six02")]
    try:
        address = made[1].attrs["NetworkSettings"]["Networks"][network.name]["GlobalIPv6Address"]
        assert ":" in address
        plan = PingPlan(
            made[0].name,
            address,
            count=5,
            interval_s=0.01,
            wait_s=4.0,
            output=str(tmp_path / "six.pcapng"),
        )
        with DockerEngine() as engine:
            result = ping(engine, plan)
        bridge = f"br-{network.id[:12]}"
        assert_bridged(result.report, made[0].name, made[1].name, bridge)
        assert result.exit_code == 0
        assert result.report.losses == []
    finally:
        for one in made:
            one.remove(force=True)
