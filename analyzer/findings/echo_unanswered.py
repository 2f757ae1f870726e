"""Echo requests that came to their end, of which no reply was ever seen."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.no_answer import Unanswered, silent_echoes
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.findings.where_unanswered import where_it_ended
from analyzer.formatting.numbers import format_plural
from analyzer.model.report import Finding

ECHO_UNANSWERED = Code(
    "echo-unanswered",
    (WARNING,),
    "Echo requests reached the last captured interface on their way, and no reply came back there.",
    "capture with --drops; ip route get ADDRESS at the one that does not answer",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One for each pair and vantage, unless a loss says why."""
    for one in silent_echoes(inputs):
        yield ECHO_UNANSWERED.finding(_text(inputs, one))


def _text(inputs: FindingInputs, one: Unanswered) -> str:
    requests = f"{format_plural(one.packets, 'echo request')} of {one.source} to {one.destination}"
    return f"{requests} {where_it_ended(inputs, one, 'reply')}"


RULE = Rule((ECHO_UNANSWERED,), find, place=128, needs="all of the way captured, and its topology")
