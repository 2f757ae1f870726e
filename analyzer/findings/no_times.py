"""Frames of which the file tells no time."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_plural
from analyzer.model.report import Finding

NO_TIMES = Code(
    "no-times",
    (INFO,),
    "The file tells no time of some frames (Simple Packet Blocks of pcapng).",
    "capture in a form that has times: Enhanced Packet Blocks, or pcap",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    info = inputs.info
    if info.untimed:
        yield NO_TIMES.finding(
            f"the file tells no time of {info.untimed} of {format_plural(info.frames, 'frame')}: "
            "they are counted, and are in no delay; conversations are told without times"
        )


RULE = Rule((NO_TIMES,), find, place=82)
