"""Solicitations that nobody answered: how far they came, and which rule."""

from __future__ import annotations

import pytest
from faulty import Bench

from analyzer.model.report import Report

pytestmark = pytest.mark.root

ASK = "ip -6 neigh flush all; ping -6 -c1 -W.5 fd00:17::3 >/dev/null || true"


@pytest.fixture
def with_ipv6(bench: Bench) -> Bench:
    """The bridge has a link-local address alone."""
    for number, name in ((2, "tomcat01"), (3, "tomcat02")):
        for key in ("all.disable_ipv6", "all.accept_dad", "eth0.disable_ipv6"):
            bench.inside(name, f"sysctl -qw net.ipv6.conf.{key}=0")
        bench.inside(name, f"ip addr add fd00:17::{number}/64 dev eth0 nodad")
    return bench


def unanswered(report: Report) -> str:
    (told,) = [f.text for f in report.findings if f.code == "nd-unanswered"]
    return told


def test_a_policy_of_ip6tables(with_ipv6: Bench) -> None:
    bench = with_ipv6
    bench.host("sysctl -qw net.bridge.bridge-nf-call-ip6tables=1; ip6tables -P FORWARD DROP")
    told = unanswered(bench.capture(["all"], lambda: bench.inside("tomcat01", ASK)))
    port = bench.veth("tomcat02")
    assert f"it is tomcat02's, and they were seen at {bench.veth('tomcat01')}" in told
    assert f"never left by its port {port}: likely ip6tables FORWARD policy DROP counted " in told
    assert told.endswith(": ip6tables -nvL FORWARD --line-numbers")
    assert "netmask" not in told


def test_a_filter_inside(with_ipv6: Bench) -> None:
    bench = with_ipv6
    bench.inside("tomcat02", "ip6tables -A INPUT -p icmpv6 -j DROP")
    told = unanswered(bench.capture(["all"], lambda: bench.inside("tomcat01", ASK)))
    assert "it is tomcat02's, and they reached tomcat02:eth0: its stack does not answer" in told
    assert told.endswith("ip6tables -nvL inside tomcat02")


def test_healthy_neighbours(with_ipv6: Bench) -> None:
    bench = with_ipv6
    report = bench.capture(["all"], lambda: bench.inside("tomcat01", ASK))
    assert not [one.text for one in report.findings if one.severity != "info"]
    assert all(row.seen == [] for row in report.nd)
