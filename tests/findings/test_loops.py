"""Bridges that form a loop."""

from __future__ import annotations

from typing import Any

import pytest
from finding_inputs import BRIDGE, PORTS, inputs
from msgspec.structs import replace

from analyzer.diagnosis.looping import explain_by_loops
from analyzer.findings.loops import find
from analyzer.findings.rule import FindingInputs
from analyzer.model.batch import Outlook
from analyzer.model.evidence import Evidence, NamespaceEvidence
from analyzer.model.kernel_state import BridgeState, LinkState, PortState
from analyzer.model.report import LossRow
from analyzer.net.ethernet import ARP

S = 1_000_000_000
TRUNKS = [
    replace(
        PORTS[0],
        name=f"loop{n}",
        interface=f"loop{n}",
        container="",
        ifindex=20 + n,
        peer="",
        peer_mac="",
        peer_netns=1,
        peer_ifindex=30 + n,
    )
    for n in (0, 1)
]
VANTAGES = [*PORTS, BRIDGE, *TRUNKS]
ROW: dict[str, Any] = {
    "vantage": 3,
    "l2key": 7,
    "eth_src": 0x0242AC110002,
    "ethertype": ARP,
    "protocol": 255,
    "wirelen": 42,
    "number": 9,
    "sends": 3,
    "first_ns": S,
    "last_ns": 4 * S,
    "returns": 158,
}
HOST = NamespaceEvidence(
    1,
    0,
    True,
    S,
    links=(LinkState(3, "docker0", "bridge"), LinkState(4, "br1", "bridge")),
    ports=(PortState(30, 4), PortState(31, 4)),
    bridges=(BridgeState(3), BridgeState(4)),
)


def looped(*rows: dict[str, Any], evidence: Evidence | None = None) -> FindingInputs:
    given: FindingInputs = inputs(
        returned=[ROW | row for row in rows],
        outlook=Outlook(VANTAGES),
        evidence=evidence or Evidence(),
    )
    return given


def test_which_ports_and_where_they_lead() -> None:
    (finding,) = find(looped({}, {"vantage": 4, "returns": 162}, evidence=Evidence((HOST,))))
    assert finding.severity == "error"
    assert finding.text == (
        "loop at docker0: frames came back by the ports that they had left by, loop0 (158×) and "
        "loop1 (162×), within 3.00 s from 1970-01-01 00:00:01.000000 UTC on: one ARP frame of "
        "tomcat01, sent 3×, came back 320×; loop0 and loop1 lead to bridge br1; until it is cut "
        "each broadcast goes round, and MACs move between these ports: ip link set dev loop1 down, "
        "or ip link set docker0 type bridge stp_state 1 (STP is off)"
    )


def test_other_frames_are_counted() -> None:
    (finding,) = find(looped({}, {"l2key": 8, "returns": 2, "eth_src": 5, "wirelen": 90}))
    assert "loop0 (160×)" in finding.text
    assert "one ARP frame of tomcat01, sent 3×, came back 158×, with 1 other frame;" in finding.text
    assert "STP" not in finding.text


@pytest.mark.parametrize(
    "row", [{"returns": 9, "sends": 1}, {"returns": 158, "sends": 60}], ids=["few", "sent as often"]
)
def test_what_proves_no_loop(row: dict[str, Any]) -> None:
    assert list(find(looped(row))) == []


def loss(**values: Any) -> LossRow:
    ends = {"last_seen": "loop0", "expected": "veth2"}
    told = {"protocol": "icmp", "source": "tomcat01", "destination": "tomcat02", "packets": 1}
    why = {"reason": "unknown", "location": "", "advice": "", "first_ns": 2 * S}
    return LossRow(**told | ends | why | values)


def test_a_loss_in_the_loop_is_explained_by_it() -> None:
    (row,) = explain_by_loops([loss()], [ROW], VANTAGES)
    assert row.reason == "loop"
    assert row.advice.startswith("docker0 was in a loop then: what is for a MAC goes to where")


@pytest.mark.parametrize(
    "values",
    [
        {"first_ns": 9 * S},
        {"reason": "NETFILTER_DROP"},
        {"expected": "tomcat02:eth0"},
        {"first_ns": None},
    ],
    ids=["later", "known", "elsewhere", "no time"],
)
def test_other_losses_are_not(values: dict[str, Any]) -> None:
    assert explain_by_loops([loss(**values)], [ROW], VANTAGES) == [loss(**values)]
