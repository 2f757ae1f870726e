"""What a container's own packet filter dropped of what it sent: it never came to an interface.

No frame shows it, so only the rules' counters do (both ends of the capture).
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.diagnosis.settings import name_rules
from analyzer.findings.counted import owner_of
from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_plural
from analyzer.model.report import Finding
from analyzer.recorders.settings import iptables_rules
from analyzer.recorders.settings.nftables_rules import look_at

DROPPED_BEFORE_SENT = Code(
    "dropped-before-sent",
    (INFO,),
    "A container's own packet filter dropped packets that it sent: they never came to an "
    "interface, and are in no capture.",
    "iptables -nvL OUTPUT --line-numbers inside",
)
_OUTPUT = "output"


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One a rule, but for those by which a loss is explained: what they dropped was seen."""
    told = " ".join(loss.advice for loss in inputs.losses)
    moved = [pair for facts in inputs.facts for pair in facts.moved.items()]
    for netns, rules in moved:
        owner = owner_of(inputs, netns)
        if owner is None or owner.is_host:
            continue
        for rule in rules:
            if _is_of_output(rule) and rule.told() not in told:
                one = rule.packets == 1
                yield DROPPED_BEFORE_SENT.finding(
                    f"{format_plural(rule.packets, 'packet')} that {owner.name} sent "
                    f"{'was' if one else 'were'} dropped by its own packet filter before "
                    f"{'it' if one else 'they'} came to an interface: {name_rules([rule])}: "
                    f"{owner.run(look_at(rule))}"
                )


def _is_of_output(rule: iptables_rules.Rule) -> bool:
    return _OUTPUT in (rule.hook, rule.chain.lower())


RULE = Rule((DROPPED_BEFORE_SENT,), find, needs="rules read at both ends", place=78)
