"""Frames that the kernel had no room for while capturing."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.model.report import Finding

DROPPED = Code(
    "dropped",
    (WARNING,),
    "The capture itself missed frames: its ring was full.",
    "capture less: -s 128, a filter, fewer interfaces",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    if inputs.info.dropped:
        yield DROPPED.finding(
            f"the kernel dropped {inputs.info.dropped} frames for want of room: "
            "what is missing is not called lost"
        )


RULE = Rule((DROPPED,), find, place=30)
