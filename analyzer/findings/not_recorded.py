"""Which of the counters and states could not be read: said once, so that silence has its reason."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.counted import owner_of
from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.model.report import Finding
from analyzer.recorders.evidence.namespace import GONE

NOT_READ = Code(
    "not-read",
    (INFO,),
    "Counters or states that explain losses could not be read.",
    "run as root, or give the rights that the reason names",
)

_ONCE = {"rulesets"}
"""what a running capture has given up the rights to read again: it was read in the beginning"""


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One line, whatever is missing; that a namespace has gone is told of its interfaces."""
    recorded = {one for one in _ONCE for m in inputs.evidence.moments if one not in m.absent}
    where: dict[tuple[str, str], dict[str, None]] = {}
    for moment in inputs.evidence.moments:
        owner = owner_of(inputs, moment.netns)
        name = owner.name if owner else f"namespace {moment.netns}"
        for source, reason in moment.absent.items():
            if reason != GONE and source not in recorded:
                where.setdefault((source, reason), {})[name] = None
    lines = [f"{source} of {_some(list(names))} ({why})" for (source, why), names in where.items()]
    lines += [f"events of {source} ({why})" for source, why in inputs.evidence.absent.items()]
    if lines:
        yield NOT_READ.finding("not read: " + "; ".join(lines))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


RULE = Rule((NOT_READ,), find, place=215)
