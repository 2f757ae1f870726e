"""A bridge port that listens and learns while somebody asks behind it."""

from __future__ import annotations

import pytest
from evidence_samples import EVENT_NS, HOST, START, S, seen, texts
from msgspec.structs import replace

from analyzer.findings.stp_delay import find
from analyzer.model.evidence import Evidence, KernelEvent
from analyzer.model.flow_rows import ArpRow
from analyzer.model.kernel_state import PortState

ROW = ArpRow(
    "tomcat02", "172.17.0.3", "", "172.17.0.2", "tomcat01", "", 9, 1, None, None, "resolved"
)


def told(row: ArpRow, *states: str, start: str = "disabled") -> list[str]:
    begun = replace(START, netns=HOST, ports=(PortState(11, 3, start),))
    events = [
        KernelEvent(EVENT_NS + at * S, HOST, "port", "changed", "veth1", state, 11)
        for at, state in enumerate(states)
    ]
    given = replace(seen(Evidence((begun,), events)), flows={"arp": [row]})
    return texts(find, given)


def test_the_states_over_time() -> None:
    assert told(ROW, "listening", "learning", "forwarding") == [
        "stp-delay bridge port veth1 of tomcat01 was listening from 1970-01-01 00:00:15.000000 "
        "UTC, learning from 00:00:16.000000 UTC, forwarding from 00:00:17.000000 UTC: until it "
        "forwards, the bridge passes nothing on by it (spanning tree); tomcat02 asked 9× for "
        "172.17.0.2 behind it, 1 answer came: ip -d link show docker0 (stp_state, forward_delay)"
    ]


def test_until_the_end() -> None:
    (text,) = told(ROW, "learning", start="listening")
    assert " was listening from 1970-01-01 00:00:10.000000 UTC, learning from " in text
    assert " UTC until the capture's end: " in text


@pytest.mark.parametrize(
    ("row", "states"),
    [
        (ROW, ("forwarding",)),
        (replace(ROW, replies=9), ("listening", "forwarding")),
        (replace(ROW, target_ip="172.17.0.9", answered_by=""), ("listening", "forwarding")),
        (replace(ROW, state="probe"), ("listening", "forwarding")),
    ],
    ids=["no STP", "answered", "another's", "a probe"],
)
def test_what_is_no_fault(row: ArpRow, states: tuple[str, ...]) -> None:
    assert told(row, *states) == []
