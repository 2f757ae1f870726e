"""A published port whose rule leads to an address that nobody has."""

from __future__ import annotations

import contextlib
import socket

import pytest
from faulty import Bench

from analyzer.net.netns import run_inside

pytestmark = pytest.mark.root


def call(bench: Bench) -> None:
    path = bench.lab.netns_path("outside")
    with contextlib.suppress(OSError):
        run_inside(path, lambda: socket.create_connection(("198.51.100.1", 8080), 0.5)).close()


def publish(bench: Bench, address: str) -> str:
    rule = f"PREROUTING -p tcp -m tcp --dport 8080 -j DNAT --to-destination {address}:80"
    bench.host(f"iptables -t nat -A {rule}")
    return rule


def test_a_rule_that_leads_to_nobody(bench: Bench) -> None:
    rule = publish(bench, "172.17.0.9")
    report = bench.capture(["all"], lambda: call(bench), uplink=True)
    (text,) = [one.text for one in report.findings if one.code == "tcp-unanswered"]
    assert text.endswith(
        f"a rule sends it on to 172.17.0.9 (-A {rule}), and nobody answers for that: "
        "ip neigh show 172.17.0.9"
    )


def test_a_rule_that_leads_to_a_server(bench: Bench) -> None:
    publish(bench, "172.17.0.3")
    path = bench.lab.netns_path("tomcat02")
    with run_inside(path, lambda: socket.create_server(("172.17.0.3", 80))):
        report = bench.capture(["all"], lambda: call(bench), uplink=True)
    assert not [one.text for one in report.findings if one.severity != "info"]
