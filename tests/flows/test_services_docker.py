"""A server that may use a tenth of a CPU, on a real Docker Engine: slow behind a quick network."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from docker_containers import address, namespace
from rich.console import Console

from analyzer.analysis.analyse import report_files
from analyzer.capture.options import CaptureOptions
from analyzer.engines.docker import DockerEngine
from analyzer.net.netns import run_inside
from analyzer.report.text.report import render_text
from analyzer.tap.options import TapOptions
from analyzer.tap.tap import Tap
from analyzer.topology.discover import discover
from analyzer.topology.vantages import select_vantages

pytestmark = [pytest.mark.root, pytest.mark.docker]

ROUNDS = 5
SERVE = r"""
mkdir -p /tmp/www/cgi-bin
printf '#!/bin/sh\ni=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo; echo done\n' \
  > /tmp/www/cgi-bin/work
chmod +x /tmp/www/cgi-bin/work
exec httpd -f -p 80 -h /tmp/www
"""
ASK = b"GET /cgi-bin/work HTTP/1.0\r\n\r\n"


def ask(client: Any, server: Any) -> list[int]:
    """What each of the requests took, as the client sees it, without its connection's opening."""
    waited = []
    for _ in range(ROUNDS):
        with run_inside(
            namespace(client), lambda: socket.create_connection((address(server), 80), 20)
        ) as talk:
            begun = time.monotonic_ns()
            talk.sendall(ASK)
            assert talk.recv(100).startswith(b"HTTP/1")
            waited.append(time.monotonic_ns() - begun)
    return waited


def until_it_serves(client: Any, server: Any) -> None:
    where, deadline = (address(server), 80), time.monotonic() + 30
    while True:
        try:
            run_inside(namespace(client), lambda: socket.create_connection(where, 1)).close()
            return
        except OSError:
            assert time.monotonic() < deadline


def throttled_ns(server: Any) -> int:
    """How long its processes were kept from running."""
    stats = server.stats(stream=False)
    return int(stats["cpu_stats"]["throttling_data"]["throttled_time"])


def test_a_server_with_a_tenth_of_a_cpu(container: Callable[..., Any], tmp_path: Path) -> None:
    client = container("client")
    server = container("slow", command=["/bin/sh", "-ec", SERVE], nano_cpus=100_000_000)
    until_it_serves(client, server)
    path, waited, before_ns = str(tmp_path / "cpus.pcapng"), [0], throttled_ns(server)
    with DockerEngine() as engine:
        topology = discover(engine)
        vantages = select_vantages(topology, targets=[client.name, server.name], uplink=False)
        tap = Tap(topology, vantages, path, TapOptions(CaptureOptions()))
        running = threading.Thread(target=tap.run)
        with tap:
            running.start()
            try:
                waited = ask(client, server)
            finally:
                tap.stop()
                running.join()
    assert throttled_ns(server) > before_ns
    report = report_files([path])[0]
    (row,) = [one for one in report.services if one.port == 80]
    assert (row.server, row.requests, row.timed) == (server.name, ROUNDS, ROUNDS)
    assert (row.measured_at, row.measured_inside) == (f"{server.name}:eth0", True)
    assert median(waited) * 0.9 < row.response_p50_ns  # the network takes no part in it
    assert row.response_p50_ns + row.network_p50_ns <= median(waited) * 1.01
    text = io.StringIO()
    render_text(report, Console(file=text, width=120))
    services = text.getvalue().partition("\nTCP")[0]
    (line,) = [one for one in services.splitlines() if f"{server.name}:80" in one]
    assert "network " in line
    assert ", application " in line
