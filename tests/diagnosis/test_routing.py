"""Where packets went by the recorded routes: as the kernel itself says, ``ip route get``."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from analyzer.diagnosis.routing import NO_ROUTE, route_to
from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.kernel_state import AddressState, RouteState, RoutingRule
from analyzer.net.netns import netns_inode, new_netns, run_inside
from analyzer.recorders.evidence.namespace import read_namespaces

SETUP = """
ip link set lo up
ip link add eth0 type veth peer name far0 && ip link set eth0 up && ip link set far0 up
ip link add eth1 type veth peer name far1 && ip link set eth1 up && ip link set far1 up
ip address add 172.17.0.2/16 dev eth0 && ip address add 10.1.0.2/24 dev eth1
ip -6 address add fd00::2/64 dev eth0 nodad
ip route add default via 172.17.0.1
ip route add 10.0.0.0/8 via 10.1.0.1
ip route add 10.9.0.0/16 via 172.17.0.9 metric 50
ip route add 10.9.0.0/16 via 10.1.0.9 metric 20
ip route add blackhole 10.9.9.0/24
ip route add unreachable 10.9.8.0/24
ip route add prohibit 10.9.7.0/24
ip route add 198.51.100.0/24 dev eth0
ip rule add from 10.1.0.2 table 100 priority 500
ip rule add to 203.0.113.0/24 table 101 priority 600
ip route add default via 10.1.0.1 table 100
ip route add throw 203.0.113.128/25 table 101
ip route add 203.0.113.0/24 via 172.17.0.77 table 101
ip -6 route add fd01::/64 via fd00::1
"""
REFUSED = {"Invalid argument": "blackhole", "No route to host": "unreachable"}
REFUSED |= {"Permission denied": "prohibit", "Network is unreachable": NO_ROUTE}


@pytest.fixture(scope="module")
def space() -> Iterator[tuple[int, NamespaceEvidence]]:
    fd = new_netns()
    run_inside(fd, lambda: subprocess.run(["sh", "-ec", SETUP], check=True))
    paths = {netns_inode(fd): f"/proc/{os.getpid()}/fd/{fd}"}
    (moment,) = read_namespaces(paths, at_start=True)
    yield fd, moment
    os.close(fd)


def kernel_says(fd: int, *words: str) -> tuple[str, str, str]:
    """(kind, gateway, device) of ``ip route get``."""
    argv = ["ip", "-j", "route", "get", *words]
    done = run_inside(fd, lambda: subprocess.run(argv, capture_output=True, text=True, check=False))
    if done.returncode:
        error = next(kind for text, kind in REFUSED.items() if text in done.stderr)
        return error, "", ""
    (route,) = json.loads(done.stdout)
    kind = route.get("type", "unicast")
    return kind, route.get("gateway", ""), "" if kind == "local" else route["dev"]


@pytest.mark.root
@pytest.mark.parametrize("source", ["", "172.17.0.2", "10.1.0.2"])
@pytest.mark.parametrize(
    "destination",
    [
        "172.17.0.2",
        "172.17.0.3",
        "8.8.8.8",
        "10.1.0.7",
        "10.2.0.1",
        "10.9.1.1",
        "10.9.9.1",
        "10.9.8.1",
        "10.9.7.1",
        "198.51.100.2",
        "203.0.113.1",
        "203.0.113.200",
    ],
)
def test_as_the_kernel_does(
    space: tuple[int, NamespaceEvidence], destination: str, source: str
) -> None:
    fd, moment = space
    asked = route_to(moment, destination, source)
    if not source and asked is None:
        return  # a rule by the source stands there, so that it cannot be told without
    assert asked is not None
    words = [destination, *(["from", source] if source else [])]
    device = asked.device if asked.kind == "unicast" else ""
    assert (asked.kind, asked.gateway, device) == kernel_says(fd, *words)


@pytest.mark.root
@pytest.mark.parametrize("destination", ["fd00::2", "fd00::9", "fd01::1", "fd02::1"])
def test_ipv6_as_the_kernel_does(space: tuple[int, NamespaceEvidence], destination: str) -> None:
    fd, moment = space
    asked = route_to(moment, destination)
    assert asked is not None
    device = asked.device if asked.kind == "unicast" else ""
    assert (asked.kind, asked.gateway, device) == kernel_says(fd, destination)


MAIN = RoutingRule(family=2, priority=32766, table=254, action=1)
DEFAULT = RouteState(2, 254, "unicast", "default", "172.17.0.1", 5)
MOMENT = NamespaceEvidence(
    1,
    1,
    True,
    0,
    addresses=(AddressState(5, "172.17.0.2/16"),),
    routes=(DEFAULT,),
    rules=(MAIN,),
)


@pytest.mark.parametrize(
    "changes",
    [
        {"absent": {"routes": "no right"}},
        {"truncated": {"routes": 1}},
        {"rules": ()},
        {"rules": (RoutingRule(family=2, priority=1, mark=7, table=9, action=1), MAIN)},
        {"rules": (RoutingRule(family=2, priority=1, incoming="eth1", table=9, action=1), MAIN)},
        {"rules": (RoutingRule(family=2, priority=1, table=9, action=7), MAIN)},
        {"rules": (RoutingRule(family=2, priority=1, source="10.0.0.0/8", table=9, action=1),)},
        {"routes": (replace(DEFAULT, destination="nonsense/99"),)},
    ],
)
def test_what_cannot_be_told_is_not(changes: dict[str, object]) -> None:
    assert route_to(replace(MOMENT, **changes), "8.8.8.8") is None  # type: ignore[arg-type]


def test_several_next_hops_are_none() -> None:
    moment = replace(MOMENT, routes=(replace(DEFAULT, nexthops=2),))
    asked = route_to(moment, "8.8.8.8")
    assert asked is not None
    assert (asked.gateway, asked.on_link) == ("", False)
