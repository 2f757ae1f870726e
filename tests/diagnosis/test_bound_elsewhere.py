"""A server that listens at another address than the one that was asked for."""

from __future__ import annotations

import re
import sys

import pytest
from faulty import Bench, the_loss

from analyzer.diagnosis.bound_elsewhere import bound_elsewhere
from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.kernel_state import SocketState

LOOPBACK = SocketState("tcp", "127.0.0.1", 80)
SERVER = (
    "import socket, time; t = socket.socket(); t.bind(('127.0.0.1', 80)); t.listen(); "
    "u = socket.socket(type=socket.SOCK_DGRAM); u.bind(('127.0.0.1', 53)); print('ready', "
    "flush=True); time.sleep(60)"
)
CLIENT = """
import contextlib, socket
with contextlib.suppress(OSError):
    socket.create_connection(("172.17.0.3", 80), 1)
plug = socket.socket(type=socket.SOCK_DGRAM)
plug.connect(("172.17.0.3", 53))
plug.settimeout(0.5)
with contextlib.suppress(OSError):
    plug.send(b"question")
    plug.recv(10)
"""


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ([LOOPBACK], [LOOPBACK], "127.0.0.1:80"),
        ([], [LOOPBACK], ""),
        ([], [], ""),
        ([LOOPBACK], [LOOPBACK, SocketState("tcp", "0.0.0.0", 80)], ""),
        ([LOOPBACK], [SocketState("tcp", "172.17.0.3", 80)], ""),
        ([SocketState("udp", "127.0.0.1", 80)] * 2, [LOOPBACK], ""),
    ],
)
def test_only_where_both_ends_tell_so(
    start: list[SocketState], end: list[SocketState], said: str
) -> None:
    moments = [
        NamespaceEvidence(7, 1, at == 0, at, sockets=sockets)
        for at, sockets in enumerate((start, end))
    ]
    assert bound_elsewhere(moments, 7, "tcp", 80, "172.17.0.3") == said
    assert bound_elsewhere(moments[:1], 7, "tcp", 80, "172.17.0.3") == ""
    assert bound_elsewhere(moments, 8, "tcp", 80, "172.17.0.3") == ""


@pytest.mark.root
def test_a_server_on_loopback_is_named(bench: Bench) -> None:
    with bench.serving("tomcat02", SERVER):
        report = bench.capture(
            ["tomcat01", "tomcat02"],
            lambda: bench.lab.run("tomcat01", [sys.executable, "-c", CLIENT]),
        )
    told = {one.code: one.text for one in report.findings}
    assert "it listens on 127.0.0.1:80 only: ss -ltnp" in told["tcp-refused"]
    assert re.search(r": it listens on 127\.0\.0\.1:53 only: ", told["icmp-error"])
    assert the_loss(report, "udp").advice.startswith("it listens on 127.0.0.1:53 only: ")
