"""Requests over UDP and SYNs that nobody answers, made in a lab: how far they came, and why."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable

import pytest
from faulty import Bench

from analyzer.flows.requests import GRACE_NS
from analyzer.model.report import Report
from analyzer.net.netns import run_inside

pytestmark = pytest.mark.root
SERVER, OUTSIDE = "172.17.0.3", "198.51.100.2"
NTP_ASK, NTP_SAY = bytes([0x23]) + bytes(47), bytes([0x24]) + bytes(47)


def said(report: Report, code: str) -> list[str]:
    return [finding.text for finding in report.findings if finding.code == code]


def ask(bench: Bench, address: str, wait_s: float = 0.0, times: int = 3) -> Callable[[], None]:
    """Send requests of NTP, and wait for each answer so long."""

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(wait_s)
            for _ in range(times):
                client.sendto(NTP_ASK, (address, 123))
                if wait_s:
                    client.recv(100)
            if not wait_s:
                time.sleep(2 * GRACE_NS / 1e9)  # later ones may be answered after the capture

    return lambda: run_inside(bench.lab.netns_path("tomcat01"), send)


def server(bench: Bench) -> socket.socket:
    """A socket of tomcat02's, which nobody reads."""

    def bind() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("0.0.0.0", 123))
        return made

    return run_inside(bench.lab.netns_path("tomcat02"), bind)


def knock(bench: Bench, address: str, port: int) -> None:
    def connect() -> None:
        with socket.socket() as client:
            client.setblocking(False)
            client.connect_ex((address, port))
            assert select.select([], [client], [], 0.2) == ([], [], [])

    run_inside(bench.lab.netns_path("tomcat01"), connect)


def test_a_process_that_does_not_answer(bench: Bench) -> None:
    with server(bench):
        report = bench.capture(["tomcat01", "tomcat02"], ask(bench, SERVER))
    assert report.losses == []
    assert said(report, "request-unanswered") == [
        "3 NTP requests of tomcat01 to tomcat02 (UDP port 123) reached tomcat02:eth0, and no "
        "answer came out there: 0.0.0.0:123 listens there, so its process did not answer: in "
        "tomcat02's namespace: ss -lunmp"
    ]


def test_a_server_without_a_way_back(bench: Bench) -> None:
    bench.inside("tomcat02", "ip route flush table main")

    def both() -> None:
        ask(bench, SERVER)()
        knock(bench, SERVER, 80)

    with server(bench):
        report = bench.capture(["tomcat01", "tomcat02"], both)
    why = "tomcat02 has no route to 172.17.0.2, so no answer can leave"
    (request,) = said(report, "request-unanswered")
    assert why in request


def test_a_firewall_tells_by_the_loss_and_once(bench: Bench) -> None:
    bench.inside("tomcat02", "iptables -A INPUT -p udp --dport 123 -j DROP")
    with server(bench):
        report = bench.capture(["tomcat01", "tomcat02"], ask(bench, SERVER))
    assert [(row.packets, row.reason, row.port) for row in report.losses] == [
        (3, "NETFILTER_DROP", 123)
    ]
    assert said(report, "request-unanswered") == []


def test_what_nobody_beyond_the_uplink_answers(bench: Bench) -> None:
    drop = "iptables -A INPUT -p {} -j DROP"
    bench.lab.run("outside", ["sh", "-c", f"{drop.format('udp')}; {drop.format('tcp')}"])

    def both() -> None:
        ask(bench, OUTSIDE)()
        knock(bench, OUTSIDE, 80)

    report = bench.capture(["tomcat01"], both, uplink=True)
    where = (
        "came as far as uplink0, and no answer came back there: the cause lies beyond: capture "
        f"there, too; ip route get {OUTSIDE}"
    )
    assert said(report, "request-unanswered") == [
        f"3 NTP requests of tomcat01 to {OUTSIDE} (UDP port 123) {where}"
    ]
    assert said(report, "tcp-unanswered") == [
        f"tomcat01 → {OUTSIDE} TCP port 80: the SYN was not answered: it {where}"
    ]


def test_a_next_hop_that_nobody_has(bench: Bench) -> None:
    nobody = "198.51.100.77"
    report = bench.capture(["tomcat01"], lambda: knock(bench, nobody, 80), uplink=True)
    assert said(report, "tcp-unanswered") == [
        f"tomcat01 → {nobody} TCP port 80: the SYN was not answered: it came as far as docker0, "
        f"and no answer came back there: the host asked who has {nobody}, and nobody answered: "
        f"ip neigh show {nobody}"
    ]


def test_of_a_server_that_answers_nothing_is_said(bench: Bench) -> None:
    with server(bench) as made:

        def answer() -> None:
            for _ in range(3):
                _, client = made.recvfrom(100)
                made.sendto(NTP_SAY, client)

        answering = threading.Thread(target=answer)
        answering.start()
        report = bench.capture(["tomcat01", "tomcat02"], ask(bench, SERVER, wait_s=5.0))
        answering.join()
    assert [f.text for f in report.findings if f.severity != "info"] == []
    (row,) = report.flows["requests"]
    assert (row.protocol, row.requests, row.answered, row.unanswered) == ("NTP", 3, 3, 0)
