"""Echo requests that came to their end, of which no reply was ever seen."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.counted import owner_of
from analyzer.findings.no_answer import Unanswered, look_inside, silent_echoes
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
    if _in_part(inputs, one) >= one.packets:
        look = look_inside(owner_of(inputs, one.last.netns), "nstat -az 'IpReasm*'")
        return (
            f"{requests} came to {one.last.name} without all of their fragments, so nobody there "
            f"could put them together: capture with --drops; {look}"
        )
    return f"{requests} {where_it_ended(inputs, one, 'reply')}"


def _in_part(inputs: FindingInputs, one: Unanswered) -> int:
    """How many of such packets came there in part: fragments, of which others are missing."""
    table = inputs.outcomes
    if table is None or "short" not in table.columns:
        return 0
    ends = {"protocol": one.protocol, "source": one.source, "destination": one.destination}
    at = inputs.outlook.vantages.index(one.last)
    return int(table.filter(last_vantage=at, **ends)["short"].sum())


RULE = Rule((ECHO_UNANSWERED,), find, place=128, needs="all of the way captured, and its topology")
