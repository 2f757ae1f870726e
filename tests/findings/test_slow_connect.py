"""Connections that were accepted late, and challenge ACKs."""

from __future__ import annotations

import contextlib
import select
import socket
from dataclasses import dataclass
from typing import Any

import pytest
from evidence_samples import PID, grown, seen, texts
from faulty import Bench

from analyzer.findings import tcp_resets
from analyzer.findings.rule import FindingInputs
from analyzer.findings.slow_connect import find
from analyzer.model.evidence import Evidence
from analyzer.net.netns import run_inside

S = 1_000_000_000


@dataclass(frozen=True)
class Talk:
    """What a row of TCP tells here."""

    connect_ns: int | None = 80_000
    syn_retries: int = 0
    challenge_acks: int = 0
    client: str = "tomcat02"
    server: str = "tomcat01"
    server_port: int = 80


def given(*talks: Talk, evidence: Evidence | None = None, **values: Any) -> FindingInputs:
    found = seen(evidence or Evidence(), **values)
    found.flows["tcp"].extend(talks)  # type: ignore[attr-defined]
    return found


SLOW = (Talk(7 * S, 3), Talk(3 * S, 2), Talk())
HEAD = (
    "slow-connect tomcat02 → tomcat01 TCP port 80: 2 connections took up to 7.00 s to be "
    "accepted, 5 SYNs repeated: "
)


def test_with_a_queue_that_was_full() -> None:
    assert texts(find, given(*SLOW, evidence=grown(TcpExtListenOverflows=4))) == [
        f"{HEAD}a listening socket's queue of tomcat01 was full 4× meanwhile: nsenter -n -t {PID} "
        "ss -ltn"
    ]


def test_without_a_cause() -> None:
    assert texts(find, given(*SLOW)) == [
        f"{HEAD}the first ones were not answered: ss -ltn at the server; was it up?"
    ]


@pytest.mark.parametrize("talk", [Talk(), Talk(None, 3), Talk(9_000_000, 1), Talk(2 * S)])
def test_what_is_no_fault(talk: Talk) -> None:
    assert texts(find, given(talk)) == []


def test_a_challenge_ack_is_no_reset() -> None:
    reset = {"source": "tomcat02", "destination": "tomcat01", "vantage": 2, "egress": False}
    resets = [{"refusal": False, "port": 80, "count": 1, **reset}]
    inputs = given(Talk(9_000_000, 1, 1), resets=resets)
    assert texts(find, inputs) == [
        "challenge-ack tomcat01 answered tomcat02's SYN to port 80 with a challenge ACK, 1×: it "
        "still knew a connection from the same port (RFC 9293 3.10.7.4, RFC 5961); tomcat02 "
        "reset that and connected with its next SYN"
    ]
    assert texts(tcp_resets.find, inputs) == []
    assert len(texts(tcp_resets.find, given(Talk(), resets=resets))) == 1


@pytest.mark.root
def test_a_listen_queue_that_is_full_for_a_while(bench: Bench) -> None:
    def sock_in(container: str) -> socket.socket:
        return run_inside(bench.lab.netns_path(container), socket.socket)

    with contextlib.ExitStack() as stack:
        server = stack.enter_context(sock_in("tomcat02"))
        server.bind(("", 8080))
        server.listen(0)
        clients = [stack.enter_context(sock_in("tomcat01")) for _ in range(2)]

        def connect() -> None:
            for client in clients:
                client.setblocking(False)
                client.connect_ex(("172.17.0.3", 8080))
            bench.inside(
                "tomcat02", "until nstat -asz TcpExtListenOverflows | grep -q ' [1-9]'; do :; done"
            )
            for client in clients:
                stack.enter_context(server.accept()[0])
                assert select.select([], [client], [], 20)[1]

        report = bench.capture(["tomcat01", "tomcat02"], connect)
    (text,) = [one.text for one in report.findings if one.code == "slow-connect"]
    assert text.startswith("tomcat01 → tomcat02 TCP port 8080: ")
    assert "a listening socket's queue of tomcat02 was full " in text
