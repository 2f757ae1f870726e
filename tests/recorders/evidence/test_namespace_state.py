"""How a namespace stands: what is made with iproute2 is read by netlink and /proc."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from functools import partial

import pytest

from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.kernel_state import (
    AddressState,
    FdbState,
    MdbState,
    Membership,
    NeighbourState,
    RouteState,
)
from analyzer.net.netns import netns_inode, new_netns, run_inside
from analyzer.recorders.evidence import addressing, namespace
from analyzer.recorders.evidence.namespace import GONE, read_namespaces
from analyzer.recorders.evidence.procfs import parse_igmp, parse_igmp6

MAKE = """
ip link add br0 type bridge mcast_querier 1 ageing_time 20000
ip link add left type veth peer name right
ip link set left master br0
ip link add vx0 type vxlan id 42 remote 192.0.2.9 dstport 4789
for one in lo br0 left right vx0; do ip link set $one up; done
bridge link set dev left learning off flood off isolated on
bridge fdb append 02:00:00:00:00:05 dev vx0 dst 192.0.2.7 vni 43
bridge mdb add dev br0 port left grp 239.1.2.3 permanent
ip addr add 192.0.2.1/24 dev br0
ip route add blackhole 198.51.100.0/24
ip route add 203.0.113.0/24 via 192.0.2.3 metric 7
ip route add 203.0.114.0/24 nexthop via 192.0.2.3 nexthop via 192.0.2.4
ip rule add from 192.0.2.0/28 iif br0 fwmark 5 lookup 77 priority 900
ip neigh add 192.0.2.3 lladdr 02:00:00:00:00:03 dev br0 nud permanent
ip neigh add 192.0.2.4 dev br0 nud failed
tc qdisc add dev right root tbf rate 1mbit burst 2k limit 4k
tc qdisc add dev left clsact
tc filter add dev left ingress protocol ip prio 3 u32 match u32 0 0 flowid 1:1
sysctl -qw net.ipv4.conf.br0.rp_filter=2 net.ipv4.conf.br0.arp_ignore=1
sysctl -qw net.ipv6.conf.br0.accept_ra=2
nft 'add table bridge guard'
nft 'add chain bridge guard pass { type filter hook forward priority 0; }'
nft 'add rule bridge guard pass counter drop'
"""


@pytest.fixture
def netns() -> Iterator[int]:
    fd = new_netns()
    yield fd
    os.close(fd)


def read(fd: int) -> NamespaceEvidence:
    paths = {netns_inode(fd): f"/proc/self/fd/{fd}"}
    (found,) = read_namespaces(paths, at_start=True)
    return found


def make(fd: int, script: str) -> None:
    run = partial(subprocess.run, check=True, timeout=30)
    run_inside(fd, lambda: run(["sh", "-ec", script]))


@pytest.mark.root
def test_all_that_was_made_is_there(netns: int) -> None:
    make(netns, MAKE)
    found = read(netns)
    assert found.absent == found.truncated == {}
    assert found.cookie > 0
    number = {link.name: link.ifindex for link in found.links}
    (br0,) = [link for link in found.links if link.name == "br0"]
    assert (br0.kind, br0.rp_filter, br0.arp_ignore, br0.accept_ra) == ("bridge", 2, 1, 2)
    (bridge,) = found.bridges
    assert (bridge.ifindex, bridge.mcast_querier, bridge.ageing_cs) == (number["br0"], True, 20000)
    (port,) = found.ports
    assert (port.ifindex, port.bridge, port.state) == (number["left"], number["br0"], "forwarding")
    assert (port.learning, port.flood, port.isolated) == (False, False, True)
    assert (port.mcast_flood, port.bcast_flood, port.locked) == (True, True, False)
    vx = number["vx0"]
    assert FdbState(vx, 0, "02:00:00:00:00:05", 0, "192.0.2.7", 43, True) in found.fdb
    assert MdbState(number["br0"], number["left"], "239.1.2.3", 0, True) in found.mdb
    assert Membership("br0", "224.0.0.1") in found.memberships
    assert AddressState(number["br0"], "192.0.2.1/24", "") in found.addresses
    assert {link.name: link.rp_filter for link in found.links}["left"] == 0


@pytest.mark.root
def test_where_packets_would_go(netns: int) -> None:
    make(netns, MAKE)
    found = read(netns)
    number = {link.name: link.ifindex for link in found.links}
    routes = {route.destination: route for route in found.routes}
    assert routes["198.51.100.0/24"].kind == "blackhole"
    br0, inet = number["br0"], socket.AF_INET
    assert routes["203.0.113.0/24"] == RouteState(
        inet, 254, "unicast", "203.0.113.0/24", "192.0.2.3", br0, "", 7, 3
    )
    assert (routes["203.0.114.0/24"].nexthops, routes["203.0.114.0/24"].gateway) == (2, "192.0.2.3")
    (rule,) = [rule for rule in found.rules if rule.priority == 900]
    assert (rule.source, rule.incoming, rule.mark, rule.table) == ("192.0.2.0/28", "br0", 5, 77)
    known = NeighbourState(br0, "192.0.2.3", "02:00:00:00:00:03", "permanent")
    assert known in found.neighbours
    assert NeighbourState(br0, "192.0.2.4", "", "failed") in found.neighbours


@pytest.mark.root
def test_queues_and_filters(netns: int) -> None:
    make(netns, MAKE)
    found = read(netns)
    number = {link.name: link.ifindex for link in found.links}
    (tbf,) = [one for one in found.qdiscs if one.kind == "tbf"]
    assert (tbf.ifindex, tbf.rate_bit_s, tbf.is_root) == (number["right"], 1_000_000, True)
    kinds = {(one.ifindex, one.kind, one.protocol, one.priority) for one in found.filters}
    assert kinds == {(number["left"], "u32", 0x800, 3)}
    (rules,) = found.rulesets
    assert rules.tool == "nft"
    assert "table bridge guard" in rules.text
    assert "counter packets 0 bytes 0 drop" in rules.text


@pytest.mark.root
def test_sockets_with_what_they_have_dropped(netns: int) -> None:
    def fill() -> list[socket.socket]:
        make(netns, "ip link set lo up")
        server = socket.socket()
        server.bind(("127.0.0.1", 80))
        server.listen(0)
        clients = [socket.socket() for _ in range(3)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", 80))
        udp = socket.socket(type=socket.SOCK_DGRAM)
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        udp.bind(("0.0.0.0", 53))
        for _ in range(30):
            clients[0].getsockname()
            udp.sendto(bytes(1000), ("127.0.0.1", 53))
        return [server, udp, *clients]

    kept = run_inside(netns, fill)
    found = read(netns)
    tcp, udp = sorted(found.sockets, key=lambda one: one.protocol)
    assert (tcp.address, tcp.port, tcp.queue, tcp.limit) == ("127.0.0.1", 80, 1, 0)
    assert tcp.drops == found.counters["TcpExtListenDrops"] > 0
    assert (udp.address, udp.port) == ("0.0.0.0", 53)
    assert udp.drops == found.counters["UdpRcvbufErrors"] > 0
    for one in kept:
        one.close()


@pytest.mark.root
def test_what_is_too_much_is_counted(netns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace, "MOST_ROWS", 3)
    make(netns, "ip link set lo up; for n in 1 2 3 4 5; do ip addr add 10.0.$n.1/24 dev lo; done")
    found = read(netns)
    assert len(found.addresses) == 3
    assert found.truncated["addresses"] == 4  # 127.0.0.1 and ::1


@pytest.mark.root
def test_what_cannot_be_read_is_told_with_its_reason(
    netns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(addressing, "read_routes", refuse)
    found = read(netns)
    assert found.absent == {"routes": "Operation not permitted"}
    assert found.links
    (gone,) = read_namespaces({1: "/proc/self/fd/-1"}, at_start=False)
    (other,) = read_namespaces({1: f"/proc/self/fd/{netns}"}, at_start=False)
    assert gone.absent == other.absent == {"namespace": GONE}


def test_groups_of_ipv4() -> None:
    text = (
        "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"
        "1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n"
        "2\teth0      :     2      V3\n\t\t\t\t030201EF     1 0:00000000\t\t0\n"
    )
    assert list(parse_igmp(text)) == [Membership("eth0", "239.1.2.3")]


def test_groups_of_ipv6() -> None:
    text = (
        "1    lo              ff020000000000000000000000000001     1 0000000C 0\n"
        "2    eth0            ff0500000000000000000000000000fb     1 00000004 0\n"
    )
    assert list(parse_igmp6(text)) == [Membership("eth0", "ff05::fb")]


def test_legacy_tables_of_bridges_are_told_not_to_be_read(
    netns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {netns_inode(netns): f"/proc/self/fd/{netns}"}
    monkeypatch.setattr(namespace, "_modules", lambda: "ebtable_filter 16384 1 - Live 0x0\n")
    (without,) = read_namespaces(paths, at_start=True)
    assert "ebtables-legacy" not in without.absent
    run_inside(netns, subprocess.check_call, ["ip", "link", "add", "br0", "type", "bridge"])
    (found,) = read_namespaces(paths, at_start=True)
    assert "ebtables-legacy -t TABLE -L" in found.absent["ebtables-legacy"]
    monkeypatch.setattr(namespace, "_modules", lambda: "ebtables 49152 0 - Live 0x0\n")
    (found,) = read_namespaces(paths, at_start=True)
    assert "ebtables-legacy" not in found.absent
