"""TCP bulk through a queue that cuts large frames: its own counter is the truth."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest
from faulty import Bench
from talk import open_socket

from analyzer.engines.lab import Lab

pytestmark = pytest.mark.root

SIZE = 700_000


def send_bulk(lab: Lab) -> None:
    """From tomcat01 to tomcat02, complete in the end."""
    with (
        open_socket(lab, "tomcat02", socket.SOCK_STREAM, ("0.0.0.0", 5001)) as listening,
        open_socket(lab, "tomcat01", socket.SOCK_STREAM) as client,
    ):
        listening.listen(1)
        client.connect(("172.17.0.3", 5001))
        peer, _ = listening.accept()
        sender = threading.Thread(target=lambda: client.sendall(bytes(SIZE)))
        with peer:
            sender.start()
            came = 0
            while came < SIZE:
                came += len(peer.recv(1 << 16))
            sender.join()


def test_the_losses_agree_with_the_queue_s_own_counter(tmp_path: Path) -> None:
    with Lab(containers=2) as lab:
        bench = Bench(lab, tmp_path)
        device = bench.veth("tomcat02")
        bench.host(f"tc qdisc add dev {device} root tbf rate 2mbit burst 3000 latency 200ms")
        report = bench.capture(
            ["tomcat01", "tomcat02"], lambda: send_bulk(lab), filter_text="tcp", snaplen=128
        )
        (queue,) = json.loads(bench.host(f"tc -s -j qdisc show dev {device}"))
    # IGMP and MLD reports wait in the same queue, and are not captured; other queues drop, too
    assert report.capture.drops
    others = report.capture.drops["anywhere"].get("QDISC_DROP", 0)
    dropped = queue["drops"]
    assert dropped >= 20
    (row,) = report.losses
    assert row.packets <= dropped + max(2, dropped / 100)
    assert dropped <= row.packets + others + max(2, dropped / 100)
    assert (row.expected, row.reason) == (device, "QDISC_DROP")
    assert f"tbf of 2 Mbit/s of {device} dropped {dropped} packets by its own counter" in row.advice
    (tcp,) = report.tcp
    assert tcp.lost == tcp.client_lost == row.packets
    told = {finding.code: finding.text for finding in report.findings}
    assert "the queueing discipline tbf of 2 Mbit/s there held packets back" in (told["slow-hop"])
    assert not any("larger than the MTU" in text for text in (row.reason, *told.values()))
