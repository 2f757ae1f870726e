"""Packets that a sender drops while it waits for ARP."""

from __future__ import annotations

import socket

import pytest
from evidence_samples import texts
from faulty import Bench
from finding_inputs import info, inputs
from msgspec.structs import replace

from analyzer.findings.neighbour_queue import find
from analyzer.model.flow_rows import ArpRow
from analyzer.net.netns import run_inside

ROW = ArpRow("tomcat01", "172.17.0.2", "", "172.17.0.9", "", "", 3, 0, None, None, "unanswered")
DROPPED = (
    "neighbour-queue-full 188 packets (each fragment is one) by way of 172.17.0.9 were dropped on "
    "this machine before they left an interface eth0, while their sender waited for that next "
    "hop's MAC (NEIGH_QUEUEFULL: its queue was full): likely those of tomcat01 (asked 3×, no "
    "answer), for the kernel tells interface and next hop, and no namespace: sysctl "
    "net.ipv4.neigh.default.unres_qlen_bytes and ip -s neigh show there"
)


def drops(reason: str = "NEIGH_QUEUEFULL", **values: object) -> dict[str, object]:
    told = {"reason": reason, "interface": "eth0", "next_hop": "172.17.0.9", "packets": 188}
    told |= {"first_ns": 1, "last_ns": 2, **values}
    return {"tied": 0, "others": {reason: 188}, "neighbours": [told], "lost": 0}


def test_who_waited() -> None:
    given = inputs({"arp": [ROW]}, info=info(drops=drops()))
    assert texts(find, given) == [DROPPED]


@pytest.mark.parametrize(
    "told",
    [
        None,
        {"others": {"NEIGH_QUEUEFULL": 188}},
        drops("NEIGH_FAILED"),
        drops(interface="eth1"),
        drops(next_hop="172.17.0.8"),
    ],
)
def test_another_ones_packets(told: dict[str, object] | None) -> None:
    """The kernel's events are those of all namespaces of the machine."""
    assert texts(find, inputs({"arp": [ROW]}, info=info(drops=told))) == []


def test_who_was_answered_waited_for_nothing() -> None:
    answered = replace(ROW, requests=1, replies=1, state="resolved")
    assert texts(find, inputs({"arp": [answered]}, info=info(drops=drops()))) == []


@pytest.mark.root
def test_more_than_the_queue_holds(bench: Bench) -> None:
    """All but what the queue holds; and those that it held, in vain."""
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
    assert report.capture.drops
    waited = {
        told["reason"]: told["packets"]
        for told in report.capture.drops["neighbours"]
        if (told["interface"], told["next_hop"]) == ("eth0", "172.17.0.99")
    }
    assert sum(waited.values()) == 61
    assert 0 < waited["NEIGH_FAILED"] < 10
    (text,) = [one.text for one in report.findings if one.code == "neighbour-queue-full"]
    assert text.startswith(f"{waited['NEIGH_QUEUEFULL']} packets (each fragment is one)")
    assert ": likely those of tomcat01 (asked 3×, no answer), for the kernel tells" in text
