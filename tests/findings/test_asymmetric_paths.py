"""Answers that do not take the way of the requests, made for real in the lab."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty import Bench

from analyzer.engines.lab import Lab
from analyzer.model.report import Report
from analyzer.net.netns import run_inside

pytestmark = pytest.mark.root
TRUST_ALL = "for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done"


@pytest.fixture
def twice(tmp_path: Path) -> Iterator[Bench]:
    """tomcat01 and tomcat02 are both in two networks: 172.17.0.0/16 and 172.20.0.0/16."""
    members = dict.fromkeys(("tomcat01", "tomcat02"), ("bridge", "back"))
    with Lab(2, networks={"back": "172.20.0.0/16"}, members=members) as lab:
        bench = Bench(lab, tmp_path)
        bench.host("iptables -t nat -F")
        for name in members:
            bench.inside(name, TRUST_ALL)
        yield bench


def texts(report: Report, code: str) -> list[str]:
    return [finding.text for finding in report.findings if finding.code == code]


def alarms(report: Report) -> list[str]:
    return [finding.code for finding in report.findings if finding.severity != "info"]


def test_an_answer_out_of_the_other_interface(twice: Bench) -> None:
    """A route sends tomcat02's answers, which keep their address, out of eth1."""
    twice.inside("tomcat02", "ip route add 172.17.0.2/32 dev eth1 src 172.17.0.3")
    report = twice.capture(
        ["all"], lambda: twice.inside("tomcat01", "ping -c3 -i.01 -W1 172.17.0.3", check=False)
    )
    (text,) = texts(report, "answers-elsewhere")
    assert text.startswith(
        "icmp tomcat01 → tomcat02: tomcat02 was asked at tomcat02:eth0 and answers out of "
        "tomcat02:eth1; strict reverse path filters drop such answers."
    )
    assert "ip route get 172.17.0.2 from 172.17.0.3" in text
    assert texts(report, "asymmetric-path") == []


def test_an_answer_by_another_bridge(tmp_path: Path) -> None:
    """Through the host there, and back by tomcat03, which is in both networks and forwards."""
    members = {"tomcat02": ("back",), "tomcat03": ("bridge", "back")}
    with Lab(3, networks={"back": "172.20.0.0/16"}, members=members) as lab:
        bench = Bench(lab, tmp_path)
        bench.host(f"iptables -t nat -F; {TRUST_ALL}")
        bench.inside("tomcat03", f"sysctl -qw net.ipv4.ip_forward=1; {TRUST_ALL}")
        bench.inside("tomcat02", "ip route add 172.17.0.2/32 via 172.20.0.3")
        back = str(json.loads(bench.host("ip -j -br link show type bridge"))[1]["ifname"])
        report = bench.capture(
            ["all"], lambda: bench.inside("tomcat01", "ping -c3 -i.01 -W1 172.20.0.2")
        )
    (text,) = texts(report, "asymmetric-path")
    assert text.startswith(
        f"icmp tomcat01 → tomcat02 goes by docker0 → host → {back}, "
        f"and its answers by {back} → tomcat03 → docker0: "
    )
    assert texts(report, "answers-elsewhere") == []


def test_udp_from_another_address(twice: Bench) -> None:
    """A server bound to all addresses, and a route that chooses the source of its answers."""
    twice.inside("tomcat02", "ip route add 172.17.0.2/32 dev eth0 src 172.20.0.3")

    def serve() -> socket.socket:
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind(("", 5353))
        sock.settimeout(10)
        return sock

    def ask() -> None:
        with (
            run_inside(twice.lab.netns_path("tomcat02"), serve) as server,
            run_inside(twice.lab.netns_path("tomcat01"), serve) as client,
        ):
            client.sendto(b"who are you?", ("172.17.0.3", 5353))
            _, whom = server.recvfrom(99)
            server.sendto(b"another", whom)
            assert client.recvfrom(99)[1] == ("172.20.0.3", 5353)

    (text,) = texts(twice.capture(["all"], ask), "answers-elsewhere")
    assert text.startswith(
        "udp tomcat01 → tomcat02: asked at 172.17.0.3 port 5353, answered from 172.20.0.3;"
    )


def test_two_networks_are_no_odd_way(twice: Bench) -> None:
    """Both networks used in both directions, also by two one-way streams."""

    def talk() -> None:
        for address in ("172.17.0.3", "172.20.0.3"):
            twice.inside("tomcat01", f"ping -c3 -i.01 -W1 {address}")
        twice.inside("tomcat02", "ping -c3 -i.01 -W1 172.17.0.2")
        for source, target in (("tomcat01", "172.17.0.3"), ("tomcat02", "172.20.0.2")):
            with run_inside(
                twice.lab.netns_path(source), lambda: socket.socket(type=socket.SOCK_DGRAM)
            ) as sock:
                sock.bind(("", 7000))
                sock.sendto(b"nobody answers", (target, 7000))

    report = twice.capture(["all"], talk)
    assert {"answers-elsewhere", "asymmetric-path"} & set(alarms(report)) == set()
