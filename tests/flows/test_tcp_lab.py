"""Real TCP in the lab with a rule that drops some of it, against netfilter's count and tshark's."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import analyzer
from analyzer.app.export import export_pcap
from analyzer.capture.options import CaptureOptions
from analyzer.engines.lab import Lab
from analyzer.tap.options import TapOptions
from analyzer.tap.tap import Tap
from analyzer.topology.discover import discover
from analyzer.topology.vantages import select_vantages

pytestmark = pytest.mark.root

SERVER = """
import socket
with socket.create_server(("", 5001)) as server:
    print("listening", flush=True)
    peer, _ = server.accept()
    count = 0
    while piece := peer.recv(65536):
        count += len(piece)
    peer.sendall(str(count).encode())
    peer.close()
"""
CLIENT = """
import socket, sys
with socket.create_connection(("172.17.0.3", 5001), 10) as peer:
    peer.sendall(bytes(int(sys.argv[1])))
    peer.shutdown(socket.SHUT_WR)
    print(peer.recv(100).decode())
"""
SIZE = 600_000


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(containers=2) as lab:
        yield lab


def captured(lab: Lab, path: Path, act: Callable[[], Any]) -> analyzer.Analysis:
    topology = discover(lab)
    vantages = select_vantages(topology, targets=["tomcat01", "tomcat02"])
    tap = Tap(topology, vantages, str(path), TapOptions(CaptureOptions(filter="ip")))
    running = threading.Thread(target=tap.run)
    with tap:
        running.start()
        act()
        tap.stop()
        running.join()
    return analyzer.read(path)


def send(lab: Lab) -> None:
    """A transfer from tomcat01 to tomcat02 that is complete in the end."""
    server = lab.start("tomcat02", [sys.executable, "-c", SERVER], stdout=subprocess.PIPE)
    assert server.stdout is not None
    with server.stdout as said:
        assert said.readline() == b"listening\n"
        done = lab.run("tomcat01", [sys.executable, "-c", CLIENT, str(SIZE)])
        assert int(done.stdout) == SIZE
        server.wait(10)


def drop_every(lab: Lab, count: int) -> None:
    """Of the large segments from tomcat01; none is larger than the MTU."""
    lab.run("tomcat01", ["ip", "link", "set", "eth0", "gso_max_segs", "1"])
    lab.run("host", ["sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1"])
    lab.run(
        "host",
        [
            "iptables",
            "-I",
            "FORWARD",
            "-p",
            "tcp",
            "--dport",
            "5001",
            "-m",
            "length",
            "--length",
            "1000:",
            "-m",
            "statistic",
            "--mode",
            "nth",
            "--every",
            str(count),
            "--packet",
            str(count - 1),
            "-j",
            "DROP",
        ],
    )


def dropped(lab: Lab) -> int:
    rules = lab.run("host", ["iptables", "-nvxL", "FORWARD"]).stdout
    (line,) = [line for line in rules.splitlines() if "DROP" in line and "dpt:5001" in line]
    return int(line.split()[0])


def sent_again(lab: Lab) -> int:
    """Segments that tomcat01's kernel says it retransmitted (RFC 4022, tcpRetransSegs)."""
    lines = lab.run("tomcat01", ["cat", "/proc/net/snmp"]).stdout.splitlines()
    names, values = (line.split()[1:] for line in lines if line.startswith("Tcp:"))
    return int(dict(zip(names, values, strict=True))["RetransSegs"])


