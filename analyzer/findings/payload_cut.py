"""Frames that were cut because they came faster than they could be written."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_ns, format_plural
from analyzer.model.report import Finding

PAYLOAD_CUT = Code(
    "payload-cut",
    (INFO,),
    "For a time only the beginnings of frames were kept, for want of room.",
    "where payload of then matters: capture fewer containers, with a filter, or to a faster disk",
)
_NAMED = 4
"""vantages that are named"""


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One for each ring that it happened to, of those with a vantage in the capture."""
    cuts: dict[int, list[int]] = {}
    for cut in inputs.payload_cuts:
        until_ns = inputs.outlook.end_ns if cut.until_ns is None else cut.until_ns
        cuts.setdefault(cut.netns, []).append(max(0, until_ns - cut.since_ns))
    for netns, times_ns in cuts.items():
        names = [one.name for one in inputs.outlook.vantages if one.netns == netns]
        if not names:
            continue
        more = ", …" if len(names) > _NAMED else ""
        yield PAYLOAD_CUT.finding(
            f"for {format_ns(sum(times_ns))}, {format_plural(len(times_ns), 'time')}, frames were "
            f"cut at {', '.join(names[:_NAMED])}{more}: they came faster than they could be "
            "written; what their payload was is not in the file"
        )


RULE = Rule((PAYLOAD_CUT,), find, place=14)
