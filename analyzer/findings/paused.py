"""Containers that were paused."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.model.report import Finding

PAUSED = Code(
    "paused",
    (WARNING,),
    "A container was paused: its kernel answers, its processes do not.",
    "docker unpause NAME",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for name in dict.fromkeys(v.container for v in inputs.outlook.vantages if v.paused):
        yield PAUSED.finding(
            f"{name} was paused: the kernel answers pings and accepts connections for it, its "
            f"processes do not answer: docker unpause {name}"
        )


RULE = Rule((PAUSED,), find, needs="an engine", most=None, place=60)
