"""Paths beyond one bridge on a real Docker Engine: published ports, docker-proxy, its networks.

Whoever is outside of the host is a namespace of its own, tied to the host by a veth pair.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from docker_containers import address, namespace

import analyzer
from analyzer.analysis.analyse import report_files
from analyzer.capture.options import CaptureOptions
from analyzer.engines.docker import DockerEngine
from analyzer.model.report import Report
from analyzer.net.netns import new_netns, run_inside
from analyzer.tap.options import TapOptions
from analyzer.tap.tap import Tap
from analyzer.topology.discover import discover
from analyzer.topology.vantages import select_vantages

pytestmark = [pytest.mark.root, pytest.mark.docker]

Make = Callable[..., Any]
HOST, OUTSIDE = "203.0.113.1", "203.0.113.2"
"""TEST-NET-3"""


@pytest.fixture
def engine() -> Iterator[DockerEngine]:
    with DockerEngine() as engine:
        yield engine


@pytest.fixture
def uplink() -> Iterator[tuple[str, int]]:
    """(the host's interface, the outside's namespace)."""
    outside, name = new_netns(), f"vs{os.getpid() % 100000}up"
    try:
        subprocess.run(
            [
                "ip",
                "link",
                "add",
                name,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                f"/proc/{os.getpid()}/fd/{outside}",
            ],
            check=True,
        )
        subprocess.run(["ip", "addr", "add", f"{HOST}/24", "dev", name], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        for words in (f"addr add {OUTSIDE}/24 dev eth0", "link set eth0 up", "link set lo up"):
            run_inside(outside, lambda w=words: subprocess.run(["ip", *w.split()], check=True))
        yield name, outside
    finally:
        subprocess.run(["ip", "link", "del", name], check=False)
        os.close(outside)


def published(container: Any, port: str = "80/tcp") -> int:
    return int(container.attrs["NetworkSettings"]["Ports"][port][0]["HostPort"])


class Served:
    """Whom the echo server saw."""

    def __init__(self) -> None:
        self.peers: list[tuple[str, int]] = []


@contextmanager
def serving(container: Any, kind: str = "tcp", port: int = 80) -> Iterator[Served]:
    """An echo server in the container's network, for one question."""
    sort = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    served = Served()

    def answer() -> None:
        if kind == "udp":
            data, who = listening.recvfrom(100)
            served.peers.append(who)
            listening.sendto(data, who)
            return
        peer, who = listening.accept()
        with peer:
            served.peers.append(who)
            peer.sendall(peer.recv(100))
            assert peer.recv(100) == b""

    with run_inside(namespace(container), lambda: socket.socket(type=sort)) as listening:
        listening.settimeout(10)
        listening.bind(("0.0.0.0", port))
        if kind == "tcp":
            listening.listen()
        answering = threading.Thread(target=answer)
        answering.start()
        yield served
        answering.join()


def talk(where: str | int, to: tuple[str, int], kind: str = "tcp") -> tuple[str, int]:
    """One question and its answer; the client's own name."""
    sort = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    with run_inside(where, lambda: socket.socket(type=sort)) as sock:
        sock.settimeout(10)
        sock.connect(to)
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"
        name: tuple[str, int] = sock.getsockname()
        if kind == "tcp":
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(100) == b""
        return name


def capture(
    engine: DockerEngine,
    folder: Path,
    targets: list[str],
    act: Callable[[], object],
    interfaces: tuple[str, ...] = (),
    expression: str = "",
) -> tuple[Report, str]:
    topology = discover(engine)
    vantages = select_vantages(topology, targets=targets, interfaces=interfaces)
    file = str(folder / "paths.pcapng")
    options = TapOptions(CaptureOptions(filter=expression), drops=True)
    tap = Tap(topology, vantages, file, options)
    running = threading.Thread(target=tap.run)
    with tap:
        running.start()
        try:
            act()
        finally:
            tap.stop()
            running.join()
    assert tap.warnings == []
    report, errors = report_files([file])
    assert errors == []
    return report, file


