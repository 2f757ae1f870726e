"""A container that calls its own published port by the host's address: NAT leads back to it."""

from __future__ import annotations

import socket
import threading

import pytest
from faulty import Bench

from analyzer.net.netns import run_inside

pytestmark = pytest.mark.root

PUBLISHED, CALLS = "172.17.0.1", 3


def publish(bench: Bench, bridge_netfilter: bool) -> None:
    """As Docker does without its proxy."""
    nat, port = "iptables -t nat -A", "-p tcp --dport 8080"
    bench.host(
        f"sysctl -qw net.bridge.bridge-nf-call-iptables={int(bridge_netfilter)};"
        f"{nat} PREROUTING -m addrtype --dst-type LOCAL {port} -j DNAT --to 172.17.0.2:8080;"
        f"{nat} POSTROUTING -s 172.17.0.2 -d 172.17.0.2 {port} -j MASQUERADE;"
        f"ip link set {bench.veth('tomcat01')} type bridge_slave hairpin on"
    )


def call_itself(bench: Bench) -> None:
    """A byte there and a byte back, a few times."""
    path = bench.lab.netns_path("tomcat01")
    with run_inside(path, lambda: socket.create_server(("", 8080))) as listener:

        def serve() -> None:
            for _ in range(CALLS):
                peer, _ = listener.accept()
                with peer:
                    peer.sendall(peer.recv(1))

        server = threading.Thread(target=serve)
        server.start()
        for _ in range(CALLS):
            caller = run_inside(path, lambda: socket.create_connection((PUBLISHED, 8080), 5))
            with caller:
                caller.sendall(b"x")
                assert caller.recv(1) == b"x"
                assert caller.recv(1) == b""
        server.join(timeout=5)


@pytest.mark.parametrize("promiscuous", [True, False])
@pytest.mark.parametrize("bridge_netfilter", [True, False])
def test_a_call_of_its_own_is_one_conversation(
    bench: Bench, bridge_netfilter: bool, promiscuous: bool
) -> None:
    """With bridge netfilter a promiscuous bridge makes a second copy of each packet: none of the
    container's, and dropped for good reason."""
    publish(bench, bridge_netfilter)
    report = bench.capture(["tomcat01"], lambda: call_itself(bench), promiscuous=promiscuous)
    assert report.losses == []
    said = {"doubled"} if bridge_netfilter and promiscuous else set()
    said |= set() if promiscuous else {"not-promiscuous"}
    assert {one.code for one in report.findings if one.severity != "info"} == said
    assert {(row.client, row.server, row.state) for row in report.tcp} == {
        ("tomcat01", "tomcat01", "closed")
    }
    assert [(row.retransmissions, row.lost) for row in report.tcp] == [(0, 0)] * CALLS
    (verdict,) = report.verdicts
    assert verdict.delivered == verdict.packets
