"""A datagram is delivered where all of its fragments are."""

from __future__ import annotations

import socket

import pytest
from faulty import Bench, the_loss

from analyzer.net.netns import run_inside

pytestmark = pytest.mark.root

SECOND = "ip saddr 172.17.0.2 ip frag-off & 0x1fff == 185"
"""tomcat01's fragments that begin at byte 1480"""
ASK = "ping -c6 -i.02 -W.2 -s2000 172.17.0.3"


def drop_in_the_bridge(bench: Bench, matches: str) -> None:
    bench.host("sysctl -qw net.bridge.bridge-nf-call-iptables=0")
    hook = "add chain bridge t f { type filter hook forward priority 0; }"
    bench.host(f"nft 'add table bridge t; {hook}; add rule bridge t f {matches} drop'")


def test_the_first_fragment_alone_is_no_delivery(bench: Bench) -> None:
    drop_in_the_bridge(bench, SECOND)
    report = bench.capture(["all"], lambda: bench.inside("tomcat01", ASK, check=False))
    (verdict,) = report.verdicts
    assert (verdict.result, verdict.delivered, verdict.packets) == ("undecided", 0, 6)
    assert verdict.reason == "6 packets came to tomcat02 without all of the fragments"
    row = the_loss(report)
    port = bench.veth("tomcat01")
    assert (row.packets, row.reason, row.last_seen) == (6, "NETFILTER_DROP", port)
    assert row.location.startswith(f"in bridge docker0, behind {port} (kernel: ")


def test_without_the_kernels_drops_they_are_not_told_to_have_arrived(bench: Bench) -> None:
    drop_in_the_bridge(bench, SECOND)
    found = bench.ping(size=2000, drops=False)
    (text,) = [one.text for one in found.report.findings if one.code == "echo-unanswered"]
    assert text.startswith(
        "5 echo requests of tomcat01 to tomcat02 came to tomcat02:eth0 without all of their "
        "fragments, so nobody there could put them together: capture with --drops; "
    )


def test_those_that_are_whole_are_delivered(bench: Bench) -> None:
    drop_in_the_bridge(bench, f"{SECOND} numgen inc mod 2 0")
    report = bench.capture(["all"], lambda: bench.inside("tomcat01", ASK, check=False))
    there, back = report.verdicts
    assert (there.delivered, there.packets) == (3, 6)
    assert (back.result, back.delivered, back.packets) == ("proved", 3, 3)
    assert the_loss(report).packets == 3


@pytest.mark.parametrize("seen", ["", "icmp[0] = 8 or icmp[0] = 0"])
def test_nothing_is_missing_where_all_went_on(bench: Bench, seen: str) -> None:
    """The filter lets the first fragments pass alone."""
    report = bench.capture(["all"], lambda: bench.inside("tomcat01", ASK), filter_text=seen)
    assert [(one.delivered, one.packets) for one in report.verdicts] == [(6, 6)] * 2
    assert report.losses == []
    assert not [one for one in report.findings if one.severity != "info"]


def send(bench: Bench) -> None:
    def sender() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as plug:
            for _ in range(5):
                plug.sendto(bytes(2000), ("172.17.0.3", 4711))

    run_inside(bench.lab.netns_path("tomcat01"), sender)


LISTEN = """
import socket
plug = socket.socket(type=socket.SOCK_DGRAM)
plug.bind(("0.0.0.0", 4711))
print("ready", flush=True)
while True:
    plug.recv(3000)
"""


@pytest.mark.parametrize("dropped", [False, True])
def test_a_datagram_whose_end_is_lost_is_lost_to_its_conversation(
    bench: Bench, dropped: bool
) -> None:
    drop_in_the_bridge(bench, SECOND if dropped else "ip saddr 203.0.113.1")
    with bench.serving("tomcat02", LISTEN):
        report = bench.capture(["all"], lambda: send(bench))
    (row,) = report.udp
    lost = 5 if dropped else 0
    assert (row.packets, row.lost, row.client_lost, row.server_lost) == (5, lost, lost, 0)
    assert [one.packets for one in report.losses] == [5] * dropped