def paths(file: str, protocol: str) -> set[tuple[str, ...]]:
    packets = analyzer.read(file).packets.filter(protocol=protocol)
    assert packets["certain"].all()
    return {tuple(way) for way in packets["path"]}


def veth_of(report: Report, container: Any) -> str:
    return next(v.name for v in report.vantages if v.peer == f"{container.name}:eth0")


def both(way: tuple[str, ...]) -> set[tuple[str, ...]]:
    return {way, way[::-1]}


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_outside_to_a_published_port(
    engine: DockerEngine, container: Make, uplink: tuple[str, int], tmp_path: Path, kind: str
) -> None:
    """A port of the host's that Docker chose, as with ``-P``."""
    one = container("web", ports={f"80/{kind}": None})
    port, (name, outside) = published(one, f"80/{kind}"), uplink
    ends: list[tuple[str, int]] = []
    with serving(one, kind) as served:
        report, file = capture(
            engine,
            tmp_path,
            [one.name],
            lambda: ends.append(talk(outside, (HOST, port), kind)),
            (name,),
            f"port 80 or port {port}",
        )
    assert served.peers == ends
    way = (name, "docker0", veth_of(report, one), f"{one.name}:eth0")
    assert paths(file, kind) == both(way)
    (row,) = report.nat
    assert row.told_by == "conntrack"
    assert (row.source_ip, row.source_port) == ends[0] == (OUTSIDE, ends[0][1])
    assert (row.destination_ip, row.destination_port) == (HOST, port)
    assert (row.new_destination_ip, row.new_destination_port) == (address(one), 80)
    assert report.losses == []


def test_container_to_outside(
    engine: DockerEngine, container: Make, uplink: tuple[str, int], tmp_path: Path
) -> None:
    one, (name, outside) = container("client"), uplink
    ends: list[tuple[str, int]] = []
    with run_inside(outside, lambda: socket.create_server((OUTSIDE, 5001))) as listening:

        def ask() -> None:
            with run_inside(namespace(one), socket.socket) as sock:
                sock.settimeout(10)
                sock.connect((OUTSIDE, 5001))
                ends.append(sock.getsockname())
                peer, who = listening.accept()
                ends.append(who)
                peer.close()
                assert sock.recv(100) == b""

        report, file = capture(engine, tmp_path, [one.name], ask, (name,), "port 5001")
    way = (f"{one.name}:eth0", veth_of(report, one), "docker0", name)
    assert paths(file, "tcp") == both(way)
    (row,) = report.nat
    assert (row.source_ip, row.source_port, row.told_by) == (*ends[0], "conntrack")
    assert (row.new_source_ip, row.new_source_port) == ends[1] == (HOST, ends[1][1])


def test_two_containers_with_one_source_port(
    engine: DockerEngine, container: Make, uplink: tuple[str, int], tmp_path: Path
) -> None:
    ones, (name, outside) = [container("one"), container("two")], uplink
    seen: dict[str, int] = {}

    def ask() -> None:
        with ExitStack() as stack:

            def bound(where: Any, at: tuple[str, int]) -> socket.socket:
                sock = run_inside(where, lambda: socket.socket(type=socket.SOCK_DGRAM))
                sock.settimeout(10)
                sock.bind(at)
                return stack.enter_context(sock)

            server = bound(outside, (OUTSIDE, 9000))
            asking = {one.name: bound(namespace(one), ("0.0.0.0", 5000)) for one in ones}
            for _ in range(5):
                for sock in asking.values():
                    sock.sendto(b"same", (OUTSIDE, 9000))
                for _ in asking:
                    _, peer = server.recvfrom(100)
                    server.sendto(b"%d" % peer[1], peer)
                seen.update({who: int(sock.recv(100)) for who, sock in asking.items()})

    report, _ = capture(engine, tmp_path, [one.name for one in ones], ask, (name,), "udp port 9000")
    assert len(set(seen.values())) == 2
    told = {r.source: (r.new_source_port, r.packets, r.answers, r.told_by) for r in report.nat}
    assert told == {who: (port, 5, 5, "conntrack") for who, port in seen.items()}


