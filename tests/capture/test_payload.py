"""Where frames may be cut: by what is captured, and how Linux hands frames on."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from analyzer.capture.payload import BridgePorts, cut_where
from analyzer.model.vantage import Role, Vantage

HOST, IN_A, IN_B = 10, 11, 12
BR = Vantage("docker0", "docker0", Role.BRIDGE, HOST, 2, kind="bridge", promiscuous=True)
VE_A = Vantage("veA", "veA", Role.HOST_VETH, HOST, 4, kind="veth", peer_netns=IN_A, peer_ifindex=2)
VE_A = replace(VE_A, master_ifindex=2)
VE_B = replace(VE_A, name="veB", interface="veB", ifindex=5, peer_netns=IN_B)
ETH_A = Vantage("a:eth0", "eth0", Role.CONTAINER, IN_A, 2, kind="veth")
ETH_A = replace(ETH_A, peer_netns=HOST, peer_ifindex=4)
ETH_B = replace(ETH_A, name="b:eth0", netns=IN_B, peer_ifindex=5)
UPLINK = Vantage("ens3", "ens3", Role.UPLINK, HOST, 1)
PORT = replace(UPLINK, ifindex=7, master_ifindex=2)
FIVE = [ETH_A, VE_A, BR, VE_B, ETH_B]
CLOSED = {BR.key: BridgePorts({4, 5})}
OPEN = {BR.key: BridgePorts({4, 5, 6})}
VLANS = {BR.key: BridgePorts({4, 5, 6}, by_vlan=True)}
QUIET = [ETH_A, VE_A, replace(BR, promiscuous=False), VE_B, ETH_B]
PAIRS = "veA a:eth0 veB b:eth0"


@pytest.mark.parametrize(
    ("heard", "bridges", "ingress", "egress"),
    [
        (FIVE, CLOSED, f"docker0 {PAIRS}", "veA veB"),
        (FIVE, OPEN, PAIRS, "veA veB"),
        (FIVE, VLANS, PAIRS, ""),
        (FIVE, {}, PAIRS, ""),
        (QUIET, OPEN, PAIRS, ""),
        (QUIET, CLOSED, f"docker0 {PAIRS}", "veA veB"),
        ([BR, VE_A, VE_B], CLOSED, "docker0", "veA veB"),
        ([VE_A, VE_B], CLOSED, "", ""),
        ([ETH_A, ETH_B], CLOSED, "", ""),
        ([ETH_A, VE_A, BR], CLOSED, "veA a:eth0", "veA"),
        ([*FIVE, UPLINK], CLOSED, f"docker0 {PAIRS}", "veA veB"),
        ([*FIVE, PORT], {BR.key: BridgePorts({4, 5, 7})}, f"docker0 {PAIRS}", "veA veB ens3"),
    ],
)
def test_cut_where_another_vantage_has_it(
    heard: list[Vantage], bridges: dict[tuple[int, int], BridgePorts], ingress: str, egress: str
) -> None:
    cuts = cut_where(heard, bridges)
    names = {one.key: one.name for one in heard}
    told = [sorted(names[key] for key in side) for side in cuts]
    assert told == [sorted(ingress.split()), sorted(egress.split())]


def test_a_filter_may_take_other_copies_than_the_first_where_bridges_translate() -> None:
    cuts = cut_where(FIVE, CLOSED, over_bridges=False)
    assert cuts.ingress == {one.key for one in (ETH_A, VE_A, VE_B, ETH_B)}
    assert cuts.egress == set()


def test_other_pairs_promise_nothing() -> None:
    pair = [replace(one, kind="netkit") for one in (ETH_A, VE_A)]
    assert cut_where(pair, {}).ingress == set()
