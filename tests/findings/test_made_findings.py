"""What stands out in traffic that works, made for real in the lab."""

from __future__ import annotations

import socket
import struct
import subprocess
from pathlib import Path

import pytest
from faulty import Bench

from analyzer.engines.lab import Lab
from analyzer.model.report import Report
from analyzer.net.netns import run_inside

pytestmark = pytest.mark.root


def texts(report: Report, code: str) -> list[str]:
    return [finding.text for finding in report.findings if finding.code == code]


def test_masquerade_shows_both_addresses(bench: Bench) -> None:
    report = bench.capture(
        ["tomcat01"],
        lambda: bench.inside("tomcat01", "ping -c3 -i.01 -W2 198.51.100.2"),
        uplink=True,
    )
    assert texts(report, "nat") == [
        "icmp tomcat01 → 198.51.100.2: source 172.17.0.2 becomes 198.51.100.1 between docker0 and "
        "uplink0 (3 packets)"
    ]


def test_a_published_port_shows_both_addresses(bench: Bench) -> None:
    bench.host(
        "iptables -t nat -A PREROUTING -i uplink0 -p tcp --dport 8080 -j DNAT --to 172.17.0.2:80"
    )

    def listen() -> socket.socket:
        return socket.create_server(("172.17.0.2", 80))

    def connect() -> None:
        with socket.create_connection(("198.51.100.1", 8080), timeout=10) as sock:
            assert sock.recv(5) == b"hello"

    def talk() -> None:
        with run_inside(bench.lab.netns_path("tomcat01"), listen) as listener:
            sock = run_inside(bench.lab.netns_path("outside"), lambda: socket.socket())
            with sock:
                sock.settimeout(10)
                sock.connect(("198.51.100.1", 8080))
                peer, _ = listener.accept()
                peer.sendall(b"hello")
                assert sock.recv(5) == b"hello"
                peer.close()

    report = bench.capture(["tomcat01"], talk, uplink=True)
    (text,) = texts(report, "nat")
    assert text.startswith(
        "tcp 198.51.100.2 → tomcat01: destination 198.51.100.1:8080 becomes 172.17.0.2:80 between "
        "uplink0 and docker0 ("
    )


def test_who_said_no(bench: Bench) -> None:
    def ask() -> None:
        bench.inside("tomcat01", "ping -c2 -i.01 -W.2 -t1 198.51.100.2", check=False)
        with run_inside(
            bench.lab.netns_path("tomcat01"), lambda: socket.socket(type=socket.SOCK_DGRAM)
        ) as sender:
            sender.sendto(b"?", ("172.17.0.3", 4711))

        def connect() -> None:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("172.17.0.3", 4712), timeout=5)

        run_inside(bench.lab.netns_path("tomcat01"), connect)

    report = bench.capture(["tomcat01", "tomcat02"], ask)
    told = texts(report, "icmp-error")
    assert any(t.startswith("host says TTL exceeded to tomcat01, 2×, about icmp") for t in told)
    assert any(
        t.startswith("tomcat02 says port unreachable to tomcat01, 1×, about udp to 172.17.0.3 port")
        for t in told
    )
    (refused,) = texts(report, "tcp-refused")
    assert refused.startswith("tomcat01 → tomcat02 TCP port 4712: refused")


def test_the_port_tells_who_sent_with_a_mac_of_another(bench: Bench) -> None:
    ends = [bytes.fromhex(bench.mac(f"tomcat0{n}").replace(":", "")) for n in (1, 2)]
    addresses = [socket.inet_aton(f"172.17.0.{n}") for n in (2, 3)]
    datagram = struct.pack("!HHHH", 9, 9, 9, 0) + b"?"
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 7, 0, 64, 17, 0)
    packet = ends[1] + ends[0] + b"\x08\x00" + head + b"".join(addresses) + datagram

    def forge() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind(("eth0", 0))
            for _ in range(3):
                sock.send(packet)

    targets = ["tomcat01", "tomcat02", "tomcat03"]
    report = bench.capture(targets, lambda: run_inside(bench.lab.netns_path("tomcat03"), forge))
    (text,) = texts(report, "foreign-source")
    assert text.startswith(f"3 packets with tomcat01's MAC {bench.mac('tomcat01')} entered at veth")
    assert "the port of tomcat03: it sent them, and its bridge sends what is for tomcat01" in text
    assert [(row.client, row.packets) for row in report.udp] == [("tomcat03", 3)]
    assert not any(v.source == "tomcat01" and v.result == "proved" for v in report.verdicts)


