"""Packets that a sender drops while it waits for ARP."""

from __future__ import annotations

import socket

import pytest
from evidence_samples import texts
from faulty import Bench
from finding_inputs import info, inputs

from analyzer.findings.neighbour_queue import find
from analyzer.model.flow_rows import ArpRow
from analyzer.net.netns import run_inside

ROW = ArpRow("tomcat01", "172.17.0.2", "", "172.17.0.9", "", "", 3, 0, None, None, "unanswered")
WHERE = "sysctl net.ipv4.neigh.default.unres_qlen_bytes and ip -s neigh show there"
DROPPED = (
    "neighbour-queue-full 188 packets (each fragment is one) were dropped by a sender on this "
    "machine before they left any interface, while it waited for the MAC of the next hop "
    "(NEIGH_QUEUEFULL: its queue was full); the kernel does not tell whose"
)


def drops(**others: int) -> dict[str, object]:
    return {"tied": 0, "others": others, "lost": 0, "partly_untied_s": 0.0}


def test_who_may_have_waited() -> None:
    given = inputs({"arp": [ROW]}, info=info(drops=drops(NEIGH_QUEUEFULL=188)))
    told = "; askers that waited: tomcat01 (asked 3× for 172.17.0.9, no answer)"
    assert texts(find, given) == [f"{DROPPED}{told}: {WHERE}"]
    assert [one.severity for one in find(given)] == ["warning"]


def test_nobody_is_named_without_a_sign() -> None:
    given = inputs(info=info(drops=drops(NEIGH_QUEUEFULL=188)))
    assert texts(find, given) == [f"{DROPPED}: {WHERE}"]
    assert [one.severity for one in find(given)] == ["info"]


@pytest.mark.parametrize("told", [None, drops(NEIGH_FAILED=7)])
def test_what_is_no_fault(told: dict[str, object] | None) -> None:
    assert texts(find, inputs({"arp": [ROW]}, info=info(drops=told))) == []


@pytest.mark.root
def test_more_than_the_queue_holds(bench: Bench) -> None:
    bench.inside("tomcat01", "sysctl -qw net.ipv4.neigh.eth0.unres_qlen_bytes=8192")

    def send() -> None:
        client = run_inside(
            bench.lab.netns_path("tomcat01"), lambda: socket.socket(type=socket.SOCK_DGRAM)
        )
        with client:
            for _ in range(60):
                client.sendto(bytes(1000), ("172.17.0.99", 9))
            bench.inside("tomcat01", "ping -c1 -W4 172.17.0.99", check=False)

    report = bench.capture(["tomcat01", "tomcat02"], send)
    (text,) = [one.text for one in report.findings if one.code == "neighbour-queue-full"]
    assert " were dropped by a sender on this machine before they left any interface" in text
    assert "; askers that waited: tomcat01 (asked 3× for 172.17.0.99, no answer)" in text
