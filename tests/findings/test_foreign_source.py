"""Packets of one container with what is another's."""

from __future__ import annotations

from typing import Any

from finding_inputs import VANTAGES, inputs
from msgspec.structs import replace

from analyzer.findings.duplicate_mac import find as find_duplicates
from analyzer.findings.foreign_source import find
from analyzer.model.batch import Outlook
from analyzer.model.tenures import Life
from analyzer.net.ip import MAPPED

FIRST, SECOND = 0x0242AC110002, 0x0242AC110003
BRIDGE = "bridge fdb show br docker0"


def sent(mac: int, address: str, ns: int = 10, vantage: int = 1) -> dict[str, Any]:
    """By tomcat02, five packets."""
    low = int.from_bytes(bytes(map(int, address.split("."))), "big")
    return {
        "vantage": vantage,
        "mac": mac,
        "hi": 0,
        "lo": MAPPED | low,
        "first_ns": ns,
        "packets": 5,
    }


def texts(*rows: dict[str, Any], **values: Any) -> list[str]:
    return [finding.text for finding in find(inputs(foreign_sources=rows, **values))]


def test_another_ones_mac() -> None:
    """Its address goes with it: one finding for all of them."""
    rows = sent(FIRST, "172.17.0.2"), sent(FIRST, "10.9.9.9")
    assert texts(*rows) == [
        "10 packets with tomcat01's MAC 02:42:ac:11:00:02 entered at veth2, the port of tomcat02: "
        "it sent them, and its bridge sends what is for tomcat01 to whichever of them spoke last; "
        f"{BRIDGE}"
    ]


def test_another_ones_address() -> None:
    assert texts(sent(SECOND, "172.17.0.2")) == [
        "5 packets with tomcat01's address 172.17.0.2 but another MAC entered at veth2, the port "
        f"of tomcat02: it sent them, and answers go to tomcat01; {BRIDGE}"
    ]


def test_a_mac_that_nobody_has_may_be_of_something_behind_the_port() -> None:
    row = sent(0x0200_0000_DEAD, "10.9.8.7")
    (finding,) = find(inputs(foreign_sources=[row]))
    assert finding.severity == "info"
    assert finding.text == (
        "5 packets with the MAC 02:00:00:00:de:ad, which no interface that was captured has, "
        f"entered at veth2, the port of tomcat02: it sent them, or somebody behind it; {BRIDGE}"
    )


def test_ones_own_mac_with_an_address_of_nobody() -> None:
    """What it routes, or has from elsewhere."""
    assert texts(sent(SECOND, "10.9.8.7")) == []


def test_what_was_handed_on_is_nobody_elses() -> None:
    gone = Outlook(VANTAGES, lives=[Life(0, 5, 20), Life(), Life()])
    assert texts(sent(FIRST, "172.17.0.2"), sent(SECOND, "172.17.0.2"), outlook=gone) == []


def test_a_mac_that_two_have_in_turn_is_no_duplicate() -> None:
    heir = replace(VANTAGES[1], peer_mac=VANTAGES[0].peer_mac)
    vantages = [VANTAGES[0], heir, VANTAGES[2]]
    in_turn = Outlook(vantages, lives=[Life(0, 10, 40), Life(30), Life()])
    assert list(find_duplicates(inputs(outlook=in_turn))) == []
    together = Outlook(vantages, lives=[Life(0, 35, 40), Life(30), Life()])
    assert len(list(find_duplicates(inputs(outlook=together)))) == 1
