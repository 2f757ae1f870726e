"""Containers that were paused."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.lookups import events_of_container
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_time
from analyzer.model.report import Finding

PAUSED = Code(
    "paused",
    (WARNING,),
    "A container was paused: its kernel answers, its processes do not.",
    "docker unpause NAME",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for name in dict.fromkeys(
        v.container for v in inputs.outlook.vantages if v.paused and v.container
    ):
        yield PAUSED.finding(
            f"{name} was paused: the kernel answers pings and accepts connections for it, its "
            f"processes do not answer: docker unpause {name}"
        )
    captured = {v.container: None for v in inputs.outlook.vantages if v.container}
    for name in captured:
        if times := list(_times(inputs, name)):
            yield PAUSED.finding(
                f"{name} was paused {'; '.join(times)}: the kernel answers pings and accepts "
                "connections for it meanwhile, its processes do not answer"
            )


def _times(inputs: FindingInputs, name: str) -> Iterator[str]:
    """``from … until …``, of pauses that began while the capture ran, by the engine's events."""
    since: int | None = None
    for event in events_of_container(inputs, name):
        if event.action == "pause" and since is None:
            since = event.ts_ns
        elif event.action in ("unpause", "die") and since is not None:
            yield f"from {format_time(since)} until {format_time(event.ts_ns)}"
            since = None
    if since is not None:
        yield f"from {format_time(since)} until the capture's end"


RULE = Rule((PAUSED,), find, needs="an engine", most=None, place=60)
