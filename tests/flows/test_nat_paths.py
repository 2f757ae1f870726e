"""Paths beyond one bridge, made for real in the lab: each hop, each translation, each loss.

What the sockets at both ends saw is the truth that the report is held against.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from faulty import Bench
from talk import Heard, open_socket, ping, tcp, udp

import analyzer
from analyzer.analysis.analyse import report_files
from analyzer.app.ping import PingPlan
from analyzer.app.ping import ping as captured_ping
from analyzer.capture.options import CaptureOptions
from analyzer.capture.series import Rotation
from analyzer.engines.lab import Lab
from analyzer.errors import EnvironmentProblem
from analyzer.model.flow_rows import NatRow
from analyzer.model.report import Report
from analyzer.net.netns import run_inside
from analyzer.recorders.conntrack import ctnetlink, watch
from analyzer.recorders.conntrack.record import MAGIC
from analyzer.savefile import blocks
from analyzer.tap.options import TapOptions
from analyzer.tap.tap import Tap
from analyzer.topology.discover import discover
from analyzer.topology.vantages import select_vantages

pytestmark = pytest.mark.root

OUTSIDE, HOST, GATEWAY = "198.51.100.2", "198.51.100.1", "172.17.0.1"
ONE, TWO = "172.17.0.2", "172.17.0.3"
Talk = Callable[[Lab, str, str, tuple[str, int], int], Heard]
BOTH = pytest.mark.parametrize("talk", [tcp, udp], ids=["tcp", "udp"])


@pytest.fixture
def routed(tmp_path: Path) -> Iterator[Bench]:
    """tomcat02 is in a network of its own, on a bridge of its own."""
    with Lab(
        containers=2, networks={"back": "10.10.0.0/24"}, members={"tomcat02": ("back",)}
    ) as lab:
        yield Bench(lab, tmp_path)


def paths(bench: Bench, protocol: str) -> dict[tuple[str, ...], int]:
    """The way of every packet of a protocol → how many took it."""
    packets = analyzer.read(bench.file).packets.filter(protocol=protocol)
    assert packets["certain"].all()
    found = packets.group_by("path").len()
    return {tuple(way): count for way, count in found.iter_rows()}


def the_nat(report: Report, protocol: str) -> NatRow:
    """The one translation of a protocol, told by conntrack."""
    (row,) = [row for row in report.nat if row.protocol == protocol]
    assert row.told_by == "conntrack"
    return row


def both_ways(way: tuple[str, ...], count: int) -> dict[tuple[str, ...], int]:
    return {way: count, way[::-1]: count}


def test_container_to_host(bench: Bench) -> None:
    def talk() -> None:
        ping(bench.lab, "tomcat01", GATEWAY)
        udp(bench.lab, "tomcat01", "host", (GATEWAY, 5001), 5001)
        tcp(bench.lab, "tomcat01", "host", (GATEWAY, 5001), 5001)

    report = bench.capture(["tomcat01"], talk, filter_text="icmp or port 5001")
    way = ("tomcat01:eth0", bench.veth("tomcat01"), "docker0")
    assert paths(bench, "icmp") == paths(bench, "udp") == both_ways(way, 4)
    assert set(paths(bench, "tcp")) == {way, way[::-1]}
    assert (report.nat, report.losses) == ([], [])
    assert [row.kind for row in report.hops if row.to == "docker0"] == ["deliver"] * 3


def test_host_to_container(bench: Bench) -> None:
    def talk() -> None:
        ping(bench.lab, "host", ONE)
        udp(bench.lab, "host", "tomcat01", (ONE, 5001), 5001)
        tcp(bench.lab, "host", "tomcat01", (ONE, 5001), 5001)

    report = bench.capture(["tomcat01"], talk, filter_text="icmp or port 5001")
    way = ("docker0", bench.veth("tomcat01"), "tomcat01:eth0")
    assert paths(bench, "icmp") == paths(bench, "udp") == both_ways(way, 4)
    assert set(paths(bench, "tcp")) == {way, way[::-1]}
    assert (report.nat, report.losses) == ([], [])
    assert {(row.client, row.server) for row in report.tcp} == {("host", "tomcat01")}


def test_container_to_outside_by_masquerade(bench: Bench) -> None:
    heard: list[Heard] = []

    def talk() -> None:
        ping(bench.lab, "tomcat01", OUTSIDE)
        heard.append(udp(bench.lab, "tomcat01", "outside", (OUTSIDE, 5001), 5001))
        heard.append(tcp(bench.lab, "tomcat01", "outside", (OUTSIDE, 5001), 5001))

    report = bench.capture(["tomcat01"], talk, uplink=True, filter_text="icmp or port 5001")
    way = ("tomcat01:eth0", bench.veth("tomcat01"), "docker0", "uplink0")
    assert paths(bench, "icmp") == paths(bench, "udp") == both_ways(way, 4)
    assert set(paths(bench, "tcp")) == {way, way[::-1]}
    row = the_nat(report, "icmp")
    assert (row.source, row.source_ip, row.new_source_ip) == ("tomcat01", ONE, HOST)
    assert (row.packets, row.answers, row.from_, row.to) == (4, 4, "docker0", "uplink0")
    for protocol, truth in zip(("udp", "tcp"), heard, strict=True):
        row = the_nat(report, protocol)
        assert (row.source_ip, row.source_port) == truth.client
        assert (row.new_source_ip, row.new_source_port) == truth.peers[0]
        assert (row.destination_ip, row.destination_port) == (OUTSIDE, 5001)
        assert (row.new_destination_ip, row.new_destination_port) == (OUTSIDE, 5001)
    assert report.capture.likely_matches == 0


@BOTH
def test_outside_to_a_published_port(bench: Bench, talk: Talk) -> None:
    kind = talk.__name__
    bench.host(
        f"iptables -t nat -A PREROUTING -i uplink0 -p {kind} --dport 8080 -j DNAT --to {ONE}:80"
    )
    heard: list[Heard] = []
    report = bench.capture(
        ["tomcat01"],
        lambda: heard.append(talk(bench.lab, "outside", "tomcat01", (HOST, 8080), 80)),
        uplink=True,
        filter_text="port 80 or port 8080",
    )
    way = ("uplink0", "docker0", bench.veth("tomcat01"), "tomcat01:eth0")
    assert set(paths(bench, kind)) == {way, way[::-1]}
    row = the_nat(report, kind)
    assert (row.source_ip, row.source_port) == heard[0].client == heard[0].peers[0]
    assert (row.destination_ip, row.destination_port) == (HOST, 8080)
    assert (row.new_destination_ip, row.new_destination_port) == (ONE, 80)
    (flow,) = report.tcp if kind == "tcp" else report.udp
    assert (flow.server, flow.server_ip, flow.server_port) == ("tomcat01", ONE, 80)


def publish_to_each_other(bench: Bench, kind: str) -> None:
    bench.host(
        f"iptables -t nat -A PREROUTING -d {GATEWAY} -p {kind} --dport 8080 -j DNAT --to {TWO}:80;"
        f"iptables -t nat -A POSTROUTING -s 172.17.0.0/16 -d {TWO} -p {kind} -j MASQUERADE"
    )


@BOTH
def test_the_published_port_of_another_on_the_hosts_address(bench: Bench, talk: Talk) -> None:
    """Without docker-proxy: there by DNAT, and by masquerade so that answers come back."""
    kind = talk.__name__
    bench.host("sysctl -qw net.bridge.bridge-nf-call-iptables=0")
    publish_to_each_other(bench, kind)
    heard: list[Heard] = []
    report = bench.capture(
        ["tomcat01", "tomcat02"],
        lambda: heard.append(talk(bench.lab, "tomcat01", "tomcat02", (GATEWAY, 8080), 80)),
        filter_text="port 80 or port 8080",
    )
    a, b = bench.veth("tomcat01"), bench.veth("tomcat02")
    way = ("tomcat01:eth0", a, "docker0", "docker0", b, "tomcat02:eth0")
    assert set(paths(bench, kind)) == {way, way[::-1]}
    row = the_nat(report, kind)
    assert (row.source_ip, row.source_port) == heard[0].client
    assert (row.destination_ip, row.destination_port) == (GATEWAY, 8080)
    assert (row.new_source_ip, row.new_source_port) == heard[0].peers[0]
    assert (row.new_destination_ip, row.new_destination_port) == (TWO, 80)
    assert (row.source, row.destination) == ("tomcat01", "tomcat02")


@BOTH
def test_nat_between_two_ports(bench: Bench, talk: Talk) -> None:
    """Where bridged frames pass iptables, the same is translated without being routed."""
    kind = talk.__name__
    bench.bridge_netfilter()
    publish_to_each_other(bench, kind)
    heard: list[Heard] = []
    report = bench.capture(
        ["tomcat01", "tomcat02"],
        lambda: heard.append(talk(bench.lab, "tomcat01", "tomcat02", (GATEWAY, 8080), 80)),
        filter_text="port 80 or port 8080",
        promiscuous=False,
    )
    a, b = bench.veth("tomcat01"), bench.veth("tomcat02")
    way = ("tomcat01:eth0", a, b, "tomcat02:eth0")
    assert set(paths(bench, kind)) == {way, way[::-1]}
    row = the_nat(report, kind)
    assert (row.source_ip, row.source_port) == heard[0].client
    assert (row.new_source_ip, row.new_source_port) == heard[0].peers[0]
    assert (row.from_, row.to, report.losses) == (a, b, [])


def test_a_promiscuous_bridge_doubles_what_is_translated_between_its_ports(bench: Bench) -> None:
    bench.bridge_netfilter()
    publish_to_each_other(bench, "udp")
    got: list[bytes] = []

    def talk() -> None:
        with (
            open_socket(bench.lab, "tomcat02", socket.SOCK_DGRAM, ("0.0.0.0", 80)) as listening,
            open_socket(bench.lab, "tomcat01", socket.SOCK_DGRAM) as asking,
        ):
            asking.sendto(b"once", (GATEWAY, 8080))
            got.extend(listening.recv(100) for _ in range(2))

    report = bench.capture(["tomcat01", "tomcat02"], talk, filter_text="port 80 or port 8080")
    assert got == [b"once", b"once"]
    (text,) = [f.text for f in report.findings if f.code == "doubled"]
    assert text.startswith("tomcat01 → tomcat02: NAT between two ports of docker0")
    assert report.losses == []


@BOTH
def test_between_two_networks_where_forwarding_is_allowed(routed: Bench, talk: Talk) -> None:
    heard: list[Heard] = []
    report = routed.capture(
        ["tomcat01", "tomcat02"],
        lambda: heard.append(talk(routed.lab, "tomcat01", "tomcat02", ("10.10.0.2", 80), 80)),
        filter_text="port 80",
    )
    kind, bridge = talk.__name__, bridge_of(report)
    a, b = (next(v.name for v in report.vantages if v.peer == f"tomcat0{n}:eth0") for n in (1, 2))
    way = ("tomcat01:eth0", a, "docker0", bridge, b, "tomcat02:eth0")
    assert set(paths(routed, kind)) == {way, way[::-1]}
    row = the_nat(report, kind)  # as Docker does: masqueraded wherever it leaves docker0's network
    assert (row.source_ip, row.source_port) == heard[0].client
    assert (row.new_source_ip, row.new_source_port) == heard[0].peers[0]
    assert row.new_source_ip == "10.10.0.1"


def bridge_of(report: Report) -> str:
    (name,) = {v.name for v in report.vantages if v.role == "bridge"} - {"docker0"}
    return name


def test_without_nat_a_route_is_certain_by_itself(routed: Bench) -> None:
    routed.host("iptables -t nat -F")
    report = routed.capture(
        ["tomcat01", "tomcat02"],
        lambda: ping(routed.lab, "tomcat01", "10.10.0.2"),
        filter_text="icmp",
    )
    assert {len(way) for way in paths(routed, "icmp")} == {6}
    assert (report.nat, report.losses, report.capture.identity) == ([], [], "certain")


@pytest.mark.parametrize("kind", ["tcp", "udp", "icmp"])
def test_networks_that_are_kept_apart(routed: Bench, kind: str) -> None:
    routed.host(
        "iptables -N DOCKER-ISOLATION-STAGE-2; iptables -I FORWARD -j DOCKER-ISOLATION-STAGE-2;"
        "iptables -A DOCKER-ISOLATION-STAGE-2 -o br+ -j DROP"
    )

    def talk() -> None:
        if kind == "icmp":
            routed.inside("tomcat01", "ping -c3 -i.01 -W.1 10.10.0.2", check=False)
            return
        sort = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
        with open_socket(routed.lab, "tomcat01", sort) as sock:
            sock.settimeout(0.1)
            if kind == "udp":
                for _ in range(3):
                    sock.sendto(b"lost", ("10.10.0.2", 80))
            else:
                with pytest.raises(TimeoutError):
                    sock.connect(("10.10.0.2", 80))

    report = routed.capture(["tomcat01", "tomcat02"], talk, filter_text="icmp or port 80")
    (row,) = report.losses
    assert (row.protocol, row.packets) == (kind, 1 if kind == "tcp" else 3)
    assert (row.last_seen, row.reason) == ("docker0", "NETFILTER_DROP")
    assert "DOCKER-ISOLATION-STAGE-2 rule 1" in row.advice


def test_losses_behind_a_published_port_are_counted(bench: Bench) -> None:
    """Every fourth dies in FORWARD, translated already; the rule's counter is the truth."""
    bench.host(
        f"iptables -t nat -A PREROUTING -i uplink0 -p udp --dport 8080 -j DNAT --to {ONE}:80;"
        f"iptables -A FORWARD -p udp -d {ONE} -m statistic --mode nth --every 4 "
        "--packet 0 -j DROP"
    )

    def talk() -> None:
        with (
            open_socket(bench.lab, "tomcat01", socket.SOCK_DGRAM, ("0.0.0.0", 80)),
            open_socket(bench.lab, "outside", socket.SOCK_DGRAM) as asking,
        ):
            for number in range(20):
                asking.sendto(b"%d" % number, (HOST, 8080))

    report = bench.capture(["tomcat01"], talk, uplink=True, filter_text="port 80 or port 8080")
    counted = int(bench.host("iptables -nvxL FORWARD | awk '/statistic/ {print $1}'"))
    (row,) = report.losses
    assert row.packets == counted == 5
    assert (row.last_seen, row.reason) == ("uplink0", "NETFILTER_DROP")
    assert the_nat(report, "udp").packets == 15


