"""A bridge that shows no bridged unicast."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.model.report import Finding
from analyzer.model.vantage import Role

NOT_PROMISCUOUS = Code(
    "not-promiscuous",
    (WARNING,),
    "The bridge device was captured outside promiscuous mode and shows no bridged unicast.",
    "capture without -p",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for vantage in inputs.outlook.vantages:
        if vantage.role is Role.BRIDGE and not vantage.promiscuous:
            yield NOT_PROMISCUOUS.finding(
                f"{vantage.name} was not in promiscuous mode: it shows no bridged unicast, "
                "only broadcasts and the host's own"
            )


RULE = Rule((NOT_PROMISCUOUS,), find, needs="a topology", most=None, place=50)
