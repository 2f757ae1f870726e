"""Connections that nobody answered."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.model.report import Finding

TCP_UNANSWERED = Code(
    "tcp-unanswered",
    (WARNING,),
    "A SYN was seen and nothing came back.",
    "capture with --drops; ss -ltn and the packet filter at the server",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for row in inputs.flows.get("tcp", ()):
        if row.state == "unanswered" and not inputs.outlook.one_way:
            yield TCP_UNANSWERED.finding(
                f"{row.client} → {row.server} TCP port {row.server_port}: the SYN was not answered"
            )


RULE = Rule((TCP_UNANSWERED,), find, place=130)
