"""Answers that the wire shows, and that the pinging process never got."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.model.report import Finding

ANSWERS_NOT_RECEIVED = Code(
    "answers-not-received",
    (WARNING,),
    "Echo replies came to the asker's interface, and its own stack kept them from the process.",
    "the filter's INPUT chain there, and with --drops the reason in the losses",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for row in inputs.flows.get("icmp", ()):
        if row.process is None or row.process.received >= row.answered:
            continue
        yield ANSWERS_NOT_RECEIVED.finding(
            f"{row.source} → {row.destination}: {row.answered} of {row.sent} echoes answered on "
            f"the wire, {row.process.received} of the answers reached the pinging process: the "
            f"rest ended in {row.source}'s own stack, see iptables -nvL INPUT there"
        )


RULE = Rule((ANSWERS_NOT_RECEIVED,), find, place=212)
"""Answers of our own ping only: nobody else says what its process got."""
