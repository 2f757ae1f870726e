"""VXLAN tunnels whose ends do not take, or do not know where to send."""

from __future__ import annotations

from typing import Any

import pytest
from evidence_samples import S, texts
from finding_inputs import info, inputs
from msgspec.structs import replace

from analyzer.findings.rule import FindingInputs
from analyzer.findings.tunnel_ends import find
from analyzer.model.batch import Outlook
from analyzer.model.evidence import Evidence, NamespaceEvidence
from analyzer.model.flow_rows import ArpRow
from analyzer.model.kernel_state import FdbState, LinkState
from analyzer.model.vantage import Role, Vantage

NETNS, ETH0, VX0, K1 = 2, 0, 1, 2
MAC = 0x024200000001
VANTAGES = [
    Vantage("h1:eth0", "eth0", Role.CONTAINER, NETNS, 5, "veth", container="h1"),
    Vantage("h1:vx0", "vx0", Role.CONTAINER, NETNS, 6, "vxlan", container="h1", vni=42),
    Vantage("k1:eth0", "eth0", Role.CONTAINER, 3, 5, "veth", "02:42:00:00:00:01", container="k1"),
]
MOMENT = NamespaceEvidence(
    NETNS,
    7,
    True,
    S,
    links=(LinkState(6, "vx0", "vxlan", mtu=1450),),
)
ARRIVED: dict[str, Any] = {
    "vantage": ETH0,
    "vni": 42,
    "src_hi": 0,
    "src_lo": 0xFFFFC0000202,
    "eth_src": MAC,
    "packets": 5,
    "through": 2,
    "first_ns": S,
}
SENT: dict[str, Any] = {
    "vantage": VX0,
    "eth_dst": MAC + 1,
    "eth_src": MAC,
    "packets": 3,
    "through": 0,
    "first_ns": S,
}
REASONS = {"VXLAN_VNI_NOT_FOUND": 9, "VXLAN_ENTRY_EXISTS": 9, "NO_TX_TARGET": 9}


def given(
    fdb: tuple[FdbState, ...] = (), reasons: dict[str, int] | None = None, **values: Any
) -> FindingInputs:
    """h1, whose VXLAN device has this FDB."""
    counted = REASONS if reasons is None else reasons
    found: FindingInputs = inputs(
        info=info(drops={"anywhere": counted}),
        outlook=Outlook(VANTAGES),
        evidence=Evidence((replace(MOMENT, fdb=fdb),)),
        **values,
    )
    return found


def at(destination: str, mac: str = "02:42:00:00:00:01") -> FdbState:
    return FdbState(6, mac=mac, destination=destination)


def ends(**values: Any) -> list[str]:
    return texts(find, given(**values))


def test_a_mac_that_the_table_has_elsewhere() -> None:
    assert ends(fdb=(at("192.0.2.77"),), tunnel_arrivals=[ARRIVED]) == [
        "vxlan-other-end 3 frames of k1's MAC 02:42:00:00:00:01 came from 192.0.2.2 in the tunnel "
        "with VNI 42 as far as h1:eth0, and vx0 dropped them (VXLAN_ENTRY_EXISTS): its FDB has "
        "that MAC at 192.0.2.77 by an entry that is not learned, so what is for it goes there, "
        "too: in h1's namespace: bridge fdb show dev vx0; bridge fdb replace 02:42:00:00:00:01 "
        "dev vx0 dst 192.0.2.2 static"
    ]


def test_a_network_identifier_that_is_none_there() -> None:
    assert ends(tunnel_arrivals=[ARRIVED | {"vni": 43, "through": 0}]) == [
        "vxlan-unknown-vni 5 VXLAN packets with VNI 43 from 192.0.2.2 reached h1:eth0, and no "
        "device of h1 has that VNI (vx0 has 42): the kernel drops them (VXLAN_VNI_NOT_FOUND): in "
        "h1's namespace: ip -d link show type vxlan"
    ]


@pytest.mark.parametrize(
    "values",
    [
        {"fdb": (at("192.0.2.77"),), "reasons": {}},
        {"fdb": (at("192.0.2.77"),), "row": {"through": 5}},
        {"fdb": (at("192.0.2.2"),)},
        {"row": {"vni": 43, "through": 0}, "reasons": {"VXLAN_ENTRY_EXISTS": 1}},
        {"row": {"vni": 43, "through": 0, "vantage": K1}},
    ],
    ids=["no such drop", "taken", "the same end", "no such drop of a VNI", "no end of a tunnel"],
)
def test_what_a_tunnel_takes(values: dict[str, Any]) -> None:
    row = ARRIVED | values.pop("row", {})
    assert ends(tunnel_arrivals=[row], **values) == []


def test_no_far_end() -> None:
    assert ends(fdb=(at("192.0.2.2"),), tunnel_departures=[SENT]) == [
        "vxlan-no-destination 3 frames of k1 for 02:42:00:00:00:02 went into h1:vx0 (VNI 42), "
        "whose FDB has no far end for that MAC and no default one (00:00:00:00:00:00): the kernel "
        "drops them (NO_TX_TARGET): in h1's namespace: bridge fdb show dev vx0; bridge fdb append "
        "00:00:00:00:00:00 dev vx0 dst FAR_END"
    ]


BROADCAST = SENT | {"eth_dst": 0xFFFFFFFFFFFF}
ASKED = ArpRow(
    "k1", "10.0.0.1", "02:42:00:00:00:01", "10.0.0.2", "", "", 3, 0, None, None, "unanswered"
)


def test_a_broadcast_that_somebody_waits_for() -> None:
    (text,) = ends(tunnel_departures=[BROADCAST], flows={"arp": [ASKED]})
    assert "3 frames of k1 for groups or all went into h1:vx0 (VNI 42)" in text


@pytest.mark.parametrize(
    "values",
    [
        {"fdb": (at("192.0.2.2", "00:00:00:00:00:00"),), "rows": [SENT]},
        {"fdb": (at("192.0.2.2", "02:42:00:00:00:02"),), "rows": [SENT]},
        {"rows": [SENT], "reasons": {}},
        {"rows": [SENT | {"through": 3}]},
        {"rows": [BROADCAST]},
    ],
    ids=["a default", "an entry", "no such drop", "wrapped", "nobody waits"],
)
def test_what_is_sent(values: dict[str, Any]) -> None:
    assert ends(tunnel_departures=values.pop("rows"), **values) == []
