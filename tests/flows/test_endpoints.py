"""Names by interface, MAC, address and time."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace
from world import BRIDGE_MAC, World, mac_of

from analyzer.correlate.stages import build_layout
from analyzer.flows.endpoints import Endpoints, Sighting
from analyzer.model.tenures import Life
from analyzer.model.vantage import Vantage
from analyzer.net.ip import MAPPED

IN, OUT = 1, 2


def ip(last: int) -> int:
    return MAPPED | 172 << 24 | 17 << 16 | last


def endpoints(vantages: list[Vantage], lives: dict[str, Life] | None = None) -> Endpoints:
    layout = build_layout(vantages)
    made = Endpoints()
    known = [(lives or {}).get(vantage.container, Life()) for vantage in vantages]
    made.learn(vantages, layout.lan, layout.site, {}, known)
    return made


def reused() -> tuple[World, Endpoints]:
    """c1 is gone at 30, and c2 has its MAC and address from 40 on; c0 is there all the time."""
    world = World(3)
    heir = {"mac": world.vantages[world.at("c1:eth0")].mac}
    for name in ("veth2", "c2:eth0"):
        at = world.at(name)
        old = world.vantages[world.at(name.replace("2", "1"))]
        inside = name == "c2:eth0"
        borne = (
            {"addresses": old.addresses, **heir}
            if inside
            else {
                "peer_mac": old.peer_mac,
                "peer_addresses": old.peer_addresses,
            }
        )
        world.vantages[at] = replace(world.vantages[at], **borne)
    return world, endpoints(world.vantages, {"c1": Life(0, 20, 30), "c2": Life(40)})


def seen(world: World, vantage: str, flags: int, ns: int, mac: int, last: int) -> dict[str, int]:
    return {
        "vantage": world.at(vantage),
        "flags": flags,
        "ts_ns": ns,
        "eth_src": mac,
        "eth_dst": mac,
        "ip_version": 4,
        "src_lo": ip(last),
        "dst_lo": ip(last),
    }


def names(made: Endpoints, side: str, *rows: dict[str, int]) -> list[str]:
    kinds = {"vantage": np.int32, "flags": np.uint32, "ts_ns": np.int64, "ip_version": np.uint8}
    columns = (
        "vantage",
        "flags",
        "ts_ns",
        "ip_version",
        "eth_src",
        "eth_dst",
        "src_hi",
        "src_lo",
        "dst_hi",
        "dst_lo",
    )
    frames = {
        name: np.array([row.get(name, 0) for row in rows], kinds.get(name, np.uint64))
        for name in columns
    }
    return made.column(frames, side).to_list()


@pytest.mark.parametrize("side", ["src", "dst"])
def test_one_mac_and_address_in_turn(side: str) -> None:
    world, made = reused()
    rows = [seen(world, "docker0", IN, ns, mac_of(1), 3) for ns in (10, 35, 40, 99)]
    assert names(made, side, *rows) == ["c1", "c1", "c2", "c2"]


def test_in_any_order_of_time() -> None:
    world, made = reused()
    rows = [seen(world, "docker0", IN, ns, mac_of(1), 3) for ns in (99, 10, 40, 35, 10)]
    assert names(made, "src", *rows) == ["c2", "c1", "c2", "c1", "c1"]


def test_an_interface_of_ones_own_tells_more_than_time() -> None:
    world, made = reused()
    early = seen(world, "c2:eth0", OUT, 10, mac_of(1), 3)
    late = seen(world, "veth1", IN, 99, mac_of(1), 3)
    assert names(made, "src", early, late) == ["c2", "c1"]
    early, late = ({**row, "flags": IN + OUT - row["flags"]} for row in (early, late))
    assert names(made, "dst", early, late) == ["c2", "c1"]


def test_an_address_in_turn_behind_the_hosts_mac() -> None:
    world, made = reused()
    rows = [seen(world, "docker0", IN, ns, BRIDGE_MAC, 3) for ns in (10, 99)]
    assert names(made, "src", *rows) == ["c1", "c2"]


def test_two_at_once_are_not_told_apart_where_no_port_is_seen() -> None:
    world, _ = reused()
    made = endpoints(world.vantages)
    rows = [
        seen(world, "docker0", IN, 10, mac_of(1), 3),
        seen(world, "veth2", IN, 10, mac_of(1), 3),
    ]
    assert names(made, "src", *rows) == ["172.17.0.3", "c2"]


@pytest.mark.parametrize(
    ("mac", "last", "name"),
    [
        (mac_of(0), 2, "c1"),  # c0's MAC and address
        (mac_of(1), 2, "c1"),  # c0's address
        (BRIDGE_MAC, 1, "c1"),
        (0x0200_0000_DEAD, 2, "c1"),  # nobody's MAC with c0's address
        (0x0200_0000_DEAD, 99, "172.17.0.99"),
    ],
)
def test_the_port_tells_who_sent_it(mac: int, last: int, name: str) -> None:
    world = World(2)
    made = endpoints(world.vantages)
    for vantage, flags in (("c1:eth0", OUT), ("veth1", IN)):
        assert names(made, "src", seen(world, vantage, flags, 1, mac, last)) == [name]


def test_what_comes_to_a_container_is_not_from_it() -> None:
    world = World(2)
    made = endpoints(world.vantages)
    assert names(made, "src", seen(world, "veth1", OUT, 1, mac_of(0), 2)) == ["c0"]
    assert names(made, "src", seen(world, "c1:eth0", IN, 1, mac_of(0), 2)) == ["c0"]


def test_a_container_that_bridges_sends_for_others() -> None:
    world = World(2)
    at = world.at("c1:eth0")
    world.vantages[at] = replace(world.vantages[at], master_ifindex=77)
    made = endpoints(world.vantages)
    assert names(made, "src", seen(world, "veth1", IN, 1, mac_of(0), 2)) == ["c0"]


def test_since_when_a_mac_has_its_bearer() -> None:
    world, made = reused()
    segment = np.full(4, build_layout(world.vantages).lan[0], np.int32)
    macs = np.array([mac_of(1), mac_of(1), mac_of(0), mac_of(1)], np.uint64)
    since = made.borne_since(segment, macs, np.array([10, 99, 99, 40], np.int64))
    assert since.tolist() == [0, 40, 0, 40]


def test_since_when_an_address_has_its_owner() -> None:
    world, made = reused()
    site = np.full(3, build_layout(world.vantages).site[0], np.int32)
    low = np.array([ip(3), ip(3), ip(2)], np.uint64)
    since = made.had_since(site, (np.zeros(3, np.uint64), low), np.array([10, 99, 99], np.int64))
    assert since.tolist() == [0, 40, 0]


def test_a_name_stays_when_more_is_learned() -> None:
    world, _ = reused()
    layout = build_layout(world.vantages[:5])
    later = Endpoints()
    later.learn(world.vantages[:5], layout.lan, layout.site, {})
    row = seen(world, "docker0", IN, 10, mac_of(1), 3)
    assert names(later, "src", row) == ["c1"]
    layout = build_layout(world.vantages)
    lives = [Life(40) if v.container == "c2" else Life(0, 20, 30) for v in world.vantages]
    later.learn(world.vantages, layout.lan, layout.site, {}, lives)
    assert names(later, "src", row, {**row, "ts_ns": 99}) == ["c1", "c2"]


def test_a_name_of_the_file_where_no_vantage_has_the_address() -> None:
    world = World(1)
    layout = build_layout(world.vantages)
    made = Endpoints()
    made.learn(world.vantages, layout.lan, layout.site, {"172.17.0.9": "db", "172.17.0.8": ""})
    for last, name in ((9, "db"), (8, "172.17.0.8")):
        assert made.name(Sighting(int(layout.lan[0]), 0x66, 4, 0, ip(last))) == name


@pytest.mark.parametrize(
    ("last", "name"),
    [(9, "c1"), (3, "c1")],
)
def test_an_address_of_its_own_network_is_a_containers_own(last: int, name: str) -> None:
    """It may have got it after it was described."""
    world = World()
    sighting = Sighting(0, mac_of(1), 4, 0, ip(last))
    assert endpoints(world.vantages).name(sighting) == name


def test_what_a_container_is_to_pass_on_is_not_for_it() -> None:
    world = World()
    far = MAPPED | 10 << 24 | 7
    made = endpoints(world.vantages)
    assert made.name(Sighting(0, mac_of(1), 4, 0, far)) == "10.0.0.7"
    assert made.name(Sighting(0, mac_of(1), 4, 0, far, sends=True)) == "c1"
    assert made.name(Sighting(0, mac_of(1), 6, 0x20010DB8 << 32, 7)) == "c1"  # no address to tell
