"""The capture's own filter may have kept the answers out."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.model.report import Finding

ONE_WAY_FILTER = Code(
    "one-way-filter",
    (INFO,),
    "The capture filter may let requests pass and their answers not: no silence is reported.",
    "capture without src, dst and tests of header bytes to see both directions",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for expression in sorted(inputs.outlook.one_way):
        yield ONE_WAY_FILTER.finding(
            f"the capture filter ({expression}) may have left answers out: nothing is said to be "
            "unanswered"
        )


RULE = Rule((ONE_WAY_FILTER,), find, place=22)
