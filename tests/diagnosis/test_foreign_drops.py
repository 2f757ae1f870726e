"""Drops that are somebody else's, on the CPUs that carry healthy traffic: nothing of it is lost.

Ground truth: the receiver counts, and has them all.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from faulty import Bench
from talk import open_socket

pytestmark = pytest.mark.root
COUNT = 1000
PORT = 7000


@contextmanager
def meanwhile(act: Callable[[], object]) -> Iterator[None]:
    """Something that is done again and again in a thread of its own."""
    ends = threading.Event()

    def run() -> None:
        while not ends.is_set():
            act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


@contextmanager
def closed_port_on_lo(bench: Bench) -> Iterator[None]:
    """A process of the host that sends to a port of lo where nobody listens."""
    with open_socket(bench.lab, "host", socket.SOCK_DGRAM) as sender:

        def send() -> None:
            try:
                for _ in range(50):
                    sender.sendto(b"x", ("127.0.0.1", 9))
            except ConnectionRefusedError:
                pass  # so the kernel tells of the one before

        with meanwhile(send):
            yield


@contextmanager
def failing_arp(bench: Bench) -> Iterator[None]:
    """Another container asks for addresses that nobody has: what waits for them is dropped."""
    with open_socket(bench.lab, "tomcat03", socket.SOCK_DGRAM) as sender:
        numbers = iter(range(1 << 30))

        def send() -> None:
            sender.sendto(b"x", (f"172.17.{100 + next(numbers) % 100}.9", 9))
            ends.wait(0.002)

        ends = threading.Event()
        with meanwhile(send):
            yield


@pytest.mark.parametrize("foreign", [closed_port_on_lo, failing_arp])
def test_healthy_traffic_beside_others_drops_is_never_lost(
    bench: Bench, foreign: Callable[[Bench], Iterator[None]]
) -> None:
    received = 0

    def talk() -> None:
        nonlocal received
        with (
            open_socket(bench.lab, "tomcat02", socket.SOCK_DGRAM, ("0.0.0.0", PORT)) as server,
            open_socket(bench.lab, "tomcat01", socket.SOCK_DGRAM) as client,
            foreign(bench),  # type: ignore[attr-defined]
        ):
            server.settimeout(5)
            for number in range(COUNT):
                client.sendto(number.to_bytes(18, "big"), ("172.17.0.3", PORT))
                server.recv(64)
                received += 1

    report = bench.capture(["tomcat01", "tomcat02"], talk)
    assert received == COUNT
    (row,) = [row for row in report.udp if row.server_port == PORT]
    assert (row.packets, row.lost) == (COUNT, 0)
    assert [loss for loss in report.losses if loss.source == "tomcat01"] == []
    assert [f for f in report.findings if f.severity != "info" and "tomcat01" in f.text] == []
    drops = report.capture.drops
    assert drops is not None
    foreign_reasons = {"NO_SOCKET", "NEIGH_FAILED", "NEIGH_QUEUEFULL"}
    assert not foreign_reasons & drops["captured"].keys()
    if foreign is closed_port_on_lo:
        assert drops["anywhere"]["NO_SOCKET"] == drops["others"]["NO_SOCKET"] > 0