def reuse(bench: Bench, count: int = 10) -> dict[str, int]:
    """Two containers ask one server from one source port at the same time, in the same words.

    The datagrams are equal but for the source's address, and a queue holds both before the first
    is out. The server answers with the port that it saw: container → its port outside.
    """
    bench.host("tc qdisc add dev uplink0 root tbf rate 16kbit burst 100 limit 100000")
    seen: dict[str, int] = {}
    addresses = {"tomcat01": ONE, "tomcat02": TWO}
    with ExitStack() as stack:

        def opened(where: str, *how: Any) -> socket.socket:
            return stack.enter_context(open_socket(bench.lab, where, *how))

        server = opened("outside", socket.SOCK_DGRAM, ("0.0.0.0", 9000))
        asking = {n: opened(n, socket.SOCK_DGRAM, ("0.0.0.0", 5000)) for n in addresses}
        raw = {n: opened(n, socket.SOCK_RAW) for n in addresses}
        for _ in range(count):
            for name, address in addresses.items():
                raw[name].sendto(datagram(address), (OUTSIDE, 0))
            for _ in addresses:
                _, peer = server.recvfrom(100)
                server.sendto(b"%05d" % peer[1], peer)
            for name, sock in asking.items():
                seen[name] = int(sock.recv(100))
    return seen


