"""A healthy host under load gives no alarm: TCP bulk, DNS-like UDP, ping, churn of connections."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from faulty import Bench

from analyzer.engines.lab import Lab
from analyzer.net.netns import run_inside

pytestmark = pytest.mark.root
ROUNDS = 40


def listen(bench: Bench, container: str, kind: int, port: int) -> socket.socket:
    def make() -> socket.socket:
        sock = socket.socket(socket.AF_INET, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", port))
        sock.settimeout(20)
        return sock

    return run_inside(bench.lab.netns_path(container), make)


def serve_bulk(listener: socket.socket, connections: int) -> None:
    """Take whatever comes, connection by connection."""
    for _ in range(connections):
        peer, _ = listener.accept()
        with peer:
            while peer.recv(1 << 16):
                pass


def send_bulk(bench: Bench, connections: int, size: int) -> None:
    def connect() -> socket.socket:
        return socket.create_connection(("172.17.0.3", 5001), timeout=20)

    for _ in range(connections):
        with run_inside(bench.lab.netns_path("tomcat01"), connect) as sock:
            sock.sendall(bytes(size))


def serve_questions(sock: socket.socket, count: int) -> None:
    for _ in range(count):
        question, asker = sock.recvfrom(512)
        sock.sendto(question.upper(), asker)


def ask(bench: Bench, count: int) -> None:
    """A socket a question, as resolvers do."""
    for _ in range(count):
        with run_inside(
            bench.lab.netns_path("tomcat03"), lambda: socket.socket(type=socket.SOCK_DGRAM)
        ) as sock:
            sock.settimeout(20)
            sock.sendto(b"who is tomcat02?", ("172.17.0.3", 53))
            assert sock.recv(512) == b"WHO IS TOMCAT02?"


def load_everything(bench: Bench) -> None:
    tcp = listen(bench, "tomcat02", socket.SOCK_STREAM, 5001)
    tcp.listen(16)
    udp = listen(bench, "tomcat02", socket.SOCK_DGRAM, 53)
    threads = [
        threading.Thread(target=serve_bulk, args=(tcp, ROUNDS)),
        threading.Thread(target=serve_questions, args=(udp, ROUNDS)),
        threading.Thread(target=send_bulk, args=(bench, ROUNDS, 1 << 18)),
        threading.Thread(target=ask, args=(bench, ROUNDS)),
    ]
    with tcp, udp:
        for thread in threads:
            thread.start()
        for source, target in (("tomcat01", "172.17.0.3"), ("tomcat03", "172.17.0.1")):
            bench.inside(source, f"ping -c20 -i.01 -W2 {target}")
        bench.inside("tomcat01", "ping -c5 -i.01 -W2 198.51.100.2")
        for thread in threads:
            thread.join(timeout=60)
        assert not any(thread.is_alive() for thread in threads)


def test_no_alarm_on_a_healthy_busy_host(bench: Bench) -> None:
    report = bench.capture(["all"], lambda: load_everything(bench), uplink=True, snaplen=128)
    assert report.losses == []
    assert [f for f in report.findings if f.severity != "info"] == []
    assert {row.answered for row in report.icmp} == {5, 20}
    assert report.tcp
    assert report.udp
    assert report.capture.drops is not None


def stream(bench: Bench, family: int, target: str, packets: int) -> None:
    """UDP bulk from tomcat01 to a socket of tomcat02 that takes all of it."""

    def make() -> socket.socket:
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.settimeout(20)
        return sock

    with (
        run_inside(bench.lab.netns_path("tomcat02"), make) as server,
        run_inside(bench.lab.netns_path("tomcat01"), make) as client,
    ):
        server.bind((target, 7000))
        for number in range(packets):
            client.sendto(number.to_bytes(4) * 200, (target, 7000))
            assert server.recv(2000)[:4] == number.to_bytes(4)


def test_no_alarm_with_ipv6_and_two_networks(tmp_path: Path) -> None:
    """Echoes, TCP and UDP bulk over both networks of two containers, by both families."""
    members = dict.fromkeys(("tomcat01", "tomcat02"), ("bridge", "back"))
    with Lab(2, networks={"back": "172.20.0.0/16"}, members=members) as lab:
        bench = Bench(lab, tmp_path)
        for number, name in enumerate(members, 2):
            for key in ("all.disable_ipv6", "all.accept_dad", "eth0.disable_ipv6"):
                bench.inside(name, f"sysctl -qw net.ipv6.conf.{key}=0")
            bench.inside(name, f"ip addr add fd00:17::{number}/64 dev eth0 nodad")

        def load() -> None:
            for target in ("172.17.0.3", "172.20.0.3", "fd00:17::3"):
                bench.inside("tomcat01", f"ping -c5 -i.01 -W2 {target}")
                family = socket.AF_INET6 if ":" in target else socket.AF_INET
                stream(bench, family, target, 300)
            with listen(bench, "tomcat02", socket.SOCK_STREAM, 5001) as tcp:
                tcp.listen(16)
                taker = threading.Thread(target=serve_bulk, args=(tcp, ROUNDS))
                taker.start()
                send_bulk(bench, ROUNDS, 1 << 17)
                taker.join(timeout=60)

        report = bench.capture(["all"], load, snaplen=200)
    assert report.losses == []
    assert [f for f in report.findings if f.severity != "info"] == []
    assert [row.answered for row in report.icmp] == [5, 5, 5]
    assert {row.packets for row in report.udp} == {300}


def test_late_answers_are_no_alarm(bench: Bench) -> None:
    """The asker gave up: that the answer finds no socket is no fault of the network."""

    def answer_late() -> None:
        with (
            listen(bench, "tomcat02", socket.SOCK_DGRAM, 53) as server,
            listen(bench, "tomcat01", socket.SOCK_DGRAM, 40053) as asker,
        ):
            asker.sendto(b"are you there?", ("172.17.0.3", 53))
            _, whom = server.recvfrom(512)
            asker.close()
            server.sendto(b"I am", whom)

    report = bench.capture(["tomcat01", "tomcat02"], answer_late)
    assert [row for row in report.losses if row.protocol == "udp"] == []
    assert report.capture.drops is not None
    assert report.capture.drops["tied"] >= 1


def test_a_server_that_ended_is_no_late_answer(bench: Bench) -> None:
    """It had answered from that port: what comes for it now finds nobody all the same."""

    def ask_the_dead() -> None:
        with listen(bench, "tomcat01", socket.SOCK_DGRAM, 40053) as asker:
            with listen(bench, "tomcat02", socket.SOCK_DGRAM, 53) as server:
                asker.sendto(b"are you there?", ("172.17.0.3", 53))
                _, whom = server.recvfrom(512)
                server.sendto(b"I am", whom)
                assert asker.recv(512) == b"I am"
            asker.sendto(b"and now?", ("172.17.0.3", 53))

    report = bench.capture(["tomcat01", "tomcat02"], ask_the_dead)
    (row,) = [row for row in report.losses if row.protocol == "udp"]
    assert (row.packets, row.reason, row.last_seen) == (1, "NO_SOCKET", "tomcat02:eth0")
