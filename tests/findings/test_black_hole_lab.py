"""A black hole made for real: a narrow uplink, and a rule that drops the ICMP errors about it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty import Bench
from talk import open_socket

from analyzer.engines.lab import Lab

pytestmark = pytest.mark.root


def sent_again(lab: Lab) -> int:
    """Segments that tomcat01's kernel says it retransmitted (RFC 4022, tcpRetransSegs)."""
    lines = lab.run("tomcat01", ["cat", "/proc/net/snmp"]).stdout.splitlines()
    names, values = (line.split()[1:] for line in lines if line.startswith("Tcp:"))
    return int(dict(zip(names, values, strict=True))["RetransSegs"])


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def ask_for_much(lab: Lab) -> None:
    """A small question passes; a large one is sent again and again."""
    with (
        open_socket(lab, "outside", socket.SOCK_STREAM, ("0.0.0.0", 5001)) as listening,
        open_socket(lab, "tomcat01", socket.SOCK_STREAM) as client,
    ):
        listening.listen(1)
        client.connect(("198.51.100.2", 5001))
        peer, _ = listening.accept()
        with peer:
            client.sendall(bytes(300))
            assert peer.recv(1000)
            peer.sendall(b"more")
            assert client.recv(100) == b"more"
            before = sent_again(lab)
            client.sendall(bytes(1400))
            wait_for(lambda: sent_again(lab) >= before + 4)


def test_the_device_its_mtu_and_the_rule_are_named(tmp_path: Path) -> None:
    with Lab(containers=1) as lab:
        bench = Bench(lab, tmp_path)
        bench.host("ip link set uplink0 mtu 1200; iptables -A OUTPUT -p icmp -j DROP")
        report = bench.capture(["tomcat01"], lambda: ask_for_much(lab), uplink=True)
    (text,) = [one.text for one in report.findings if one.code == "tcp-black-hole"]
    assert "1,400 bytes were sent again" in text
    assert "while up to 300 bytes were" in text
    assert "last seen at docker0 (MTU 1500), and uplink0 behind it has an MTU of 1200" in text
    assert "errors that tell the sender so were dropped: iptables OUTPUT rule 1 (-p icmp" in text