def datagram(source: str) -> bytes:
    """An IPv4 packet with an identification of 7, DF, and UDP without checksum."""
    body = struct.pack("!HHHH", 5000, 9000, 12, 0) + b"same"
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 7, 0x4000, 64, 17, 0)
    return head + socket.inet_aton(source) + socket.inet_aton(OUTSIDE) + body


def test_two_containers_with_one_source_port_are_not_mixed(bench: Bench) -> None:
    seen: list[dict[str, int]] = []
    report = bench.capture(
        ["tomcat01", "tomcat02"],
        lambda: seen.append(reuse(bench)),
        uplink=True,
        filter_text="udp port 9000",
    )
    (ports,) = seen
    assert len(set(ports.values())) == 2
    rows = {row.source: row for row in report.nat}
    for name, address in (("tomcat01", ONE), ("tomcat02", TWO)):
        row = rows[name]
        assert (row.source_ip, row.source_port, row.told_by) == (address, 5000, "conntrack")
        assert (row.new_source_ip, row.new_source_port) == (HOST, ports[name])
        assert (row.packets, row.answers) == (10, 10)
    packets = analyzer.read(bench.file).packets.filter(protocol="udp")
    assert len(packets) == 40
    for name, src, dst, path, told in packets.select(
        "source", "src_port", "destination", "path", "translated"
    ).iter_rows():
        container = name if name in ports else dst
        assert (container in path[0]) == (name in ports), (path, src)
        assert f"{HOST}:{ports[container]}" in told[0]


