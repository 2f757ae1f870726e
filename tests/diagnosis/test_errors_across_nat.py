"""An ICMP error that passes the host's NAT is translated with the packet in it: it is one error."""

from __future__ import annotations

import pytest
from faulty import Bench

from analyzer.model.report import Report

pytestmark = pytest.mark.root
SEND = "for n in 1 2 3; do echo x > /dev/udp/{}; sleep .01; done"


def told(report: Report) -> list[tuple[str, str, str, int | None, int, int]]:
    return [
        (row.reporter, row.source, row.destination_ip, row.destination_port, row.errors, row.tied)
        for row in report.flows["icmp_errors"]
    ]


def test_of_what_a_container_sends_out(bench: Bench) -> None:
    send = ["bash", "-c", SEND.format("198.51.100.2/9")]
    report = bench.capture(["tomcat01"], lambda: bench.lab.run("tomcat01", send), uplink=True)
    assert told(report) == [("198.51.100.2", "tomcat01", "198.51.100.2", 9, 3, 3)]
    assert [f.code for f in report.findings if f.severity == "warning"] == ["icmp-error"]


def test_of_what_comes_in_for_a_published_port(bench: Bench) -> None:
    bench.host(
        "iptables -t nat -A PREROUTING -p udp --dport 8080 -j DNAT --to-destination 172.17.0.3:80"
    )
    send = ["bash", "-c", SEND.format("198.51.100.1/8080")]
    report = bench.capture(["tomcat02"], lambda: bench.lab.run("outside", send), uplink=True)
    assert told(report) == [("tomcat02", "198.51.100.2", "172.17.0.3", 80, 3, 3)]
    assert [(row.packets, row.reason, row.port) for row in report.losses] == [(3, "NO_SOCKET", 80)]


def test_two_containers_errors_are_two(bench: Bench) -> None:
    send = ["bash", "-c", SEND.format("198.51.100.2/9")]

    def both() -> None:
        for name in ("tomcat01", "tomcat02"):
            bench.lab.run(name, send)

    report = bench.capture(["tomcat01", "tomcat02"], both, uplink=True)
    assert [row[1:5] for row in told(report)] == [
        (name, "198.51.100.2", 9, 3) for name in ("tomcat01", "tomcat02")
    ]
