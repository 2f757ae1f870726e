"""Drops of the kernel that fit lost or unanswered packets, though nothing ties them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from analyzer.diagnosis.likely import UNANSWERED, LikelyCause
from analyzer.findings.no_answer import silent_echoes
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_plural
from analyzer.model.report import Finding

LIKELY_CAUSE = Code(
    "likely-cause",
    (WARNING,),
    "As many packets as are lost or unanswered were dropped on this machine at that time: likely "
    "the same, for the kernel does not tell whose they were.",
    "the text names the reason and the kernel's function",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    explained = _pairs(inputs.silent) - {(e.source, e.destination) for e in silent_echoes(inputs)}
    for one in inputs.likely_causes:
        vain = one.of
        echoes = vain.what == UNANSWERED and not vain.port
        if one.tied:
            continue  # it is told with the request that nobody answered
        if echoes and (vain.source, vain.destination) in explained:
            continue
        port = f" port {vain.port}" if vain.port else ""
        yield LIKELY_CAUSE.finding(
            f"{format_plural(vain.packets, f'{vain.protocol} packet')} {vain.source} → "
            f"{vain.destination}{port} {vain.what}: likely {causes_of(one)}, by which as many "
            "were dropped meanwhile anywhere on this machine (the kernel does not tell whose)"
        )


def causes_of(one: LikelyCause) -> str:
    """The kernel's reasons and functions."""
    return " or ".join(
        f"{drop.reason} at {drop.location}" if drop.location else drop.reason for drop in one.drops
    )


def _pairs(silent: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    return {(row["source"], row["destination"]) for row in silent}


RULE = Rule((LIKELY_CAUSE,), find, place=75, needs="--drops")
