"""DNS through the Engine's own resolver: what of it is on a veth, and whose failure it is."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import capturing, run

from analyzer.net.netns import run_inside

Make = Callable[..., Any]
pytestmark = [pytest.mark.root, pytest.mark.docker]
SERVFAIL = 0x8182
"""response, recursion desired and available, rcode 2"""


@pytest.fixture
def network(docker_engine: Any) -> Iterator[Any]:
    made = docker_engine.networks.create(f"vs{os.getpid()}-dns", driver="bridge")
    yield made
    for one in docker_engine.containers.list(all=True, filters={"network": made.name}):
        one.remove(force=True)
    made.remove()


def fail(server: socket.socket) -> None:
    """Answer every question with SERVFAIL, until the socket is told to end."""
    while True:
        question, asker = server.recvfrom(512)
        if not question:
            return
        server.sendto(question[:2] + SERVFAIL.to_bytes(2) + question[4:], asker)


def test_the_configured_server_fails(network: Any, container: Make, tmp_path: Path) -> None:
    resolver = container("resolver", network=network.name)
    address = resolver.attrs["NetworkSettings"]["Networks"][network.name]["IPAddress"]
    asker = container("asker", network=network.name, dns=[address])
    assert b"127.0.0.11" in asker.exec_run(["cat", "/etc/resolv.conf"]).output

    def listen() -> socket.socket:
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind((address, 53))
        return sock

    file = tmp_path / "dns.pcapng"
    with run_inside(f"/proc/{resolver.attrs['State']['Pid']}/ns/net", listen) as server:
        answering = threading.Thread(target=fail, args=(server,))
        answering.start()
        with capturing("--network", network.name, "-w", str(file), "--json") as capture:
            asker.exec_run(["nslookup", "nosuch.example", "127.0.0.11"])
            # the name of a container is answered by dockerd: nothing of it is on a veth
            known = asker.exec_run(["nslookup", resolver.name, "127.0.0.11"])
            assert address.encode() in known.output
            capture.end()
        server.sendto(b"", (address, 53))
        answering.join(timeout=10)
        assert not answering.is_alive()
    report = json.loads(run("report", str(file), "--json"))
    assert {row["name"] for row in report["dns"]} == {"nosuch.example"}
    assert {(row["client"], row["server"]) for row in report["dns"]} == {
        (asker.name, resolver.name)
    }
    texts = [f["text"] for f in report["findings"] if f["code"] == "dns-failure"]
    assert texts[0].startswith(f"{resolver.name} answers SERVFAIL to {asker.name} for nosuch.ex")
    assert f"; in network {network.name} the Engine's resolver 127.0.0.11 asks in its" in texts[0]
