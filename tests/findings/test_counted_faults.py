"""Faults that only counters and states tell, made for real in the lab."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any

import faulty
import pytest
from faulty import Bench
from msgspec.structs import replace

from analyzer.model.report import Report
from analyzer.net.netns import run_inside

pytestmark = pytest.mark.root
ADDRESS = "172.17.0.3"


def texts(report: Report, code: str) -> list[str]:
    return [finding.text for finding in report.findings if finding.code == code]


def sock_in(bench: Bench, container: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
    return run_inside(bench.lab.netns_path(container), lambda: socket.socket(type=kind))


def counted(bench: Bench, container: str, name: str) -> int:
    """A counter as nstat tells it."""
    return int(bench.inside(container, f"nstat -asz {name}").split()[-2])


def wait_until(ready: Callable[[], Any]) -> None:
    until = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_listen_queue_overflows(bench: Bench) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(sock_in(bench, "tomcat02"))
        server.bind(("", 8080))
        server.listen(0)

        def connect() -> None:
            for _ in range(4):
                client = stack.enter_context(sock_in(bench, "tomcat01"))
                client.setblocking(False)
                client.connect_ex((ADDRESS, 8080))
            wait_until(lambda: counted(bench, "tomcat02", "TcpExtListenOverflows"))

        report = bench.capture(["tomcat01", "tomcat02"], connect)
    (text,) = texts(report, "listen-overflow")
    assert text.startswith("the queue of a listening socket of tomcat02 was full ")
    assert "; 0.0.0.0:8080 dropped " in text
    assert "(at the end 1 waited to be accepted, backlog 0)" in text


def test_a_receive_buffer_overflows(bench: Bench) -> None:
    with (
        sock_in(bench, "tomcat02", socket.SOCK_DGRAM) as server,
        sock_in(bench, "tomcat01", socket.SOCK_DGRAM) as client,
    ):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        server.bind(("", 5353))

        def send() -> None:
            for _ in range(20):
                client.sendto(bytes(1000), (ADDRESS, 5353))
            wait_until(lambda: counted(bench, "tomcat02", "UdpInErrors"))

        report = bench.capture(["tomcat01", "tomcat02"], send)
        dropped = counted(bench, "tomcat02", "UdpRcvbufErrors")
    (text,) = texts(report, "receive-buffer-full")
    assert text.startswith(
        f"{dropped} UDP datagrams that had reached tomcat02 were dropped between"
    )
    assert f"; 0.0.0.0:5353 dropped {dropped} (buffer " in text


def test_a_queueing_discipline_drops(bench: Bench) -> None:
    veth = bench.veth("tomcat02")
    bench.host(f"tc qdisc add dev {veth} root tbf rate 1mbit burst 2k limit 3k")
    with sock_in(bench, "tomcat01", socket.SOCK_DGRAM) as client:

        def send() -> None:
            for _ in range(50):
                client.sendto(bytes(1000), (ADDRESS, 9))
            wait_until(lambda: " backlog 0b 0p" in bench.host(f"tc -s qdisc show dev {veth}"))

        report = bench.capture(["tomcat01", "tomcat02"], send)
    shown = bench.host(f"tc -s qdisc show dev {veth}").split()
    dropped = int(shown[shown.index("(dropped") + 1].rstrip(","))
    (text,) = texts(report, "qdisc-drops")
    assert dropped > 0
    assert text.startswith(
        f"the queueing discipline tbf of 1 Mbit/s of {veth} dropped {dropped} packets (overlimits "
    )
    assert text.endswith(f": tc -s qdisc show dev {veth}")


def test_masquerade_without_a_free_port(bench: Bench) -> None:
    bench.host("iptables -t nat -I POSTROUTING -p udp -j MASQUERADE --to-ports 40000-40000")

    def send() -> None:
        for _ in range(3):
            with sock_in(bench, "tomcat01", socket.SOCK_DGRAM) as client:
                client.sendto(b"hello", ("198.51.100.2", 9))

    report = bench.capture(["tomcat01"], send, uplink=True)
    (text,) = texts(report, "conntrack-insert-failed")
    assert text.startswith(
        "connection tracking of the host could not enter 2 packets (insert_failed) between "
    )


def test_duplicate_address_detection_fails(bench: Bench) -> None:
    for container in ("tomcat01", "tomcat02"):
        for key in ("all.disable_ipv6", "eth0.disable_ipv6"):
            bench.inside(container, f"sysctl -qw net.ipv6.conf.{key}=0")
    bench.inside("tomcat02", "ip addr add fd00::5/64 dev eth0 nodad")

    def take_it_too() -> None:
        bench.inside("tomcat01", "sysctl -qw net.ipv6.conf.eth0.accept_dad=1")
        bench.inside("tomcat01", "ip addr add fd00::5/64 dev eth0")
        wait_until(lambda: bench.inside("tomcat01", "ip -6 addr show dadfailed"))

    report = bench.capture(["tomcat01", "tomcat02"], take_it_too)
    (text,) = texts(report, "dad-failed")
    assert text.startswith("fd00::5/64 at eth0 of tomcat01 is not used: ")


def test_a_published_port_on_loopback(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    discover = faulty.discover

    def publish(lab: Any) -> Any:
        topology = discover(lab)
        ports = (("tcp", 80, "0.0.0.0", 8080),)
        containers = [
            replace(one, published=ports) if one.name == "tomcat02" else one
            for one in topology.containers
        ]
        return replace(topology, containers=tuple(containers))

    monkeypatch.setattr(faulty, "discover", publish)
    with sock_in(bench, "tomcat02") as server:
        server.bind(("127.0.0.1", 80))
        server.listen(1)
        report = bench.capture(
            ["tomcat01", "tomcat02"], lambda: bench.inside("tomcat02", "ss -ltn")
        )
    (text,) = texts(report, "published-on-loopback")
    assert text.startswith(
        "0.0.0.0:8080 is published for port 80 of tomcat02, but what listens there does so on "
        "127.0.0.1:80 only"
    )