def tshark_counts(path: Path, *filters: str) -> list[int]:
    """How many frames match each display filter."""
    found = []
    for text in filters:
        command = ["tshark", "-nr", str(path), "-Y", text, "-T", "fields", "-e", "frame.number"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(len(done.stdout.split()))
    return found


def test_every_dropped_segment_is_lost_once_and_sent_again(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "loss.pcapng"
    drop_every(lab, 23)
    found = captured(lab, path, lambda: send(lab))
    lost = dropped(lab)
    (row,) = found.tcp.to_dicts()
    assert lost >= 10
    assert (row["client_lost"], row["server_lost"], row["lost"]) == (lost, 0, lost)
    assert row["retransmissions"] == sent_again(lab) >= lost
    assert (row["client"], row["server"], row["connections"]) == ("tomcat01", "tomcat02", 1)
    assert row["state"] == "closed"
    assert row["client_bytes"] >= SIZE
    assert row["gaps"] == 0
    (loss,) = found.losses.to_dicts()
    assert (loss["packets"], loss["protocol"]) == (lost, "tcp")


def test_the_client_s_vantage_alone_tells_tshark_the_same(lab: Lab, tmp_path: Path) -> None:
    """A segment that does not advance was sent again: tshark calls some of them disorder.

    It goes by the order in the file, in which frames of two processors may be a microsecond off.
    """
    path = tmp_path / "loss.pcapng"
    drop_every(lab, 17)
    found = captured(lab, path, lambda: send(lab))
    export_pcap(str(path), str(tmp_path))
    alone, taken = tmp_path / "in_order.pcap", tmp_path / "tomcat01-eth0.pcap"
    subprocess.run(["reordercap", taken, alone], check=True, capture_output=True)
    flags = ("retransmission", "out_of_order", "duplicate_ack", "zero_window", "keep_alive")
    theirs = dict(
        zip(flags, tshark_counts(alone, *(f"tcp.analysis.{f}" for f in flags)), strict=True)
    )
    (row,) = found.tcp.to_dicts()
    (single,) = analyzer.read(alone).tcp.to_dicts()
    assert theirs["retransmission"] + theirs["out_of_order"] > 0
    assert single["retransmissions"] == theirs["retransmission"]
    assert single["out_of_order"] == theirs["out_of_order"]
    assert single["duplicate_acks"] == theirs["duplicate_ack"]
    assert row["retransmissions"] == theirs["retransmission"] + theirs["out_of_order"]
    assert (single["packets"], single["bytes"]) == (row["packets"], row["bytes"])
    assert row["handshake_rtt_ns"] == single["handshake_rtt_ns"]


def test_without_a_rule_nothing_is_lost(lab: Lab, tmp_path: Path) -> None:
    """Nor sent again, but for what the kernel itself says: segments pass each other on two CPUs."""
    lab.run("tomcat01", ["ip", "link", "set", "eth0", "gso_max_segs", "1"])
    found = captured(lab, tmp_path / "clean.pcapng", lambda: send(lab))
    (row,) = found.tcp.to_dicts()
    assert (row["lost"], row["gaps"]) == (0, 0)
    assert row["retransmissions"] == sent_again(lab)
    assert row["client_bytes"] >= SIZE
    assert row["client_max_ns"] >= row["client_mean_ns"] >= row["client_min_ns"] > 0
    assert row["initial_rtt_ns"] >= row["handshake_rtt_ns"] > 0


REFUSED = """
import socket
try: socket.create_connection(("172.17.0.3", 5002), 5)
except ConnectionRefusedError: print("refused")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
    udp.connect(("172.17.0.3", 5003))
    udp.send(b"anybody there?")
    try: udp.recv(1)
    except ConnectionRefusedError: print("unreachable")
"""


def test_closed_ports(lab: Lab, tmp_path: Path) -> None:
    """A refused connection, and a port unreachable with the datagram that it is about."""

    def knock() -> None:
        done = lab.run("tomcat01", [sys.executable, "-c", REFUSED])
        assert done.stdout.split() == ["refused", "unreachable"]

    found = captured(lab, tmp_path / "closed.pcapng", knock)
    (tcp,) = found.tcp.to_dicts()
    assert (tcp["state"], tcp["server_port"], tcp["resets"]) == ("refused", 5002, 1)
    (error,) = found.icmp_errors.to_dicts()
    told = [error[n] for n in ("reporter", "source", "error", "destination_port", "errors", "tied")]
    assert told == ["tomcat02", "tomcat01", "port unreachable", 5003, 1, 1]
    cause = found.packets.filter(found.packets["packet"] == error["cause"]).to_dicts()[0]
    assert (cause["protocol"], cause["dst_port"], cause["source"]) == ("udp", 5003, "tomcat01")
    assert error["destination_ip"] == "172.17.0.3"
