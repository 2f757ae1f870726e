"""Connections that came to a halt: a black hole for large segments, or an end that is gone."""

from __future__ import annotations

from typing import Any

import pytest
from finding_inputs import VANTAGES, inputs
from msgspec.structs import replace
from test_rules import ERROR, tcp

from analyzer.findings.tcp_stalls import find
from analyzer.model.batch import Outlook
from analyzer.model.report import LossRow

S = 1_000_000_000
STUCK = {
    "repeated": 4,
    "repeated_by": "client",
    "repeated_bytes": 1448,
    "repeated_ns": 3 * S,
    "repeated_at": "veth1",
    "passed_bytes": 300,
}
WHAT = (
    "tomcat01 → tomcat02 TCP port 80: 1,448 bytes were sent again 4× in 3.00 s and never "
    "acknowledged"
)
PASSED = ", while up to 300 bytes were: last seen at veth1"
UNSEEN = "; no ICMP error about its size was seen on its way to tomcat01"
LOSS = LossRow("tcp", "tomcat01", "tomcat02", "veth1", "veth2", 4, "unknown", "in docker0", "?")
TOLD = replace(ERROR, error="fragmentation needed", source="tomcat01", mtu=1400)


def texts(stuck: dict[str, Any], losses: tuple[LossRow, ...] = (), **values: Any) -> list[str]:
    flows = {"tcp": [tcp(**stuck)], **values.pop("flows", {})}
    given = inputs(flows, losses=losses, **values)
    return [f"{one.code} {one.text}" for one in find(given)]


def test_large_segments_are_repeated_while_small_ones_pass() -> None:
    assert texts(STUCK) == [f"tcp-black-hole {WHAT}{PASSED}{UNSEEN}"]


def test_the_narrow_device_is_named_with_its_mtu() -> None:
    vantages = [replace(one, mtu=1400 if one.name == "veth2" else 1500) for one in VANTAGES]
    outlook = Outlook(vantages)
    device = " (MTU 1500), and veth2 behind it has an MTU of 1400"
    assert texts(STUCK, (LOSS,), outlook=outlook) == [
        f"tcp-black-hole {WHAT}{PASSED}{device}{UNSEEN}"
    ]
    (text,) = texts({**STUCK, "passed_bytes": 0}, (LOSS,), outlook=outlook)
    assert "and never acknowledged, while smaller segments pass: last seen at veth1" in text


def test_what_became_of_the_error_is_told() -> None:
    lost = replace(
        LOSS,
        protocol="icmp",
        source="host",
        destination="tomcat01",
        reason="NETFILTER_DROP",
        location="in the host's stack",
        advice="iptables OUTPUT rule 1",
    )
    said = (
        "; the ICMP error for tomcat01 was lost in the host's stack (NETFILTER_DROP): "
        "iptables OUTPUT rule 1"
    )
    assert texts(STUCK, (lost,)) == [f"tcp-black-hole {WHAT}{PASSED}{said}"]
    answer = replace(
        LOSS,
        location="in the host's stack, its answer dropped before it left docker0",
        reason="NETFILTER_DROP",
    )
    (text,) = texts(STUCK, (answer,), flows={"icmp_errors": [TOLD]})
    assert "its answer dropped before it left docker0 (NETFILTER_DROP): ?" in text


def test_a_sender_that_was_told_is_in_no_black_hole() -> None:
    assert texts(STUCK, flows={"icmp_errors": [TOLD]}) == []


def test_an_end_that_is_gone() -> None:
    gone = {**STUCK, "repeated": 6, "passed_bytes": 1448, "repeated_by": "server"}
    assert texts(gone) == [
        "tcp-dead tomcat02 → tomcat01 TCP port 80: 1,448 bytes were sent again 6× in 3.00 s and "
        "never acknowledged; last seen at veth1"
    ]


@pytest.mark.parametrize(
    "harmless", [{"repeated": 0}, {"repeated": 2}, {"repeated": 4, "passed_bytes": 1448}]
)
def test_a_few_repetitions_are_nothing(harmless: dict[str, int]) -> None:
    assert texts({**STUCK, **harmless}) == []


def test_a_capture_of_one_direction_tells_nothing() -> None:
    outlook = Outlook(VANTAGES, one_way=frozenset({"src host 172.17.0.2"}))
    assert texts({**STUCK, "repeated": 9}, outlook=outlook) == []
