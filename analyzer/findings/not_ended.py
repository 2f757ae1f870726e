"""A capture that was not closed: it was killed, or still runs."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.model.report import Finding

NOT_ENDED = Code(
    "not-ended",
    (WARNING,),
    "The capture was killed, or still runs: the statistics that close its file are missing.",
    "what the kernel dropped is not known; end captures by Ctrl-C or SIGTERM",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for file in inputs.not_ended:
        yield NOT_ENDED.finding(
            f"{file} was not closed: the capture was killed, or still runs; the last moments may "
            "be missing, and how many frames the kernel dropped is not known"
        )


RULE = Rule((NOT_ENDED,), find, place=13)
