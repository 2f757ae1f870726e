"""Connections that were accepted at a repeated SYN only: their handshake's RTT does not tell."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.counted import owned_spans
from analyzer.findings.rule import INFO, WARNING, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_ns, format_plural
from analyzer.model.flow_rows import TcpRow
from analyzer.model.report import Finding

SLOW_CONNECT = Code(
    "slow-connect",
    (WARNING,),
    "Connections took long to be accepted, for their first SYNs were not answered.",
    "ss -ltn and nstat -az 'TcpExtListen*' inside the server; was it up?",
)
CHALLENGE_ACK = Code(
    "challenge-ack",
    (INFO,),
    "A SYN met an older connection from the same port: challenge ACK, RST, and a second SYN.",
    "ss -tn inside the server shows connections whose client is gone",
)
_LONG_NS = 500_000_000
"""a SYN is repeated after a second"""
Service = tuple[str, str, int]


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One a client and service of each kind."""
    slow: dict[Service, list[TcpRow]] = {}
    challenged: dict[Service, int] = {}
    for row in inputs.flows.get("tcp", ()):
        service = (row.client, row.server, row.server_port)
        if row.syn_retries and (row.connect_ns or 0) >= _LONG_NS:
            slow.setdefault(service, []).append(row)
        if row.challenge_acks:
            challenged[service] = challenged.get(service, 0) + row.challenge_acks
    for service, rows in slow.items():
        yield SLOW_CONNECT.finding(_slow(inputs, service, rows))
    for (client, server, port), count in challenged.items():
        yield CHALLENGE_ACK.finding(
            f"{server} answered {client}'s SYN to port {port} with a challenge ACK, {count}×: it "
            "still knew a connection from the same port (RFC 9293 3.10.7.4, RFC 5961); "
            f"{client} reset that and connected with its next SYN"
        )


def _slow(inputs: FindingInputs, service: Service, rows: list[TcpRow]) -> str:
    client, server, port = service
    longest = max(row.connect_ns or 0 for row in rows)
    retries = sum(row.syn_retries for row in rows)
    return (
        f"{client} → {server} TCP port {port}: {format_plural(len(rows), 'connection')} took up to "
        f"{format_ns(longest)} to be accepted, {format_plural(retries, 'SYN')} repeated"
        f"{_why(inputs, server)}"
    )


def _why(inputs: FindingInputs, server: str) -> str:
    for span, owner in owned_spans(inputs):
        if owner.name == server and (times := span.grown("TcpExtListenOverflows")):
            return (
                f": a listening socket's queue of {server} was full {times}× meanwhile: "
                f"{owner.run('ss -ltn')}"
            )
    return ": the first ones were not answered: ss -ltn at the server; was it up?"


RULE = Rule((SLOW_CONNECT, CHALLENGE_ACK), find, place=265)
