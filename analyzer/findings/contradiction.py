"""Losses that the report does not tell, since the same packets were answered."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_plural
from analyzer.model.report import Finding

CONTRADICTION = Code(
    "contradiction",
    (INFO,),
    "Packets looked lost that had been answered: they are not called lost. It is a fault of "
    "vethscope's, not of the network.",
    "please report it, with the file",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for one in inputs.contradictions:
        yield CONTRADICTION.finding(
            f"{format_plural(one.packets, 'packet')} {one.source} → {one.destination} looked lost, "
            "but as many were answered: not called lost here. Please report it, with the file"
        )


RULE = Rule((CONTRADICTION,), find, place=76)
