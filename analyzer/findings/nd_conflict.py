"""Neighbour Discovery: an address that several nodes claim."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import ERROR, Code, FindingInputs, Rule
from analyzer.model.report import Finding

ND_CONFLICT = Code(
    "nd-conflict",
    (ERROR,),
    "More than one node claims an IPv6 address.",
    "ip -6 addr show in each; give each its own",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for row in inputs.flows.get("nd", ()):
        if row.state == "conflict":
            who = ", ".join(row.macs) or row.answer_mac
            yield ND_CONFLICT.finding(f"{row.target_ip} is claimed by more than one node: {who}")


RULE = Rule((ND_CONFLICT,), find, place=110)
