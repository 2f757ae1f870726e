"""Names that were guessed."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.model.report import Finding

INFERRED = Code(
    "inferred",
    (INFO,),
    "The file tells no topology: addresses were guessed from MACs.",
    "capture with vethscope, which keeps the topology in the file",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    if inputs.inferred:
        yield INFERRED.finding(
            f"not in the file's topology: {', '.join(inputs.inferred)} inferred from "
            "Docker's old MAC scheme 02:42:ac:11:…"
        )


RULE = Rule((INFERRED,), find, place=90)
