"""Requests for an address that the bridge's own filter drops: how far they came, and which rule."""

from __future__ import annotations

import pytest
from faulty import Bench

from analyzer.model.report import Report

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
    assert f"it is tomcat02's, and they never left by its port {port}: " in told
    assert "nft bridge filter FORWARD" in told
    assert "not running" not in told
    assert {loss.protocol for loss in report.losses} == {"arp"}
    assert row.requests in [loss.packets for loss in report.losses]
    for loss in report.losses:  # the requests, and what answered a request of tomcat02's
        assert f'nft bridge filter FORWARD (hook forward) (oifname "{port}"' in loss.advice
        assert ": nft -a list chain bridge filter FORWARD" in loss.advice


ASK = "ip neigh flush all; ping -c1 -W4 172.17.0.3 >/dev/null || true"
UNTOLD = "sysctl -qw net.ipv4.conf.all.arp_filter=1; ip route add prohibit 172.17.0.2/32"
"""it answers none to whom no route leads; `arp_filter` is not recorded"""
REACHED = "it is tomcat02's, and they reached tomcat02:eth0: its stack "


def unanswered(report: Report) -> str:
    (told,) = [f.text for f in report.findings if f.code == "arp-unanswered"]
    return told


def test_a_stack_that_does_not_answer(bench: Bench) -> None:
    """For a reason that nothing recorded tells."""
    bench.inside("tomcat02", UNTOLD)
    told = unanswered(
        bench.capture(["tomcat01", "tomcat02"], lambda: bench.inside("tomcat01", ASK))
    )
    assert f"{REACHED}does not answer: is it paused?" in told
    assert "arp_ignore" in told


def test_a_stack_that_is_told_not_to_answer(bench: Bench) -> None:
    name = "net.ipv4.conf.eth0.arp_ignore"
    bench.inside("tomcat02", f"sysctl -qw {name}=8")
    told = unanswered(
        bench.capture(["tomcat01", "tomcat02"], lambda: bench.inside("tomcat01", ASK))
    )
    assert f"{REACHED}answers no ARP request ({name} = 8): " in told


def test_a_stack_that_was_told_so_for_a_while(bench: Bench) -> None:
    name = "net.ipv4.conf.all.arp_ignore"

    def act() -> None:
        bench.inside("tomcat02", f"sleep 0.5; sysctl -qw {name}=8; sleep 0.5")
        bench.inside("tomcat01", ASK)
        bench.inside("tomcat02", f"sleep 0.5; sysctl -qw {name}=0")

    report = bench.capture(["tomcat01", "tomcat02"], act)
    assert f"{REACHED}answered no ARP request ({name} was 8 from " in unanswered(report)
    assert f"{name} = 8; " in next(f.text for f in report.findings if f.code == "sysctl-changed")


ELSEWHERE = [
    ("tomcat02", "arp", "hook input", ""),
    ("tomcat02", "arp", "hook output", ""),
    ("host", "bridge", "hook postrouting", "oifname {port} ether type arp"),
    ("host", "netdev", "hook egress device {port}", "ether type arp"),
]


@pytest.mark.parametrize(("where", "family", "hook", "matches"), ELSEWHERE)
def test_what_the_kernel_drops_without_a_counter(
    bench: Bench, where: str, family: str, hook: str, matches: str
) -> None:
    """The requests, or the answers to them."""
    port = bench.veth("tomcat02")
    chain = f"table {family} t {{ chain c {{ type filter {hook} priority 0; {matches} drop; }}; }}"
    bench.lab.run(where, ["nft", "-f", "-"], input=chain.replace("{port}", port))
    told = unanswered(bench.capture(["all"], lambda: bench.inside("tomcat01", ASK)))
    assert "it is tomcat02's" in told
    assert "; the kernel dropped as many of them, or of the answers to them: NETFILTER_DROP" in told


def test_a_queue_that_takes_none(bench: Bench) -> None:
    port = bench.veth("tomcat02")
    bench.host(f"tc qdisc add dev {port} root tbf rate 1kbit burst 20 limit 20")
    told = unanswered(bench.capture(["all"], lambda: bench.inside("tomcat01", ASK)))
    assert f"never left by its port {port}: dropped in bridge docker0, or by that port: " in told
    assert "; the kernel dropped as many of them, or of the answers to them: QDISC_DROP at " in told
