"""Datagrams that go on to where a rule for translation once led, and leads no more.

Rules see the first packet of a flow only. Those that follow go as the flow's conntrack entry says,
which lives as long as they come: to a container that was replaced, for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from analyzer.diagnosis.nat_rules import (
    Translated,
    destination_rules,
    takes_any_port,
    target_of,
    were_read,
)
from analyzer.findings.counted import owned_spans
from analyzer.findings.no_answer import may_claim
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_time
from analyzer.model.evidence import NamespaceEvidence, Span
from analyzer.model.report import Finding

STALE_TRANSLATION = Code(
    "stale-translation",
    (WARNING,),
    "Datagrams went on to where their conntrack entry led, while the rule for new flows leads "
    "elsewhere: a container was replaced, or a port was published anew.",
    "conntrack -D -p udp --dport PORT",
)
_CONNTRACK = "conntrack"

Target = tuple[str, int]


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One a flow over UDP that nothing was answered to."""
    if not may_claim(inputs):
        return
    spans = [span for span, owner in owned_spans(inputs) if owner.is_host]
    if len(spans) != 1 or not (were_read(spans[0].start) and were_read(spans[0].end)):
        return
    for row in inputs.flows.get("nat", ()):
        old = row.new_destination_ip, row.new_destination_port
        published = row.destination_ip, row.destination_port
        asked = (row.protocol, row.told_by, row.answers) == ("udp", _CONNTRACK, 0)
        if asked and old != published and (led := _led_elsewhere(inputs, row, spans[0], old)):
            yield STALE_TRANSLATION.finding(
                f"UDP of {row.source} (port {row.source_port}) to {row.destination_ip}:"
                f"{row.destination_port} went on to {row.destination} ({old[0]}:{old[1]}) by its "
                f"conntrack entry, {led}: conntrack -D -p udp --dport {row.destination_port}"
            )


def _led_elsewhere(inputs: FindingInputs, row: Any, span: Span, old: Target) -> str:
    """Where the rules lead instead; '' where they lead there, or it is not known."""
    before, after = (_targets(inputs, row, moment) for moment in (span.start, span.end))
    if before is None or after is None or old in after.values():
        return ""
    changed = ""
    if old in before.values():
        changed_ns = _changed_ns(inputs, span.start.netns)
        if not changed_ns or not _went_on(inputs, row, changed_ns):
            return ""
        changed = f" since {format_time(changed_ns)}"
    if after:
        rule, (address, port) = next(iter(after.items()))
        return f"while new flows are sent to {address}:{port}{changed} ({rule})"
    return f"while no rule sends them there any more{changed}" if changed else ""


def _targets(
    inputs: FindingInputs, row: Any, moment: NamespaceEvidence
) -> dict[str, Target] | None:
    """Rule → where it sends such datagrams; None where one does not tell, or takes any port."""
    device = next((v.interface for v in inputs.outlook.vantages if v.name == row.from_), "")
    ends = row.source_ip, row.destination_ip, row.destination_port
    asked = Translated("udp", *ends, incoming=device)
    if takes_any_port(moment.rulesets, asked):
        return None
    found: dict[str, Target] = {}
    for rule in destination_rules(moment.rulesets, asked):
        if (target := target_of(rule)) is None:
            return None
        found[rule] = target[0], target[1] or row.destination_port
    return found


def _changed_ns(inputs: FindingInputs, netns: int) -> int:
    """When a chain of translations was changed last; 0: it was not, or that is not known."""
    times = [
        event.ts_ns
        for event in inputs.evidence.events
        if (event.netns, event.what) == (netns, "nftables") and " nat " in event.subject.lower()
    ]
    return max(times, default=0)


def _went_on(inputs: FindingInputs, row: Any, since_ns: int) -> bool:
    """Whether datagrams of this flow came later; of several between the two, nobody can say."""
    ends = row.protocol, row.source, row.destination
    flows = inputs.flows.get("udp", ())
    ours = [one for one in flows if ("udp", one.client, one.server) == ends]
    if len(ours) != 1 or inputs.outcomes is None:
        return False
    names = ("protocol", "source", "destination")
    same = (pl.col(name) == value for name, value in zip(names, ends, strict=True))
    last_ns = inputs.outcomes.filter(*same)["last_ns"].max()
    return isinstance(last_ns, int) and last_ns > since_ns


RULE = Rule((STALE_TRANSLATION,), find, place=74, needs="rules at both ends, and conntrack")
