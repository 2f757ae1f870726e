"""Connection tracking's entries that are older than a rule, or gone before the connection is."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TypeVar

import pytest
from faulty import Bench

from analyzer.model.report import Report
from analyzer.net.netns import run_inside

pytestmark = pytest.mark.root
T = TypeVar("T")
DNAT = "iptables -t nat -{} PREROUTING -p udp --dport 8125 -j DNAT --to-destination {}:8125"


def inside(bench: Bench, name: str, make: Callable[[], T]) -> T:
    return run_inside(bench.lab.netns_path(name), make)


def bound() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("0.0.0.0", 8125))
    return made


def said(report: Report, code: str) -> list[str]:
    return [finding.text for finding in report.findings if finding.code == code]


@pytest.mark.parametrize("replaced", [True, False])
def test_a_flow_that_keeps_the_target_of_a_rule_that_is_gone(bench: Bench, replaced: bool) -> None:
    bench.host(DNAT.format("A", "172.17.0.2"))
    names = ("outside", "tomcat01", "tomcat02")
    client, *servers = (inside(bench, name, bound) for name in names)

    def send() -> None:
        client.sendto(b"x", ("198.51.100.1", 8125))
        if replaced:
            bench.host(f"{DNAT.format('D', '172.17.0.2')}; {DNAT.format('A', '172.17.0.3')}")
        for _ in range(5):  # the change is heard of a moment after it was made
            time.sleep(0.1)
            client.sendto(b"x", ("198.51.100.1", 8125))

    report = bench.capture(["tomcat01", "tomcat02"], send, uplink=True)
    for one in (client, *servers):
        one.close()
    texts = said(report, "stale-translation")
    if not replaced:
        assert texts == []
        return
    (text,) = texts
    assert "went on to tomcat01 (172.17.0.2:8125) by its conntrack entry" in text
    assert "while new flows are sent to 172.17.0.3:8125 since 2" in text
    assert text.endswith("conntrack -D -p udp --dport 8125")


@pytest.mark.parametrize("timeout_s", [1, 100])
def test_a_connection_that_was_idle_for_longer_than_its_entry(bench: Bench, timeout_s: int) -> None:
    conntrack = "net.netfilter.nf_conntrack_tcp"
    bench.host(f"sysctl -qw {conntrack}_timeout_established={timeout_s} {conntrack}_loose=0")
    listening = inside(bench, "outside", lambda: socket.create_server(("0.0.0.0", 5000)))

    def talk() -> None:
        client = inside(
            bench, "tomcat01", lambda: socket.create_connection(("198.51.100.2", 5000), timeout=5)
        )
        server, _ = listening.accept()
        client.sendall(b"x")
        server.recv(10)
        time.sleep(2.5)  # the entry's timeout is what this is about
        client.sendall(b"again")
        time.sleep(1.2)  # what was sent later than a second before the end is not judged
        client.close()
        server.close()

    report = bench.capture(["tomcat01"], talk, uplink=True)
    listening.close()
    texts = said(report, "left-untranslated")
    if timeout_s == 100:
        assert texts == []
        return
    (text,) = texts
    assert "the conntrack entry by which it was translated had ended by " in text
    assert "older than the rule" not in text
