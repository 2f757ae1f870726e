"""What the rules about unanswered packets share: what was otherwise just while they were sent."""

from __future__ import annotations

from analyzer.diagnosis.meanwhile import FORWARDING, Known, explain_meanwhile, not_forwarding
from analyzer.findings.counted import owner_of
from analyzer.findings.no_answer import Unanswered, has_address
from analyzer.findings.rule import FindingInputs
from analyzer.model.vantage import Role


def changed_on_the_way(inputs: FindingInputs, one: Unanswered) -> str:
    """Why they came no further, by what changed meanwhile and changed back; '' where nothing
    tells."""
    vantages = inputs.outlook.vantages
    if has_address(one.last, one.destination_ip):
        return ""
    ends = [v for v in vantages if has_address(v, one.destination_ip)]
    ends.sort(key=lambda v: v.role is Role.HOST_VETH)
    port = next((v for v in ends if v.role is Role.HOST_VETH), None)
    if port is not None:
        known = Known(vantages, inputs.evidence.events, inputs.engine)
        if explanation := explain_meanwhile(ends, port.peer_mac, one.sent_ns, known):
            return ": ".join(explanation)
    return _not_forwarded(inputs, one)


def _not_forwarded(inputs: FindingInputs, one: Unanswered) -> str:
    """Whether the router that they came to did not route just then."""
    owner = owner_of(inputs, one.last.netns)
    if owner is None or not owner.is_host or ":" in one.destination_ip:
        return ""
    shut = not_forwarding(inputs.evidence.events, one.last.netns, one.sent_ns)
    return f"{owner.name} {shut}: {owner.run(f'sysctl {FORWARDING}')}" if shut else ""
