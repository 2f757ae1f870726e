"""A container that advertises itself as an IPv6 router."""

from __future__ import annotations

from typing import Any

import pytest
from evidence_samples import HOST, START, S, seen
from faulty import Bench
from lab_fixtures import bench as bench
from lab_fixtures import lab as lab
from msgspec.structs import replace

from analyzer.findings.rogue_ra import find
from analyzer.model.evidence import Evidence, KernelEvent, NamespaceEvidence
from analyzer.model.kernel_state import LinkState, RouteState, Setting
from analyzer.model.report import Finding

ROW: dict[str, Any] = {
    "sender": "tomcat01",
    "vantage": 0,
    "mac": 0x0242AC110002,
    "hi": 0xFE80000000000000,
    "lo": 0x0042ACFFFE110002,
    "first_ns": 15 * S,
    "packets": 2,
}
GATEWAY = "fe80::42:acff:fe11:2"
BY_IT = RouteState(10, 254, "unicast", "default", GATEWAY, 3)
OTHER = RouteState(10, 254, "unicast", "default", "fd00::1", 3)
HOSTS = replace(START, netns=HOST, links=(LinkState(3, "docker0", "bridge"),))


def told(host: NamespaceEvidence, forwarding: str = "", *events: KernelEvent) -> list[Finding]:
    settings = (Setting("net.ipv6.conf.all.forwarding", forwarding),) if forwarding else ()
    evidence = Evidence((replace(START, settings=settings), host), events)
    return list(find(seen(evidence, router_advertisements=[ROW])))


def test_who_sent_it_and_who_took_it() -> None:
    (finding,) = told(replace(HOSTS, routes=(BY_IT, OTHER)), "0")
    assert finding.severity == "warning"
    assert finding.text.startswith(
        "tomcat01 (02:42:ac:11:00:02) advertised itself as an IPv6 router, 2× from 1970-01-01 "
        "00:00:15.000000 UTC on: the host took a default route via fe80::42:acff:fe11:2 from it "
        "(the host beside via fd00::1); tomcat01 does not forward IPv6 "
        "(net.ipv6.conf.all.forwarding = 0), so what is sent by it ends there: nsenter"
    )
    assert finding.text.endswith(
        "ss -awnp; for the host: ip -6 route del default via fe80::42:acff:fe11:2 dev docker0; "
        "sysctl -w net.ipv6.conf.docker0.accept_ra=0"
    )


def test_a_route_that_went_again() -> None:
    event = KernelEvent(
        16 * S, HOST, "route", "new", "default", f"unicast via {GATEWAY} metric 1024 table 254", 3
    )
    (finding,) = told(HOSTS, "", event)
    assert "the host took a default route" in finding.text
    assert "does not forward" not in finding.text


@pytest.mark.parametrize(
    ("routes", "forwarding", "severity"),
    [((BY_IT,), "1", "info"), ((OTHER,), "0", "info"), ((BY_IT,), "", "warning")],
    ids=["a router", "nobody took it", "not known"],
)
def test_how_much_it_weighs(routes: tuple[RouteState, ...], forwarding: str, severity: str) -> None:
    (finding,) = told(replace(HOSTS, routes=routes), forwarding)
    assert finding.severity == severity


def test_a_router_that_nobody_follows() -> None:
    assert told(replace(HOSTS, routes=(OTHER,)), "1") == []
    assert told(replace(HOSTS, routes=(OTHER,))) == []


SEND = """
import socket, struct
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
prefix = struct.pack('!BBBBIII', 3, 4, 64, 0xC0, 86400, 14400, 0)
prefix += socket.inet_pton(socket.AF_INET6, '%s')
head = struct.pack('!BBHBBHII', 134, 0, 0, 64, 0, 1800, 0, 0)
s.sendto(head + prefix, ('ff02::1', 0, 0, socket.if_nametoindex('%s')))
"""
SETTLE = (
    "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.{0}.disable_ipv6=0; "
    "for i in $(seq 100); do ip -6 addr show dev {0} scope link -tentative | grep -q fe80 && "
    "break; sleep 0.05; done"
)
TAKEN = "for i in $(seq 100); do ip -6 route | grep default && break; sleep 0.05; done"


@pytest.mark.root
@pytest.mark.parametrize("sender", ["tomcat01", "host"])
def test_in_a_lab(bench: Bench, sender: str) -> None:
    """The host's own are a healthy router's."""
    for container in ("tomcat01", "tomcat02"):
        bench.inside(container, SETTLE.format("eth0"))
    bench.host(SETTLE.format("docker0"))
    bench.host("sysctl -qw net.ipv6.conf.docker0.accept_ra=0")
    bench.inside("tomcat02", "sysctl -qw net.ipv6.conf.eth0.accept_ra=1")
    device = "docker0" if sender == "host" else "eth0"

    def advertise() -> None:
        bench.lab.run(sender, ["python3", "-c", SEND % ("fd00:bad::", device)])
        assert "default" in bench.inside("tomcat02", TAKEN)

    report = bench.capture(["all"], advertise)
    texts = [one.text for one in report.findings if one.code == "rogue-ra"]
    if sender == "host":
        assert texts == []
        assert {one.code for one in report.findings if one.severity != "info"} == set()
        return
    (text,) = texts
    assert text.startswith("tomcat01 (02:42:ac:11:00:02) advertised itself as an IPv6 router, 1×")
    assert "tomcat02 took a default route via fe80::42:acff:fe11:2 from it" in text
    assert "tomcat01 does not forward IPv6" in text
