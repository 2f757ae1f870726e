"""The wire format, and what a real namespace says, against ip(8) and bridge(8)."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from collections.abc import Iterator

import pytest
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st

from analyzer.net.netlink import attributes
from analyzer.net.netns import allow_descriptors, netns_inode, new_netns, run_inside
from analyzer.topology.netlink import read_namespace
from analyzer.topology.resolve import resolve_peers


def packed(kind: int, payload: bytes) -> bytes:
    padding = b"\0" * (-len(payload) % 4)
    return struct.pack("=HH", 4 + len(payload), kind) + payload + padding


@drawn(100)
@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=40), max_size=8))
def test_attributes_come_back(values: dict[int, bytes]) -> None:
    data = b"head" + b"".join(packed(kind, payload) for kind, payload in values.items())
    assert attributes(data, 4) == values


@drawn(100)
@given(st.binary(max_size=80))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    assert all(len(payload) <= len(data) for payload in attributes(data).values())


def test_nested_flag_is_not_part_of_the_type() -> None:
    assert attributes(packed(0x8000 | 18, b"abcd")) == {18: b"abcd"}


@pytest.fixture
def spaces() -> Iterator[tuple[int, int]]:
    one, other = new_netns(), new_netns()
    yield one, other
    os.close(one)
    os.close(other)


def inside(fd: int, line: str) -> str:
    """Run a command in a namespace; descriptors are inherited, so /proc/self/fd/N names them."""
    done = run_inside(
        fd,
        lambda: subprocess.run(line.split(), capture_output=True, text=True, check=True),
    )
    return done.stdout


def path(fd: int) -> str:
    return f"/proc/{os.getpid()}/fd/{fd}"


@pytest.mark.root
def test_peers_with_the_same_ifindex(spaces: tuple[int, int]) -> None:
    one, other = spaces
    inside(one, "ip link add near index 77 type veth peer name far index 78")
    inside(one, "ip link add twin index 90 type veth peer name tmp")
    inside(one, f"ip link set far netns {path(other)}")
    inside(one, "ip link del twin")
    inside(one, f"ip link add twin index 90 type veth peer name mate index 90 netns {path(other)}")
    facts = [read_namespace(fd, [one, other]) for fd in spaces]
    a, b = (netns_inode(fd) for fd in spaces)
    peers = resolve_peers(facts)
    assert peers[a, 90] == (b, 90)
    assert peers[b, 90] == (a, 90)
    assert (peers[a, 77], peers[b, 78]) == ((b, 78), (a, 77))


@pytest.mark.root
def test_says_what_ip_and_bridge_say(spaces: tuple[int, int]) -> None:
    one, _ = spaces
    for line in (
        "link add br0 type bridge",
        "link add p1 type veth peer name q1",
        "link set p1 master br0 up",
        "link set q1 up",
        "link set br0 up mtu 1400",
        "link set p1 type bridge_slave hairpin on isolated on",
        "addr add 10.1.2.3/24 dev br0",
        "addr add 2001:db8::1/64 dev br0 nodad",
        "route add default via 10.1.2.1 dev br0",
    ):
        inside(one, f"ip {line}")
    inside(one, "bridge fdb add 02:00:00:00:00:99 dev p1 master static")
    facts = read_namespace(one, routes=True)
    links = {link.name: link for link in facts.links}
    told = {link["ifname"]: link for link in json.loads(inside(one, "ip -d -j addr"))}
    assert set(links) == set(told)
    for name, link in links.items():
        said = told[name]
        assert (link.ifindex, link.mtu, link.qdisc) == (said["ifindex"], said["mtu"], said["qdisc"])
        assert link.mac == said["address"]
        assert sorted(link.addresses) == sorted(
            f"{a['local']}/{a['prefixlen']}" for a in said["addr_info"]
        )
        assert link.promiscuous == bool(said["promiscuity"])
        assert link.kind == said.get("linkinfo", {}).get("info_kind", "")
    assert links["br0"].addresses[0] == "10.1.2.3/24"
    port = links["p1"]
    assert (port.master, port.hairpin, port.isolated) == (links["br0"].ifindex, True, True)
    assert facts.default_routes == (links["br0"].ifindex,)
    static = [e for e in facts.fdb if e.mac == "02:00:00:00:00:99" and not e.vlan]
    assert [(e.port_ifindex, e.bridge_ifindex, e.local) for e in static] == [
        (port.ifindex, links["br0"].ifindex, False)
    ]
    assert {e.port_ifindex for e in facts.fdb if e.mac == port.mac and e.local} == {port.ifindex}


@pytest.mark.root
def test_hostile_name_is_read_as_it_is(spaces: tuple[int, int]) -> None:
    one, _ = spaces
    name = "v\x1b[31m<b>"
    argv = ["ip", "link", "add", name, "type", "bridge"]
    run_inside(one, lambda: subprocess.run(argv, check=True))
    assert name in {link.name for link in read_namespace(one).links}


def test_more_descriptors_are_allowed_and_never_fewer() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        allow_descriptors(10)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= min(before[0], before[1])
        allow_descriptors(3000)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert hard == before[1]
        assert soft >= min(3000, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
