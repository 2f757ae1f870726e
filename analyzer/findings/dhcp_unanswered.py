"""DHCP clients that got no answer."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.model.report import Finding

DHCP_UNANSWERED = Code(
    "dhcp-unanswered",
    (WARNING,),
    "A client asked for an address and no server answered.",
    "is there a DHCP server in that network, and does its answer reach the port?",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for row in inputs.flows.get("dhcp", ()):
        heard = inputs.may_hear(row.client_mac) and not inputs.outlook.one_way
        if row.state == "unanswered" and heard:
            yield DHCP_UNANSWERED.finding(f"no DHCP server answers {row.client or row.client_mac}")


RULE = Rule((DHCP_UNANSWERED,), find, place=150)
