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
    assert ": ip6tables -nvL FORWARD --line-numbers; the kernel dropped as many of them" in told
    assert "netmask" not in told


def test_a_filter_inside(with_ipv6: Bench) -> None:
    bench = with_ipv6
    bench.inside("tomcat02", "ip6tables -A INPUT -p icmpv6 -j DROP")
    told = unanswered(bench.capture(["all"], lambda: bench.inside("tomcat01", ASK)))
    assert "it is tomcat02's, and they reached tomcat02:eth0: likely ip6tables INPUT rule 1" in told
    assert "ip6tables -nvL INPUT --line-numbers; the kernel dropped as many of them" in told


SOLICITED, ADVERTISED = "icmpv6 type nd-neighbor-solicit", "icmpv6 type nd-neighbor-advert"
ELSEWHERE = [
    ("host", "bridge", "hook postrouting", f"oifname {{port}} {SOLICITED}"),
    ("host", "netdev", "hook egress device {port}", SOLICITED),
    ("tomcat02", "ip6", "hook input", SOLICITED),
    ("tomcat02", "ip6", "hook output", ADVERTISED),
]


@pytest.mark.parametrize(("where", "family", "hook", "matches"), ELSEWHERE)
def test_what_the_kernel_drops_without_a_counter(
    with_ipv6: Bench, where: str, family: str, hook: str, matches: str
) -> None:
    """The solicitations, or the answers to them."""
    bench = with_ipv6
    port = bench.veth("tomcat02")
    chain = f"table {family} t {{ chain c {{ type filter {hook} priority 0; {matches} drop; }}; }}"
    bench.lab.run(where, ["nft", "-f", "-"], input=chain.replace("{port}", port))
    told = unanswered(bench.capture(["all"], lambda: bench.inside("tomcat01", ASK)))
    assert "it is tomcat02's" in told
    assert "; the kernel dropped as many of them, or of the answers to them: NETFILTER_DROP" in told


def test_healthy_neighbours(with_ipv6: Bench) -> None:
    bench = with_ipv6
    report = bench.capture(["all"], lambda: bench.inside("tomcat01", ASK))
    assert not [one.text for one in report.findings if one.severity != "info"]
    assert all(row.seen == [] for row in report.nd)
