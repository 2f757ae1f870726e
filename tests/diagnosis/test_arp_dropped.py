"""Requests for an address that the bridge's own filter drops: how far they came, and which rule."""

from __future__ import annotations

import pytest
from faulty import Bench

pytestmark = pytest.mark.root


def nft(bench: Bench, *lines: str) -> None:
    bench.lab.run("host", ["nft", "-f", "-"], input="\n".join(lines))


def test_a_rule_of_the_bridge_family(bench: Bench) -> None:
    port = bench.veth("tomcat02")
    nft(
        bench,
        "table bridge filter {",
        "chain FORWARD {",
        "type filter hook forward priority -200;",
        f'oifname "{port}" ether type arp counter drop',
        "}",
        "}",
    )
    ask = "ip neigh flush all; ping -c1 -W4 172.17.0.3 >/dev/null || true"
    report = bench.capture(["tomcat01", "tomcat02"], lambda: bench.inside("tomcat01", ask))
    (row,) = [row for row in report.arp if row.state == "unanswered"]
    assert bench.veth("tomcat01") in row.seen
    assert port not in row.seen
    (told,) = [f.text for f in report.findings if f.code == "arp-unanswered"]
    assert (
        f"it is tomcat02's, and they never left by its port {port}: packet filter, by its" in told
    )
    assert "nft bridge filter FORWARD" in told
    assert "not running" not in told
    assert {loss.protocol for loss in report.losses} == {"arp"}
    assert row.requests in [loss.packets for loss in report.losses]
    for loss in report.losses:  # the requests, and what answered a request of tomcat02's
        assert f'nft bridge filter FORWARD (hook forward) (oifname "{port}"' in loss.advice
        assert ": nft -a list chain bridge filter FORWARD" in loss.advice


def test_a_stack_that_does_not_answer(bench: Bench) -> None:
    bench.inside("tomcat02", "sysctl -qw net.ipv4.conf.all.arp_ignore=8")
    ask = "ip neigh flush all; ping -c1 -W4 172.17.0.3 >/dev/null || true"
    report = bench.capture(["tomcat01", "tomcat02"], lambda: bench.inside("tomcat01", ask))
    (told,) = [f.text for f in report.findings if f.code == "arp-unanswered"]
    assert "it is tomcat02's, and they reached tomcat02:eth0: its stack does not answer" in told
    assert "arp_ignore" in told
