"""What changes while somebody listens: told once each, with its namespace."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from analyzer.model.evidence import KernelEvent
from analyzer.net.netns import netns_inode, new_netns, run_inside
from analyzer.recorders.evidence import events, sysctl_samples
from analyzer.recorders.evidence.event_messages import Understanding
from analyzer.recorders.evidence.events import EventWatch
from analyzer.recorders.evidence.legacy_tables import LegacyTables
from analyzer.recorders.evidence.record import decode_evidence
from analyzer.recorders.evidence.sysctl_samples import SysctlSamples

pytestmark = pytest.mark.root
S = 1_000_000_000


class Pair:
    """A host and a container, joined by veth0 ─ eth0, and a watch of both."""

    def __init__(self, stack: ExitStack) -> None:
        self.fds = [new_netns(), new_netns()]
        for fd in self.fds:
            stack.callback(os.close, fd)
        self.host, self.inside = (netns_inode(fd) for fd in self.fds)
        self.run(0, "ip link add br0 type bridge; ip link set br0 up")
        other = f"/proc/{os.getpid()}/fd/{self.fds[1]}"
        self.run(0, f"ip link add veth0 master br0 type veth peer eth0 netns {other}")
        self.run(0, "ip link set veth0 up")
        self.run(1, "ip link set eth0 up")
        self.heard = threading.Event()
        self.watch = EventWatch(self.host, self.heard.set)
        stack.callback(self.watch.close)
        paths = {netns_inode(fd): f"/proc/self/fd/{fd}" for fd in self.fds}
        self.watch.open(paths)

    def run(self, which: int, script: str) -> None:
        run = partial(subprocess.run, check=True, timeout=30)
        run_inside(self.fds[which], lambda: run(["sh", "-ec", script]))

    def told(self) -> list[KernelEvent]:
        """All that was heard of until now."""
        self.watch.stop()
        assert self.watch.absent == {}
        return list(decode_evidence(self.watch.take()).events)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(stack)


def shown(told: list[KernelEvent], what: str) -> list[tuple[int, str, str, str]]:
    return [(e.netns, e.action, e.subject, e.detail) for e in told if e.what == what]


def test_addresses_and_routes_of_a_container(pair: Pair) -> None:
    pair.run(1, "ip addr add 192.0.2.2/24 dev eth0; ip route add default via 192.0.2.1 metric 5")
    pair.run(1, "ip route del default; ip addr del 192.0.2.2/24 dev eth0")
    told = pair.told()
    inside = pair.inside
    addresses = [row for row in shown(told, "address") if ":" not in row[2]]
    assert addresses == [(inside, "new", "192.0.2.2/24", ""), (inside, "gone", "192.0.2.2/24", "")]
    default = [row for row in shown(told, "route") if row[2] == "default"]
    via = "unicast via 192.0.2.1 metric 5 table 254"
    assert default == [(inside, "new", "default", via), (inside, "gone", "default", via)]


def test_links_and_ports(pair: Pair) -> None:
    pair.run(1, "ip link set eth0 down")
    pair.run(0, "ip link del veth0")
    told = pair.told()
    links = [(row[0], row[1], row[2], row[3].split()[0]) for row in shown(told, "link")]
    assert (pair.inside, "changed", "eth0", "down") in links
    assert (pair.host, "changed", "veth0", "no-carrier") in links
    assert (pair.host, "gone", "veth0", "gone") in links
    assert (pair.host, "changed", "veth0", "disabled") in shown(told, "port")
    assert len(links) == len(set(links))


def test_neighbours_that_fail_or_move(pair: Pair) -> None:
    neighbour = "ip neigh replace 192.0.2.9 dev eth0 lladdr 02:00:00:00:00:0"
    pair.run(1, "ip addr add 192.0.2.2/24 dev eth0")
    pair.run(1, f"{neighbour}1 nud reachable; {neighbour}1 nud stale; {neighbour}2 nud reachable")
    pair.run(1, "ip neigh replace 192.0.2.9 dev eth0 nud failed")
    assert [row[2:] for row in shown(pair.told(), "neighbour")] == [
        ("192.0.2.9", "reachable 02:00:00:00:00:02"),
        ("192.0.2.9", "failed"),
    ]


def test_a_transaction_of_nftables_is_an_event_a_chain(pair: Pair) -> None:
    pair.run(
        1,
        "nft 'add table ip guard; add chain ip guard in; add rule ip guard in drop;"
        " add rule ip guard in accept'; nft flush chain ip guard in",
    )
    first, second = shown(pair.told(), "nftables")
    assert first[:3] == second[:3] == (pair.inside, "changed", "ip guard in")
    assert first[3].startswith("+2 -0 rules by nft (pid ")
    assert second[3].startswith("+0 -2 rules by nft (pid ")


def test_sysctls_that_the_kernel_tells_of(pair: Pair) -> None:
    off = "net.ipv4.ip_forward=0 net.ipv4.conf.eth0.rp_filter=0 net.ipv4.conf.all.rp_filter=0"
    pair.run(1, f"sysctl -qw {off} net.ipv6.conf.all.forwarding=0")  # as the machine's may be not
    pair.run(1, "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.eth0.rp_filter=2")
    pair.run(1, "sysctl -qw net.ipv4.conf.all.rp_filter=1; ip link add d0 type veth peer d1")
    pair.run(1, "sysctl -qw net.ipv4.conf.default.rp_filter=2 net.ipv6.conf.all.forwarding=1")
    changes = [row[2:] for row in shown(pair.told(), "sysctl")]
    assert [row for row in changes if row[1] != "0"] == [
        ("net.ipv4.ip_forward", "1"),
        ("ipv4 rp_filter", "2"),
        ("net.ipv4.conf.all.rp_filter", "1"),
        ("net.ipv6.conf.all.forwarding", "1"),
    ]


def test_sysctls_that_are_looked_at(pair: Pair) -> None:
    paths = {netns_inode(fd): f"/proc/self/fd/{fd}" for fd in pair.fds}
    pair.watch.sample(paths)
    begun_ns = time.time_ns()
    pair.run(1, "sysctl -qw net.ipv4.icmp_echo_ignore_all=1")
    assert pair.heard.wait(10)
    (event,) = [e for e in pair.told() if e.what == "sysctl"]
    told = (event.netns, event.subject, event.detail)
    assert told == (pair.inside, "net.ipv4.icmp_echo_ignore_all", "1")
    assert begun_ns - S < event.since_ns < event.ts_ns < time.time_ns()


def test_sysctls_of_devices_are_looked_at_in_turn(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysctl_samples, "_IN_TURN", 1)
    paths = {netns_inode(fd): f"/proc/self/fd/{fd}" for fd in pair.fds}
    devices = {pair.inside: ["eth0", "none.such"], pair.host: ["br0"]}
    with SysctlSamples() as samples:
        samples.add(paths, pair.host, 1, devices)
        pair.run(1, "sysctl -qw net.ipv4.conf.eth0.arp_ignore=8 net.ipv4.conf.all.arp_announce=2")
        pair.run(0, "sysctl -qw net.ipv4.conf.br0.arp_announce=1")
        told = [e for now_ns in range(2, 10) for e in samples.look(now_ns)]
    assert sorted((e.netns == pair.inside, e.subject, e.detail, e.since_ns) for e in told) == [
        (False, "net.ipv4.conf.br0.arp_announce", "1", 1),
        (True, "net.ipv4.conf.all.arp_announce", "2", 1),
        (True, "net.ipv4.conf.eth0.arp_ignore", "8", 1),
    ]


def test_tables_of_the_legacy_packet_filter(pair: Pair) -> None:
    """Those that come later are told, and not counted; a reader makes none."""
    pair.run(0, "iptables-legacy -A FORWARD -j ACCEPT")
    tables = run_inside(pair.fds[0], lambda: LegacyTables(pair.host))
    with tables:
        assert tables.counts
        assert tables.look(1) == []
        pair.run(0, "iptables-legacy -N OWN; ip6tables-legacy -A INPUT -j ACCEPT")
        told = [(e.subject, e.detail, e.since_ns) for e in tables.look(2)]
        assert told == [
            ("iptables-legacy filter", "+2 entries", 1),
            ("ip6tables-legacy filter", "is there", 1),
        ]
        pair.run(0, "iptables-legacy -R FORWARD 1 -s 203.0.113.1 -m mark --mark 1 -j ACCEPT")
        assert [e.detail for e in tables.look(3)] == ["other entries"]
    inside = run_inside(pair.fds[1], lambda: LegacyTables(pair.inside))
    with inside:
        assert not inside.counts
    names = "/proc/thread-self/net/ip_tables_names"
    assert run_inside(pair.fds[1], Path(names).read_text) == ""


def test_what_is_looked_at_keeps_no_namespace(pair: Pair) -> None:
    samples = SysctlSamples()
    other = new_netns()
    samples.add({netns_inode(other): f"/proc/self/fd/{other}"}, pair.host, time.time_ns())
    assert samples.pause_s
    os.close(other)
    deadline = time.monotonic() + 10
    while samples.pause_s and time.monotonic() < deadline:
        assert samples.look(time.time_ns()) == []
    assert samples.pause_s is None
    samples.close()


def test_a_mac_that_moves_to_another_port(pair: Pair) -> None:
    """What is learned anew is no news, and of the ports that stood before, the first is known."""
    pair.run(0, "ip link add port1 master br0 type veth peer port2; ip link set port1 up")
    for port in ("veth0", "port1"):
        pair.run(0, f"bridge fdb replace 02:00:00:00:00:01 dev {port} master static")
    pair.run(0, "bridge fdb del 02:00:00:00:00:01 dev port1 master")
    pair.run(0, "bridge fdb add 02:00:00:00:00:02 dev port1 master static")
    moves = [e for e in pair.told() if e.what == "fdb"]
    assert [(e.netns, e.action, e.subject) for e in moves] == [
        (pair.host, "changed", "02:00:00:00:00:01"),
        (pair.host, "gone", "02:00:00:00:00:01"),
    ]
    assert moves[0].detail.startswith("from port ")


def test_groups_that_a_port_gets(pair: Pair) -> None:
    pair.run(0, "bridge mdb add dev br0 port veth0 grp 239.1.2.3 permanent")
    pair.run(0, "bridge mdb add dev br0 port veth0 grp ff05::1234 permanent")
    pair.run(0, "bridge mdb del dev br0 port veth0 grp 239.1.2.3 permanent")
    assert [row[1:3] for row in shown(pair.told(), "mdb")] == [
        ("new", "239.1.2.3"),
        ("new", "ff05::1234"),
        ("gone", "239.1.2.3"),
    ]


def test_what_is_too_much_is_counted(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_EVENTS", 3)
    pair.run(1, "for n in 1 2 3 4 5; do ip addr add 192.0.$n.2/24 dev eth0; done")
    pair.watch.stop()
    found = decode_evidence(pair.watch.take())
    assert len(found.events) == 3
    assert found.missed >= 2


def test_an_engine_is_heard_beside_the_kernel(pair: Pair) -> None:
    event = KernelEvent(5, 0, "container", "pause", "tomcat01")
    pair.watch.tell(event)
    assert pair.heard.wait(10)
    assert event in pair.told()


def test_a_namespace_without_a_number_is_told(pair: Pair) -> None:
    stranger = new_netns()
    try:
        watch = EventWatch(pair.host)
        paths = {
            pair.host: f"/proc/self/fd/{pair.fds[0]}",
            netns_inode(stranger): f"/proc/self/fd/{stranger}",
        }
        watch.open(paths).close()
        assert watch.absent == {"namespaces": "1 have no number in the host's"}
    finally:
        os.close(stranger)


@pytest.mark.parametrize("length", [0, 4, 16, 18, 30])
def test_messages_that_are_cut_short_are_no_events(length: int) -> None:
    data = b"".join(
        (length or 20).to_bytes(4, "little") + kind.to_bytes(2, "little") + bytes(26)
        for kind in (16, 17, 20, 24, 28, 29, 80, 84, 10 << 8 | 6, 10 << 8 | 15)
    )
    told = Understanding().events(data[: length or None], 1, 2)
    assert all(isinstance(event, KernelEvent) for event in told)


def test_a_namespace_that_is_gone_does_nothing_more(pair: Pair) -> None:
    """The kernel gives its number in the host to the next one at once: what happens there before
    that is known to be captured is not told as the old one's."""
    script = "ip link add v{0} type veth peer name eth0 netns {1}; ip link set v{0} up"
    inside = "ip addr add 10.1.2.{0}/24 dev eth0; ip link set eth0 up"
    for number in range(1, 6):
        fd = new_netns()
        pair.run(0, script.format(number, f"/proc/{os.getpid()}/fd/{fd}"))
        if number % 2:
            pair.watch.welcome({netns_inode(fd): f"/proc/self/fd/{fd}"})
        old = pair.fds[1]
        pair.fds[1] = fd
        pair.run(1, inside.format(number))
        pair.fds[1] = old
        os.close(fd)
        _wait_for_link_to_go(pair, f"v{number}")
    told = [(e.subject, e.netns) for e in pair.told() if e.what == "address"]
    assert {subject for subject, _ in told if "." in subject} == {
        f"10.1.2.{number}/24" for number in (1, 3, 5)
    }


def _wait_for_link_to_go(pair: Pair, name: str) -> None:
    """A namespace is torn down a moment after its last descriptor is closed."""
    give_up = time.monotonic() + 10
    while True:
        try:
            pair.run(0, f"ip link show {name} 2>&1")
        except subprocess.CalledProcessError:
            return
        assert time.monotonic() < give_up
        time.sleep(0.01)
