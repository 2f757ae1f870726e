"""Notes of vethscope's own in the file, changed or damaged so that they cannot be true."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.model.report import Finding

MALFORMED_NOTES = Code(
    "malformed-notes",
    (WARNING,),
    "What the file tells of interfaces, counters, drops, translations, settings or evidence cannot "
    "be so in places; those were left out, and what needs them is unknown.",
    "take the file from where it was written, and see what changed it on the way",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    if inputs.malformed:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in inputs.malformed.items())
        yield MALFORMED_NOTES.finding(
            f"what the file tells of itself cannot be so, and was left out: {kinds}"
        )


RULE = Rule((MALFORMED_NOTES,), find, place=11)
