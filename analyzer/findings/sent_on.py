"""A request to a published port that a rule sends on to an address which nobody has."""

from __future__ import annotations

from analyzer.diagnosis.nat_rules import Translated, destination_rules, target_of
from analyzer.findings.counted import owned_ends
from analyzer.findings.no_answer import Unanswered
from analyzer.findings.rule import FindingInputs


def sent_on(inputs: FindingInputs, one: Unanswered) -> str:
    """The rule, and that nobody tells the MAC of where it leads; '' where that is not so."""
    ends = (one.source_ip, one.destination_ip, one.port)
    asked = Translated(one.protocol, *ends, incoming=one.last.interface)
    rows = [*inputs.flows.get("arp", ()), *inputs.flows.get("nd", ())]
    nobodys = {row.target_ip for row in rows if row.state == "unanswered"}
    for moment, owner in owned_ends(inputs):
        if moment.netns != one.last.netns:
            continue
        for rule in destination_rules(moment.rulesets, asked):
            target = target_of(rule)
            if target and target[0] in nobodys:
                what = f"a rule sends it on to {target[0]} ({rule}), and nobody answers for that"
                return f"{what}: {owner.run(f'ip neigh show {target[0]}')}"
    return ""
