"""Matches that are likely only."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.model.report import Finding

LIKELY = Code(
    "likely",
    (INFO,),
    "Some frames were matched by likelihood: identical packets were under way at once.",
    "figures of these packets may be another's; show marks them",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    if inputs.info.likely_matches:
        yield LIKELY.finding(
            f"{inputs.info.likely_matches} matches are likely, not certain: "
            "identical packets were in flight at the same time"
        )


RULE = Rule((LIKELY,), find, place=80)