def test_another_network_is_reached_where_docker_user_lets_it(
    engine: DockerEngine, container: Make, docker_engine: Any, tmp_path: Path
) -> None:
    network = docker_engine.networks.create(f"vs{os.getpid()}-routed")
    rules = [["DOCKER-USER", "-j", "ACCEPT"]]
    try:
        one = container("one")
        two = container("two", network=network.name)
        for rule in rules:
            subprocess.run(["iptables", "-w", "-I", *rule], check=True)
        there = address(two, network.name)
        with serving(two):
            report, file = capture(
                engine,
                tmp_path,
                [one.name, two.name],
                lambda: talk(namespace(one), (there, 80)),
                expression="port 80",
            )
        two.remove(force=True)
    finally:
        for rule in rules:
            subprocess.run(["iptables", "-w", "-D", *rule], check=False)
        network.remove()
    (other,) = {v.name for v in report.vantages if v.role == "bridge"} - {"docker0"}
    way = (
        f"{one.name}:eth0",
        veth_of(report, one),
        "docker0",
        other,
        veth_of(report, two),
        f"{two.name}:eth0",
    )
    assert paths(file, "tcp") == both(way)
    (row,) = report.nat
    assert (row.source, row.destination, row.told_by) == (one.name, two.name, "conntrack")
    assert report.losses == []


def test_a_user_defined_bridge_needs_no_nat(
    engine: DockerEngine, container: Make, docker_engine: Any, tmp_path: Path
) -> None:
    network = docker_engine.networks.create(f"vs{os.getpid()}-own")
    try:
        one = container("one", network=network.name)
        two = container("two", network=network.name)
        with serving(two):
            report, file = capture(
                engine,
                tmp_path,
                [one.name, two.name],
                lambda: talk(namespace(one), (address(two, network.name), 80)),
                expression="port 80",
            )
        for container_ in (one, two):
            container_.remove(force=True)
    finally:
        network.remove()
    way = (f"{one.name}:eth0", veth_of(report, one), veth_of(report, two), f"{two.name}:eth0")
    assert paths(file, "tcp") == both(way)
    assert (report.nat, report.losses) == ([], [])


@pytest.mark.parametrize("count", [1, 3])
def test_the_published_port_of_another_goes_through_docker_proxy(
    engine: DockerEngine, container: Make, tmp_path: Path, count: int
) -> None:
    """Docker does not translate what comes from docker0 itself: its proxy takes it."""
    one, two = container("client"), container("web", ports={"80/tcp": None})
    port = published(two)
    ends: list[tuple[str, int]] = []
    peers: list[tuple[str, int]] = []

    def ask() -> None:
        for _ in range(count):
            with serving(two) as served:
                ends.append(talk(namespace(one), ("172.17.0.1", port)))
            peers.extend(served.peers)

    report, file = capture(
        engine, tmp_path, [one.name, two.name], ask, expression=f"port 80 or port {port}"
    )
    there = (f"{one.name}:eth0", veth_of(report, one), "docker0")
    on = ("docker0", veth_of(report, two), f"{two.name}:eth0")
    assert paths(file, "tcp") == both(there) | both(on)
    rows = report.proxied
    assert [(row.client_ip, row.client_port) for row in rows] == ends
    assert [(row.proxy_ip, row.proxy_port) for row in rows] == peers
    assert {(row.client, row.server) for row in rows} == {(one.name, two.name)}
    assert {(row.host_ip, row.host_port) for row in rows} == {("172.17.0.1", port)}
    assert all(row.certain for row in rows) is (count == 1)
    (text,) = [f.text for f in report.findings if f.code == "proxied"]
    assert text.startswith(
        f"{one.name} → {two.name}: docker-proxy hands tcp 172.17.0.1 port {port} on to "
        f"{two.name} port 80: two connections each, no journey of one packet ({count}"
    )
    assert report.nat == []