NOT_PERMITTED = (
    "addresses behind NAT are guessed from the packets: listening to conntrack is not permitted: "
    "run as root or with CAP_NET_ADMIN"
)


def without_conntrack(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> socket.socket:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(watch, "open_events", refuse)


def test_without_conntrack_nothing_wrong_is_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of two equal packets is whose cannot be known: then it is not said."""
    without_conntrack(monkeypatch)
    seen: list[dict[str, int]] = []
    report = bench.capture(
        ["tomcat01", "tomcat02"],
        lambda: seen.append(reuse(bench)),
        uplink=True,
        filter_text="udp port 9000",
        warned=[NOT_PERMITTED],
    )
    assert MAGIC not in Path(bench.file).read_bytes()
    packets = analyzer.read(bench.file).packets.filter(protocol="udp")
    asked = packets.filter(dst_port=9000)
    assert not any("docker0" in path and "uplink0" in path for path in asked["path"])
    told = {row.destination: (row.destination_port, row.told_by) for row in report.nat}
    assert told == {name: (port, "packets") for name, port in seen[0].items()}
    answers = packets.filter(src_port=9000)
    assert (len(answers), answers["certain"].sum()) == (20, 0)


def test_without_conntrack_a_guess_is_called_likely(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_conntrack(monkeypatch)
    result = captured_ping(bench.lab, PingPlan("tomcat01", OUTSIDE, count=4, interval_s=0.01))
    assert result.warnings == [NOT_PERMITTED]
    (row,) = result.report.nat
    assert (row.told_by, row.packets, row.answers) == ("packets", 4, 4)
    assert result.report.capture.identity == "certain and likely"
    assert result.report.capture.likely_matches == 8
    (text,) = [f.text for f in result.report.findings if f.code == "nat"]
    assert text.endswith("(4 packets; likely, from the packets alone)")


def test_a_ping_keeps_no_translations_but_its_own(bench: Bench) -> None:
    def others(outcome: object) -> None:
        udp(bench.lab, "tomcat02", "outside", (OUTSIDE, 5001), 5001, count=1)

    plan = PingPlan("tomcat01", OUTSIDE, count=3, interval_s=0.01, output=bench.file)
    captured_ping(bench.lab, plan, others)
    (row,) = report_files([bench.file])[0].nat
    assert (row.protocol, row.packets) == ("icmp", 3)


def test_what_there_was_no_room_for_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's smallest buffer, and a listener that is late."""
    monkeypatch.setattr(ctnetlink, "BUFFER_BYTES", 1)
    monkeypatch.setattr(watch, "GATHER_S", 60.0)

    def many() -> None:
        with open_socket(bench.lab, "tomcat01", socket.SOCK_DGRAM) as sock:
            for port in range(1000, 1060):
                sock.sendto(b"%d" % port, (OUTSIDE, port))

    report = bench.capture(["tomcat01"], many, uplink=True, filter_text="udp")
    (text,) = [f.text for f in report.findings if f.code == "conntrack-overrun"]
    assert text.startswith("the kernel had more to tell of connections than there was room for")
    told = {row.told_by for row in report.nat}
    assert told == {"conntrack", "packets"}
    assert sum(row.packets for row in report.nat) == 60
    packets = analyzer.read(bench.file).packets.filter(protocol="udp")
    assert 0 < packets["certain"].sum() < 60


def test_listening_switches_tracking_on_nowhere(bench: Bench) -> None:
    """No rule outside wants it."""
    path = bench.lab.netns_path("outside")
    listening = watch.ConntrackWatch(1).open(path)
    ping(bench.lab, "host", OUTSIDE)
    listening.stop()
    told = listening.take()
    listening.close()
    count = run_inside(path, Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text)
    assert int(count) == 0
    assert len(told) == 1


def test_what_cannot_be_listened_to_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> socket.socket:
        raise OSError(93, "Protocol not supported")

    monkeypatch.setattr(watch, "open_events", missing)
    with pytest.raises(EnvironmentProblem, match="load nf_conntrack_netlink"):
        watch.ConntrackWatch(1).open("/proc/self/ns/net")


def test_what_was_told_until_a_capture_was_killed_is_known(bench: Bench) -> None:
    """The last blocks, where everything stands once more, are missing."""

    def talk() -> None:
        for _ in range(2):
            udp(bench.lab, "tomcat01", "outside", (OUTSIDE, 5001), 5001, count=2, source_port=5000)
            while Path(bench.file).read_bytes().count(MAGIC) < 2:
                continue  # the connection stands in the file

    bench.capture(["tomcat01"], talk, uplink=True, filter_text="port 5001")
    data, at, frames_end = Path(bench.file).read_bytes(), 0, 0
    while at < len(data):
        kind, length = struct.unpack_from("=II", data, at)
        at += length
        frames_end = at if kind == blocks.ENHANCED_PACKET else frames_end
    Path(bench.file).write_bytes(data[:frames_end])
    report, errors = report_files([bench.file])
    assert errors == []
    assert (the_nat(report, "udp").packets, the_nat(report, "udp").answers) == (4, 4)


def test_each_file_of_a_series_tells_for_itself(bench: Bench, tmp_path: Path) -> None:
    series = Bench(bench.lab, tmp_path)
    topology = discover(bench.lab)
    vantages = select_vantages(topology, targets=["tomcat01"], uplink=True)
    tap = Tap(
        topology,
        vantages,
        str(tmp_path / "series.pcapng"),
        TapOptions(CaptureOptions(filter="port 5001", rotation=Rotation(max_packets=16))),
    )
    running = threading.Thread(target=tap.run)
    with tap:
        running.start()
        udp(series.lab, "tomcat01", "outside", (OUTSIDE, 5001), 5001)
        tap.stop()
        running.join()
    assert tap.stats is not None
    assert len(tap.stats.files) == 2
    for file in tap.stats.files:
        report, _ = report_files([file])
        assert (the_nat(report, "udp").packets, the_nat(report, "udp").answers) == (2, 2)
