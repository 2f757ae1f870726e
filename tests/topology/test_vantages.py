"""Which vantages a capture gets, and what is said where there are none."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace
from topology_samples import HOST, ID, ONE, topology

from analyzer.errors import UsageProblem
from analyzer.model.topology import Topology
from analyzer.model.vantage import Role, Vantage
from analyzer.topology.vantages import (
    find_container,
    find_interface,
    host_network_warnings,
    select_vantages,
)


def names(*targets: str, **options: object) -> list[str]:
    return [v.name for v in select_vantages(topology(), targets, **options)]  # type: ignore[arg-type]


ALL = [
    "tomcat01:eth0",
    "tomcat01:eth1",
    "vethaaa",
    "vethbbb",
    "tomcat02:eth0",
    "vethccc",
    "vethlost",
    "docker0",
    "br-net2",
]


@pytest.mark.parametrize(
    ("targets", "options", "expected"),
    [
        ((), {}, ALL),
        (("all",), {"uplink": True}, [*ALL, "eth0"]),
        (("tomcat02",), {}, ["tomcat02:eth0", "vethccc", "docker0"]),
        (
            ("tomcat02", "tomcat01"),
            {"networks": ["bridge"]},
            ["tomcat02:eth0", "vethccc", "tomcat01:eth0", "vethaaa", "docker0"],
        ),
        (("net2",), {}, ["tomcat01:eth1", "vethbbb", "br-net2"]),
        ((), {"networks": ["net2"]}, ["tomcat01:eth1", "vethbbb", "br-net2"]),
        (("side",), {"networks": ["net2"]}, ["tomcat01:eth1", "vethbbb", "br-net2"]),
        (("tomcat02",), {"inside": False}, ["vethccc", "docker0"]),
        ((), {"interfaces": ["docker0", "side:eth1"]}, ["docker0", "tomcat01:eth1"]),
        (("tomcat02",), {"interfaces": ["vethccc"]}, ["tomcat02:eth0", "vethccc", "docker0"]),
        (("hosty",), {}, ["eth0"]),
        ((ID["tomcat02"][:4],), {}, ["tomcat02:eth0", "vethccc", "docker0"]),
    ],
)
def test_selection(
    targets: tuple[str, ...], options: dict[str, object], expected: list[str]
) -> None:
    assert names(*targets, **options) == expected


@pytest.mark.parametrize(
    ("targets", "options", "words"),
    [
        (("tomcat1",), {}, "no container tomcat1: did you mean tomcat"),
        (("zzz",), {}, "no container zzz: there are hosty, lonely"),
        (("ab",), {}, "ab is ambiguous: tomcat01 .* tomcat02"),
        (("stopped",), {}, "container stopped is not running: start it"),
        (("lonely",), {}, "container lonely has no network interface"),
        (("tomcat02",), {"networks": ["net2"]}, "tomcat02 is not in network net2"),
        ((), {"networks": ["net3"]}, "no network with containers net3: did you mean net2"),
        ((), {"interfaces": ["dockr0"]}, "no interface dockr0: did you mean docker0"),
        (
            (),
            {"interfaces": ["tomcat01:eth9"]},
            "no interface tomcat01:eth9: did you mean tomcat01",
        ),
    ],
)
def test_refusals_are_one_line(
    targets: tuple[str, ...], options: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageProblem, match=words) as caught:
        names(*targets, **options)
    assert "\n" not in str(caught.value)


def test_namespace_that_may_not_be_entered() -> None:
    closed = replace(topology(), netns_paths={HOST: "/h"})
    with pytest.raises(UsageProblem, match="cannot look into container tomcat01: run as root"):
        select_vantages(closed, ["tomcat01"])


def test_nothing_at_all() -> None:
    with pytest.raises(UsageProblem, match="nothing to capture on"):
        select_vantages(Topology(HOST))


def by_name() -> dict[str, Vantage]:
    return {v.name: v for v in select_vantages(topology(), uplink=True)}


def test_inside_is_described() -> None:
    inside = by_name()["tomcat01:eth1"]
    assert inside == Vantage(
        name="tomcat01:eth1",
        interface="eth1",
        role=Role.CONTAINER,
        netns=ONE,
        ifindex=3,
        kind="veth",
        mac="02:42:ac:12:00:02",
        addresses=("172.18.0.2/16",),
        container="tomcat01",
        container_id=ID["tomcat01"],
        sharing=("side",),
        network="net2",
        peer="vethbbb",
        peer_mac="02:00:00:00:00:0c",
        peer_netns=HOST,
        peer_ifindex=12,
        bridge="br-net2",
    )


def test_host_veth_is_described() -> None:
    veth = by_name()["vethccc"]
    assert (veth.role, veth.container, veth.container_id) == (
        Role.HOST_VETH,
        "tomcat02",
        ID["tomcat02"],
    )
    assert (veth.peer, veth.peer_mac, veth.peer_addresses) == (
        "tomcat02:eth0",
        "0e:99:88:77:66:55",
        ("172.17.0.3/16",),
    )
    assert (veth.bridge, veth.master_ifindex, veth.network) == ("docker0", 3, "bridge")


def test_bridge_keeps_what_it_learned_and_not_its_ports_own_macs() -> None:
    bridge = by_name()["docker0"]
    assert (bridge.role, bridge.network, bridge.bridge) == (Role.BRIDGE, "bridge", "")
    assert bridge.fdb == (("02:42:ac:11:00:02", 11), ("02:42:ac:11:00:03", 13))


def test_veth_of_unknown_owner_and_uplink() -> None:
    lost = by_name()["vethlost"]
    assert (lost.role, lost.container, lost.peer, lost.peer_key) == (Role.HOST_VETH, "", "", None)
    assert by_name()["eth0"].role is Role.UPLINK


def test_every_vantage_survives_its_json() -> None:
    for vantage in by_name().values():
        assert Vantage.from_json(json.loads(json.dumps(vantage.to_json()))) == vantage


def test_name_goes_before_id_prefix() -> None:
    named = replace(topology().containers[-1], name="ab12")
    both = replace(topology(), containers=(*topology().containers[:-1], named))
    assert find_container(both, "ab12").name == "ab12"
    assert find_interface(both, "ab12:eth0").ifindex == 2


def test_host_network_is_warned_of_only_where_it_is_captured() -> None:
    found = topology()
    (line,) = host_network_warnings(found, select_vantages(found, ["hosty"]))
    assert line.startswith("container hosty uses the host's network")
    assert host_network_warnings(found, select_vantages(found, ["tomcat01"])) == []
