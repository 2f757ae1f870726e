"""A source that is translated to an address which nobody has: the rule is named."""

from __future__ import annotations

import contextlib
import socket

import pytest
from faulty import Bench

from analyzer.model.report import Report
from analyzer.net.netns import run_inside

pytestmark = pytest.mark.root
OUTSIDE = "198.51.100.2"


def translate(bench: Bench, address: str) -> str:
    rule = f"POSTROUTING -s 172.17.0.2/32 -o uplink0 -j SNAT --to-source {address}"
    bench.host(f"iptables -t nat -I {rule}")
    return rule


def ask(bench: Bench) -> None:
    bench.inside("tomcat01", f"ping -c2 -i.2 -W1 {OUTSIDE}", check=False)


def connect(bench: Bench) -> None:
    def call() -> None:
        with contextlib.suppress(OSError):
            socket.create_connection((OUTSIDE, 80), 1.2).close()

    run_inside(bench.lab.netns_path("tomcat01"), call)


def told(report: Report, code: str) -> str:
    (text,) = [one.text for one in report.findings if one.code == code]
    return text


@pytest.mark.parametrize("uplink", [False, True])
@pytest.mark.parametrize("address", ["198.51.100.77", "203.0.113.9"])
def test_echoes_whose_answers_go_elsewhere(bench: Bench, address: str, uplink: bool) -> None:
    rule = translate(bench, address)
    report = bench.capture(["tomcat01"], lambda: ask(bench), uplink=uplink)
    assert report.losses == []
    assert (
        f"the host translates the source 172.17.0.2 to {address} (-A {rule}), which is none of its "
        f"own addresses, so that what answers goes elsewhere: ip address show to {address}"
    ) in told(report, "echo-unanswered")


def test_a_connection_and_who_asks_for_the_address(bench: Bench) -> None:
    rule = translate(bench, "198.51.100.77")
    report = bench.capture(["tomcat01"], lambda: connect(bench), uplink=True)
    assert f"(-A {rule}), which is none" in told(report, "tcp-unanswered")
    assert f"(-A {rule}), which is none" in told(report, "arp-unanswered")


def test_an_address_of_the_hosts_own(bench: Bench) -> None:
    bench.host("ip address add 198.51.100.77/24 dev uplink0")
    translate(bench, "198.51.100.77")
    report = bench.capture(["tomcat01"], lambda: ask(bench), uplink=True)
    assert report.icmp[0].answered == 2
    assert not [one.text for one in report.findings if one.severity != "info"]
