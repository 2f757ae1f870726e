"""Default routes, packet filters and sysctls that were changed while the capture ran.

None is a fault: a network that is connected brings a route, and an engine that starts a
container makes rules. But what was lost in between may be lost for it, and nothing shows it
afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzer.diagnosis.legacy_rules import changed_legacy_rules
from analyzer.findings.counted import (
    Owner,
    has_just_come,
    owned_spans,
    owner_of,
    vantage_at,
)
from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.findings.socket_overflows import NEEDS
from analyzer.formatting.numbers import format_time
from analyzer.model.evidence import KernelEvent
from analyzer.model.report import Finding

DEFAULT_ROUTE_CHANGED = Code(
    "default-route-changed",
    (INFO,),
    "A default route came or went while the capture ran.",
    "ip route show default and ip -6 route show default inside; who sends router advertisements?",
)
RULES_CHANGED = Code(
    "rules-changed",
    (INFO,),
    "Rules of the packet filter were added or removed while the capture ran.",
    "nft list ruleset; what was lost before and after may differ",
)
SYSCTL_CHANGED = Code(
    "sysctl-changed",
    (INFO,),
    "A sysctl that decides what is answered, forwarded or filtered was set while the capture ran.",
    "sysctl NAME there; what was lost before and after may differ",
)
_TOLD = 3
"""changes"""


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for netns in dict.fromkeys(event.netns for event in inputs.evidence.events):
        owner = owner_of(inputs, netns)
        if owner is None:
            continue
        here = [event for event in inputs.evidence.events if event.netns == netns]
        routes = [e for e in here if (e.what, e.subject) == ("route", "default")]
        routes = [e for e in routes if not _is_set_up(inputs, e)]
        if routes:
            yield DEFAULT_ROUTE_CHANGED.finding(_routes(owner, routes))
        rules = [e for e in here if e.what == "nftables" and e.subject]
        if rules:
            yield RULES_CHANGED.finding(_rules(owner, rules, "nft list ruleset"))
        sysctls = [e for e in here if e.what == "sysctl" and not _is_made(inputs, e)]
        if sysctls:
            yield SYSCTL_CHANGED.finding(_sysctls(inputs, owner, sysctls))
    yield from _legacy_changes(inputs)


def _legacy_changes(inputs: FindingInputs) -> Iterator[Finding]:
    """What differs at the end, with its times; and what came and went."""
    heard = [e for e in inputs.evidence.events if e.what == "x_tables"]
    for span, owner in owned_spans(inputs):
        for tool, (added, removed) in changed_legacy_rules(span).items():
            program = tool.removesuffix("-save")
            same = [e for e in heard if (e.netns, _program(e)) == (span.end.netns, program)]
            if added or removed:
                heard = [e for e in heard if e not in same]
                yield RULES_CHANGED.finding(_legacy(owner, tool, (added, removed), same))
    for netns in dict.fromkeys(event.netns for event in heard):
        here = [event for event in heard if event.netns == netns]
        if owner_there := owner_of(inputs, netns):
            tools = dict.fromkeys(f"{_program(event)}-save" for event in here)
            yield RULES_CHANGED.finding(_rules(owner_there, here, *tools))


def _program(event: KernelEvent) -> str:
    return event.subject.partition(" ")[0]


def _is_set_up(inputs: FindingInputs, event: KernelEvent) -> bool:
    """Whether a namespace has just come, and gets its first routes."""
    return event.action == "new" and has_just_come(inputs, event.netns, event.ts_ns)


def _is_made(inputs: FindingInputs, event: KernelEvent) -> bool:
    """Whether it is set by who makes a container's namespace, or of a device that is none of the
    capture's."""
    unknown = event.ifindex and vantage_at(inputs, event.netns, event.ifindex) is None
    return bool(unknown) or has_just_come(inputs, event.netns, event.ts_ns)


def _sysctls(inputs: FindingInputs, owner: Owner, events: Sequence[KernelEvent]) -> str:
    names = [_sysctl(inputs, event) for event in events]
    told = list(zip(events, names, strict=True))[:_TOLD]
    changes = "; ".join(f"{format_time(e.ts_ns)} {name} = {e.detail}" for e, name in told)
    look = owner.run(f"sysctl {' '.join(dict.fromkeys(name for _, name in told))}")
    return f"sysctls of {owner.name} were set: {changes}{_more(events)}: {look}"


def _sysctl(inputs: FindingInputs, event: KernelEvent) -> str:
    """Its full name; a device's is told as ``ipv4 rp_filter``."""
    vantage = vantage_at(inputs, event.netns, event.ifindex) if event.ifindex else None
    if vantage is None:
        return event.subject
    family, _, name = event.subject.partition(" ")
    return f"net.{family}.conf.{vantage.interface.replace('.', '/')}.{name}"


def _routes(owner: Owner, events: Sequence[KernelEvent]) -> str:
    verb = {"new": "came", "gone": "went"}
    changes = "; ".join(
        f"{format_time(e.ts_ns)} {verb.get(e.action, e.action)}: {e.detail}" for e in events[:_TOLD]
    )
    six = any(":" in e.detail for e in events)
    look = owner.run(f"ip {'-6 ' if six else ''}route show default")
    return f"a default route of {owner.name} changed: {changes}{_more(events)}: {look}"


def _rules(owner: Owner, events: Sequence[KernelEvent], *looks: str) -> str:
    look = "; ".join(map(owner.run, looks))
    return f"the packet filter of {owner.name} was changed: {_changes(events)}: {look}"


def _changes(events: Sequence[KernelEvent]) -> str:
    told = (f"{format_time(e.ts_ns)} {e.subject} {e.detail}" for e in events[:_TOLD])
    return "; ".join(told) + _more(events)


def _legacy(
    owner: Owner,
    tool: str,
    rules: tuple[Sequence[str], Sequence[str]],
    heard: Sequence[KernelEvent],
) -> str:
    added, removed = rules
    signed = [*(f"+ {rule}" for rule in added), *(f"- {rule}" for rule in removed)]
    more = f" and {len(signed) - _TOLD} more" if len(signed) > _TOLD else ""
    times = f"; {_changes(heard)}" if heard else ""
    return (
        f"the packet filter of {owner.name} is another one at the capture's end than at its start "
        f"({tool.removesuffix('-save')}): {'; '.join(signed[:_TOLD])}{more}{times}: "
        f"{owner.run(tool)}"
    )


def _more(events: Sequence[KernelEvent]) -> str:
    return f" and {len(events) - _TOLD} more" if len(events) > _TOLD else ""


RULE = Rule((DEFAULT_ROUTE_CHANGED, RULES_CHANGED, SYSCTL_CHANGED), find, place=207, needs=NEEDS)
