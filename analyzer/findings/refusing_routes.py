"""Packets that ended in a router whose routes, or whose settings, let them go no further."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.no_answer import no_way_on, unanswered
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_plural
from analyzer.model.report import Finding
from analyzer.model.vantage import Role

NOT_ROUTED = Code(
    "not-routed",
    (WARNING,),
    "Packets ended in a router that has no route for them, one that refuses them (blackhole, "
    "unreachable, prohibit), or that does not forward.",
    "ip route get ADDRESS from SOURCE iif BRIDGE; sysctl net.ipv4.ip_forward",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One for each pair and protocol that nothing came back for."""
    for one in unanswered(inputs):
        if one.last.role in (Role.BRIDGE, Role.CONTAINER) and (why := no_way_on(inputs, one)):
            yield NOT_ROUTED.finding(
                f"{format_plural(one.packets, f'{one.protocol} packet')} of {one.source} to "
                f"{one.destination} ended behind {one.last.name}: {why}"
            )


RULE = Rule((NOT_ROUTED,), find, place=71, needs="evidence of the router's namespace")
