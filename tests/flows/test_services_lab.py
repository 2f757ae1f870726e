"""Servers that take a known time, behind a slow network: both ends' own clocks are the truth."""

from __future__ import annotations

import io
import socket
import threading
import time
from pathlib import Path

import pytest
from faulty import Bench
from rich.console import Console

from analyzer.engines.lab import Lab
from analyzer.net.netns import run_inside
from analyzer.report.text.report import render_text

pytestmark = pytest.mark.root

MS = 1_000_000
THINKS = {8001: 20 * MS, 8002: 90 * MS}
"""port → how long its server takes at least"""
ROUNDS, QUESTION = 3, bytes(1400)
RATE, WIRE_NS = "60kbit", 50 * MS
"""of the queue before the server: a question takes 195 ms there, less what the server thinks"""


def listen(lab: Lab, port: int) -> socket.socket:
    return run_inside(
        lab.netns_path("tomcat02"), lambda: socket.create_server(("", port), backlog=4)
    )


def serve(listening: socket.socket, took: list[int], thinks_ns: int) -> None:
    """Answer one connection's questions, and write down the server's own time for each."""
    peer, _ = listening.accept()
    with peer:
        for _ in range(ROUNDS):
            assert peer.recv(2000)
            begun = time.monotonic_ns()
            time.sleep(thinks_ns / 1e9)
            took.append(time.monotonic_ns() - begun)
            peer.sendall(b"answer")


def ask(lab: Lab, port: int) -> list[int]:
    """What each of the questions took as the client sees it."""
    waited = []
    with run_inside(
        lab.netns_path("tomcat01"), lambda: socket.create_connection(("172.17.0.3", port), 10)
    ) as client:
        for _ in range(ROUNDS):
            begun = time.monotonic_ns()
            client.sendall(QUESTION)
            assert client.recv(100) == b"answer"
            waited.append(time.monotonic_ns() - begun)
    return waited


def talk(lab: Lab, port: int) -> tuple[list[int], list[int]]:
    """(server's, client's) times."""
    took: list[int] = []
    with listen(lab, port) as listening:
        server = threading.Thread(target=serve, args=(listening, took, THINKS[port]))
        server.start()
        waited = ask(lab, port)
        server.join(10)
    return took, waited


def test_the_servers_times_and_the_network_s(tmp_path: Path) -> None:
    truth: dict[int, tuple[list[int], list[int]]] = {}
    with Lab(containers=2) as lab:
        bench = Bench(lab, tmp_path)
        device = bench.veth("tomcat02")
        bench.host(f"tc qdisc add dev {device} root tbf rate {RATE} burst 1600 latency 1s")
        report = bench.capture(
            ["tomcat01", "tomcat02"],
            lambda: truth.update({port: talk(lab, port) for port in THINKS}),
        )
    rows = {row.port: row for row in report.services}
    assert set(rows) == set(THINKS)
    for port, (took, waited) in truth.items():
        row = rows[port]
        assert (row.server, row.connections, row.refused) == ("tomcat02", 1, 0)
        assert (row.requests, row.timed) == (ROUNDS, ROUNDS)
        assert (row.measured_at, row.measured_inside) == ("tomcat02:eth0", True)
        assert max(took) <= row.response_max_ns <= max(waited)
        assert sorted(took)[1] * 0.99 <= row.response_p50_ns
        assert row.response_p50_ns + row.network_p50_ns <= max(waited) * 1.01
        assert row.network_p50_ns >= WIRE_NS
    text = io.StringIO()
    render_text(report, Console(file=text, width=80))
    shown = text.getvalue().partition("\nTCP")[0]
    (line,) = [one for one in shown.splitlines() if "tomcat02:8002" in one]
    assert "network " in line
    assert ", application 9" in line
