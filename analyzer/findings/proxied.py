"""Connections that docker-proxy hands on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.model.flow_rows import ProxyRow
from analyzer.model.report import Finding

PROXIED = Code(
    "proxied",
    (INFO,),
    "docker-proxy accepts a connection on the host and opens a second one to the container.",
    "the two connections are shown apart; a local or hairpin client is the usual cause",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One for each client, port and server."""
    kinds: dict[tuple[Any, ...], list[ProxyRow]] = {}
    for row in inputs.flows.get("proxied", ()):
        kind = (row.protocol, row.client, row.host_ip, row.host_port, row.server, row.server_port)
        kinds.setdefault(kind, []).append(row)
    for (protocol, client, host_ip, host_port, server, port), rows in kinds.items():
        likely = sum(not row.certain for row in rows)
        sure = f", {likely} of them likely" if likely else ""
        yield PROXIED.finding(
            f"{client} → {server}: docker-proxy hands {protocol} {host_ip} port {host_port} on "
            f"to {server} port {port}: two connections each, no journey of one packet "
            f"({len(rows)}{sure})"
        )


RULE = Rule((PROXIED,), find, place=220)
