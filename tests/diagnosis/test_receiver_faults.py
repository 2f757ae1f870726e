"""What reached a container and was not taken, what never left one, and what went to nobody: all
faults at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from faulty import Bench

from analyzer.engines.lab import Lab
from analyzer.model.report import Report

pytestmark = pytest.mark.root

FILTERED = """
import ctypes, socket, struct, time
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.bind(("", 7000))
code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
udp.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxQ", 1, ctypes.addressof(code)))
tcp = socket.socket(); tcp.bind(("", 179)); tcp.listen()
peer = struct.pack("HH4s120x", 2, 0, socket.inet_aton("172.17.0.2"))
tcp.setsockopt(socket.IPPROTO_TCP, 14, peer + struct.pack("BBHI80s", 0, 0, 6, 0, b"secret"))
print("ready", flush=True); time.sleep(60)
"""
"""a UDP socket whose filter takes nothing (SO_ATTACH_FILTER), and a TCP one that wants signatures
(TCP_MD5SIG)"""
HANGING = """
import socket, time
tcp = socket.socket(); tcp.bind(("", 80)); tcp.listen()
print("ready", flush=True); time.sleep(60)
"""
READING = """
import socket, time
tcp = socket.socket(); tcp.bind(("", 514)); tcp.listen(); print("ready", flush=True)
while True:
    one, _ = tcp.accept()
    while one.recv(100): pass
    one.close()
"""
"""a protocol that does not answer (syslog)"""
ASKING = """
import socket
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(20): udp.sendto(bytes(30), ("172.17.0.3", 7000))
tcp = socket.socket(); tcp.settimeout(0.5)
try: tcp.connect(("172.17.0.3", 179))
except TimeoutError: print("timed out")
for port in (80, 514):
    tcp = socket.create_connection(("172.17.0.3", port)); tcp.send(bytes(18)); tcp.close()
"""
NOBODYS = "ip neigh replace 172.17.0.1 lladdr 02:42:aa:bb:cc:dd dev eth0 nud permanent"
BLOCKED = "ping -c2 -i.01 -W.2 198.51.100.9 2>/dev/null || true"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Report]:
    folder: Path = tmp_path_factory.mktemp("receivers")
    with Lab(5) as lab:
        bench = Bench(lab, folder)
        bench.inside("tomcat03", "ip link set eth0 arp off")
        bench.inside("tomcat04", "arptables-nft -A INPUT -s 172.17.0.2 -j DROP")
        bench.inside("tomcat01", "iptables -A OUTPUT -d 198.51.100.9 -j DROP")
        with ExitStack() as stack:
            for code in (FILTERED, HANGING, READING):
                stack.enter_context(bench.serving("tomcat02", code))
            yield bench.capture(["all"], lambda: fail(bench))


def fail(bench: Bench) -> None:
    assert bench.inside("tomcat01", f"python3 -c '{ASKING}'") == "timed out\n"
    for last in (4, 5):
        bench.inside("tomcat01", f"ping -c1 -W.2 172.17.0.{last} || true")
    bench.inside("tomcat01", BLOCKED)
    bench.inside("tomcat02", f"{NOBODYS}; ping -c2 -i.01 -W.2 198.51.100.2 || true")
    bench.inside("tomcat01", "ping -c1 -W1 172.17.0.6")
    bench.inside("tomcat05", "ip addr del 172.17.0.6/16 dev eth0")
    bench.inside("tomcat01", "sleep .1; ping -c3 -i.01 -W.2 172.17.0.6 || true; sleep .1")
    bench.inside("tomcat05", "ip addr add 172.17.0.6/16 dev eth0")
    bench.inside("tomcat01", "sleep .1; ping -c1 -W1 172.17.0.6")


def finding(report: Report, code: str, about: str) -> str:
    (text,) = [f.text for f in report.findings if f.code == code and about in f.text]
    return text


def test_a_socket_whose_filter_takes_nothing(report: Report) -> None:
    (loss,) = [row for row in report.losses if row.protocol == "udp"]
    assert (loss.packets, loss.reason) == (20, "SOCKET_FILTER")
    assert loss.advice.startswith("the filter of the process's own socket (SO_ATTACH_FILTER, BPF)")


def test_a_socket_that_wants_signatures(report: Report) -> None:
    (loss,) = [row for row in report.losses if row.protocol == "tcp"]
    assert loss.reason == "TCP_MD5NOTFOUND"
    assert "wants TCP-MD5 signatures (RFC 2385), and it has none" in loss.advice
    assert "queue" not in finding(report, "tcp-unanswered", "port 179")


def test_an_interface_that_speaks_no_arp(report: Report) -> None:
    told = finding(report, "arp-unanswered", "172.17.0.4")
    assert "it is tomcat03's, and they reached tomcat03:eth0: it speaks no ARP (NOARP): " in told
    assert told.endswith("ip link set eth0 arp on")


def test_a_rule_of_arptables(report: Report) -> None:
    told = finding(report, "arp-unanswered", "172.17.0.5")
    assert "they reached tomcat04:eth0: likely nft arp filter INPUT (hook input) (" in told
    assert "nft -a list chain arp filter INPUT" in told


def test_what_never_left_its_container(report: Report) -> None:
    told = finding(report, "dropped-before-sent", "tomcat01")
    assert told.startswith("2 packets that tomcat01 sent were dropped by its own packet filter ")
    assert "iptables OUTPUT rule 1 (-d 198.51.100.9/32 -j DROP) counted 2: " in told


def test_an_address_that_was_gone_for_a_time(report: Report) -> None:
    (loss,) = [row for row in report.losses if row.protocol == "icmp"]
    assert (loss.packets, loss.destination) == (3, "tomcat05")
    assert loss.advice.startswith("tomcat05 did not have 172.17.0.6 from 20")
    assert " until " in loss.advice
    assert "ip address show" in loss.advice


def test_a_process_that_hangs(report: Report) -> None:
    told = finding(report, "server-silent", "tomcat02")
    assert told.startswith("tomcat01 → tomcat02 TCP port 80: tomcat02's kernel took the connection")
    assert " and 18 B, and its process neither answered nor closed after tomcat01 had " in told


def test_a_gateway_with_a_mac_of_nobody(report: Report) -> None:
    told = finding(report, "echo-unanswered", "198.51.100.2")
    assert (
        "they were sent to 02:42:aa:bb:cc:dd, which nobody here has, and docker0 does not" in told
    )
    assert "ip neigh show" in told
    assert "no port of a bridge" not in told


def test_nothing_else_is_said(report: Report) -> None:
    told = {f.code for f in report.findings if f.severity != "info"}
    assert told == {"tcp-unanswered", "arp-unanswered", "echo-unanswered"}
    assert len(report.losses) == 3
