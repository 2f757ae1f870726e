"""A connection that idles for longer than the host remembers it: who cut it, and why."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest
from faulty import Bench

from analyzer.model.report import Report
from analyzer.net.netns import run_inside

pytestmark = pytest.mark.root
FORGETS = (
    "sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established=1 "
    "net.netfilter.nf_conntrack_tcp_loose=0"
)
SERVE = """
import socket
listener = socket.create_server(("0.0.0.0", 80))
print("ready", flush=True)
peer, _ = listener.accept()
while data := peer.recv(100):
    peer.sendall(b"answer")
"""


def talk(bench: Bench, client: str, address: str) -> None:
    """A question, a pause in which the entry ends, and another question."""

    def run() -> None:
        with socket.create_connection((address, 80), timeout=3.5) as plug:
            plug.sendall(b"one")
            plug.recv(100)
            time.sleep(2.5)
            with contextlib.suppress(OSError):
                plug.sendall(b"two")
                plug.recv(100)
            time.sleep(0.2)

    run_inside(bench.lab.netns_path(client), run)


def told(report: Report, code: str) -> list[str]:
    return [one.text for one in report.findings if one.code == code]


@pytest.mark.parametrize("forgets", [False, True])
def test_a_published_port(bench: Bench, forgets: bool) -> None:
    bench.host(
        "iptables -t nat -A PREROUTING -i uplink0 -p tcp --dport 80 "
        "-j DNAT --to-destination 172.17.0.3:80"
    )
    if forgets:
        bench.host(FORGETS)
    with bench.serving("tomcat02", SERVE):
        report = bench.capture(
            ["tomcat02"], lambda: talk(bench, "outside", "198.51.100.1"), uplink=True
        )
    if not forgets:
        assert not [one.text for one in report.findings if one.severity != "info"]
        return
    text = "; ".join(told(report, "tcp-reset"))
    assert "the host reset TCP towards 198.51.100.2" in text
    assert "it is a connection of tomcat02 (172.17.0.3:80, translated to 198.51.100.1:80)" in text
    assert "connection tracking had forgotten it by " in text


def test_a_filter_that_drops_what_it_forgot(bench: Bench) -> None:
    bench.bridge_netfilter()
    rule = "-m conntrack --ctstate INVALID -j DROP"
    bench.host(f"iptables -I FORWARD {rule}; {FORGETS}")
    with bench.serving("tomcat02", SERVE):
        report = bench.capture(
            ["tomcat01", "tomcat02"], lambda: talk(bench, "tomcat01", "172.17.0.3")
        )
    assert {row.reason for row in report.losses} == {"NETFILTER_DROP"}
    assert all(f"iptables FORWARD rule 1 ({rule}) counted" in row.advice for row in report.losses)
    (text,) = told(report, "tcp-dead")
    assert "never acknowledged" in text
