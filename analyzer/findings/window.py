"""Only a part of the capture was looked at."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.model.report import Finding

WINDOW = Code(
    "window",
    (INFO,),
    "Only frames between --since and --until were analysed.",
    "leave the options out to see the whole capture",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    if (inputs.info.since_ns, inputs.info.until_ns) != (None, None):
        yield WINDOW.finding(
            "only a time window of the capture: what its edges cut is unmatched, never lost"
        )


RULE = Rule((WINDOW,), find, place=20)
