"""A file that is damaged or cut short."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.model.report import Finding

TRUNCATED = Code(
    "truncated",
    (WARNING,),
    "The file is damaged or cut short; what is readable was analysed.",
    "capture again, or look at the byte that the message on stderr names",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    if inputs.info.truncated:
        yield TRUNCATED.finding(
            "the file is damaged or cut short: only what is readable was analysed"
        )


RULE = Rule((TRUNCATED,), find, place=10)
