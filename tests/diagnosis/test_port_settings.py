"""Ports that let nothing through, and tables that lead elsewhere: made in a lab, and named."""

from __future__ import annotations

import pytest
from faulty import Bench, the_loss

from analyzer.model.report import Report

pytestmark = pytest.mark.root


def ping(bench: Bench, change: str, *, known: bool = True) -> Report:
    """Three echoes to tomcat02 after a change; known: tomcat01 has its MAC already."""
    names = {f"v{n}": bench.veth(f"tomcat0{n}") for n in (1, 2, 3)}
    names |= {f"m{n}": bench.mac(f"tomcat0{n}") for n in (1, 2, 3)}
    if not known:
        bench.inside("tomcat01", "ip neigh flush all")
    bench.host(change.format(**names))
    return bench.capture(
        ["all"],
        lambda: bench.inside("tomcat01", "ping -c3 -i.02 -W.2 172.17.0.3", check=False),
    )


FORGET = "bridge fdb del {m2} dev {v2} master; bridge link set dev {v2} learning off"
LED_AWAY = {
    "flood off": (
        f"{FORGET} flood off",
        "unknown unicast is not flooded to {v2}",
        "docker0 does not know where {m2} lives, and the port's flood is off: ",
    ),
    "a wrong entry": (
        "bridge fdb replace {m2} dev {v3} master static",
        "the FDB points to the wrong port",
        "docker0 has {m2} at {v3}, but it lives behind {v2}: ",
    ),
}


@pytest.mark.parametrize("fault", LED_AWAY)
def test_packets_that_left_by_another_port(bench: Bench, fault: str) -> None:
    change, reason, advice = LED_AWAY[fault]
    names = {
        "v2": bench.veth("tomcat02"),
        "v3": bench.veth("tomcat03"),
        "m2": bench.mac("tomcat02"),
    }
    report = ping(bench, change)
    row = the_loss(report)
    assert (row.packets, row.destination, row.reason) == (3, "tomcat02", reason.format(**names))
    assert row.location == "in bridge docker0: it came to tomcat03 instead"
    assert row.advice.startswith(advice.format(**names))
    (verdict,) = [one for one in report.verdicts if one.source == "tomcat01"]
    assert (verdict.delivered, verdict.packets) == (0, 3)
    assert "echo-unanswered" not in {one.code for one in report.findings}


def test_an_entry_of_the_bridge_itself(bench: Bench) -> None:
    report = ping(bench, "bridge fdb replace {m2} dev {v3} master permanent")
    assert the_loss(report).reason == "the FDB has the MAC as the bridge's own"


ASKING = {
    "bcast_flood off": (
        "bridge link set dev {v2} bcast_flood off",
        "broadcast is not flooded to {v2}: the port's bcast_flood is off",
    ),
    "a locked port": (
        "bridge link set dev {v1} learning off locked on; bridge fdb del {m1} dev {v1} master",
        "port {v1} is locked: it takes frames only of MACs that the table has there",
    ),
}


@pytest.mark.parametrize("fault", ASKING)
def test_requests_that_a_port_did_not_let_through(bench: Bench, fault: str) -> None:
    change, text = ASKING[fault]
    names = {f"v{n}": bench.veth(f"tomcat0{n}") for n in (1, 2)}
    report = ping(bench, change, known=False)
    (finding,) = [one for one in report.findings if one.code == "arp-unanswered"]
    assert text.format(**names) in finding.text
    assert the_loss(report, "arp").expected == names["v2"]


def test_a_veth_that_is_no_port(bench: Bench) -> None:
    report = ping(bench, "ip link set {v2} nomaster")
    (finding,) = [one for one in report.findings if one.code == "echo-unanswered"]
    assert f"{bench.veth('tomcat02')}, behind which tomcat02 lives, is no port" in finding.text


def test_a_mac_that_was_changed(bench: Bench) -> None:
    """The asker's neighbour table is stale, and the bridge still knows the old MAC there."""
    bench.inside("tomcat02", "ip link set eth0 address 02:42:ac:11:00:99")
    row = the_loss(ping(bench, "true"))
    assert row.reason == "wrong neighbour entry"
    assert row.location == (
        "on the way to 02:42:ac:11:00:03, the MAC of nobody, which tomcat02 had before"
    )