def test_unicast_that_is_flooded(bench: Bench) -> None:
    mac = "02:42:ac:11:00:99"
    bench.inside("tomcat01", f"ip neigh replace 172.17.0.99 lladdr {mac} dev eth0 nud permanent")
    report = bench.capture(
        ["all"], lambda: bench.inside("tomcat01", "ping -c2 -i.01 -W.1 172.17.0.99", check=False)
    )
    (text,) = texts(report, "flooded")
    assert text.startswith(f"docker0 flooded 2 unicast packets of tomcat01 for {mac}")
    assert "bridge fdb show br docker0" in text


def test_a_mac_twice(tmp_path: Path) -> None:
    with Lab(containers=2, macs={"tomcat02": "02:42:ac:11:00:02"}) as lab:
        bench = Bench(lab, tmp_path)
        assert bench.mac("tomcat01") == bench.mac("tomcat02")
        report = bench.capture(
            ["all"],
            lambda: bench.inside("tomcat01", "ping -c2 -i.01 -W.1 172.17.0.1", check=False),
        )
    (text,) = texts(report, "duplicate-mac")
    assert text.startswith("02:42:ac:11:00:02 is the MAC of tomcat01:eth0, tomcat02:eth0")


def test_the_hop_that_made_an_echo_slow(bench: Bench) -> None:
    """A queue that holds one frame back: the others of its kind go at once."""
    b = bench.veth("tomcat02")
    held: list[subprocess.CompletedProcess[str]] = []

    def hold(outcome: object) -> None:
        if not held:
            held.append(
                bench.lab.run(
                    "host",
                    [
                        "tc",
                        "qdisc",
                        "add",
                        "dev",
                        b,
                        "root",
                        "tbf",
                        "rate",
                        "8kbit",
                        "burst",
                        "1600",
                        "limit",
                        "100000",
                    ],
                )
            )

    result = bench.ping(count=40, size=56, interval_s=0.01, wait_s=3.0, on_echo=hold)
    (text,) = texts(result.report, "slow-echo")
    assert text.startswith("tomcat01 → tomcat02: the echo with seq ")
    assert f"→ {b}" in text


def test_the_hop_that_made_a_handshake_slow(bench: Bench) -> None:
    """Thirty at once, then one that waits behind a large echo in a queue of the bridge."""
    b = bench.veth("tomcat02")

    def connect() -> None:
        with socket.create_connection(("172.17.0.3", 80), timeout=10):
            pass

    def act() -> None:
        with run_inside(
            bench.lab.netns_path("tomcat02"), lambda: socket.create_server(("", 80), backlog=99)
        ):
            for _ in range(30):
                run_inside(bench.lab.netns_path("tomcat01"), connect)
            bench.host(f"tc qdisc add dev {b} root tbf rate 80kbit burst 1600 limit 100000")
            # the burst is spent by the first, the second waits, and so does what is behind it
            bench.inside("tomcat01", "ping -c2 -i.002 -W.01 -s1400 172.17.0.3", check=False)
            run_inside(bench.lab.netns_path("tomcat01"), connect)

    report = bench.capture(["tomcat01", "tomcat02"], act)
    (text,) = texts(report, "slow-handshake")
    assert text.startswith(
        "tomcat01 → tomcat02 TCP port 80: the 99th percentile of 31 handshakes took "
    )
    assert f"between {bench.veth('tomcat01')} → {b}; the queueing discipline tbf of " in text
