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


FAST = "sysctl -qw net.ipv4.neigh.eth0.retrans_time_ms=100"
ANEW = "ip neigh flush all; ping -c1 -W.4 172.17.0.3 >/dev/null || true"


@pytest.mark.parametrize("back", [True, False])
def test_an_owner_that_was_silent_for_a_time(bench: Bench, back: bool) -> None:
    """It answered before, and does later, or never again."""
    bench.inside("tomcat01", FAST)
    address = "172.17.0.3/16 dev eth0"

    def act() -> None:
        bench.inside("tomcat01", ANEW)
        bench.inside("tomcat02", f"ip addr del {address}; sleep .2")
        bench.inside("tomcat01", f"{ANEW}; sleep .2")
        if back:
            bench.inside("tomcat02", f"ip addr add {address}; sleep .2")
            bench.inside("tomcat01", ANEW)
        else:
            bench.inside("tomcat01", "sleep 1.2")  # an answer would have come by then

    report = bench.capture(["tomcat01", "tomcat02"], act)
    (row,) = [row for row in report.arp if row.target_ip == "172.17.0.3"]
    asked = 1 + back + row.missed
    assert (row.state, row.replies, row.requests - row.polls) == ("resolved", 1 + back, asked)
    assert row.missed == 3
    assert "tomcat02:eth0" in row.missed_seen
    told = unanswered(report)
    assert told.startswith("tomcat01 asked 3× who has 172.17.0.3 between 20")
    assert f" and nobody answered then, of {row.requests} times in all: " in told
    assert "they reached tomcat02:eth0: tomcat02 did not have 172.17.0.3 from " in told


def test_a_port_that_was_shut_for_a_time(bench: Bench) -> None:
    bench.inside("tomcat01", FAST)
    port = bench.veth("tomcat02")

    def act() -> None:
        for command in (f"bridge link set dev {port} state {one}" for one in (0, 3)):
            bench.host(f"{command}; sleep .2")
            bench.inside("tomcat01", f"{ANEW}; sleep .2")

    told = unanswered(bench.capture(["tomcat01", "tomcat02"], act))
    assert f"they never left by its port {port}: port {port} was disabled: it was so from " in told


def test_a_request_that_is_repeated_once_is_no_fault(bench: Bench) -> None:
    port = f"bridge link set dev {bench.veth('tomcat02')} state"

    def act() -> None:
        for command in (f"{port} 0", f"{port} 3"):
            bench.host(f"sleep .1; {command}")
            bench.inside("tomcat01", "ip neigh flush all; ping -c1 -W.2 172.17.0.3 || true")
        bench.inside("tomcat01", "sleep 1.2")

    report = bench.capture(["tomcat01", "tomcat02"], act)
    assert not [f.text for f in report.findings if f.code == "arp-unanswered"]
