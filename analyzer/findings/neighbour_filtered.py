"""Rules that may have kept ARP requests and solicitations, or the answers, from who waited."""

from __future__ import annotations

from analyzer.diagnosis.reasons import Packet
from analyzer.diagnosis.settings import Scene, name_rules
from analyzer.findings.counted import owner_of
from analyzer.findings.no_answer import look_inside
from analyzer.findings.rule import FindingInputs
from analyzer.model.flow_rows import ArpRow
from analyzer.model.vantage import Vantage
from analyzer.recorders.settings.nftables_rules import look_at

_BRIDGED_IPV6 = "net.bridge.bridge-nf-call-ip6tables"


def filtered_between(row: ArpRow, port: Vantage, inputs: FindingInputs) -> str:
    """The rule of ip6tables that counted meanwhile and may have dropped solicitations, which pass
    it where bridge netfilter is on; '' where none did."""
    if ":" not in row.target_ip or inputs.outlook.sysctls.get(_BRIDGED_IPV6) != "1":
        return ""
    scene = Scene(inputs.outlook.vantages, facts=inputs.facts)
    asked = Packet("icmpv6", source_ip=row.asker_ip, incoming=port.bridge, outgoing=port.bridge)
    moved = scene.moved(port.netns, asked, {"PREROUTING", "FORWARD"})
    return f"{name_rules(moved[:1])}: {look_at(moved[0])}" if moved else ""


def filtered_inside(row: ArpRow, inside: Vantage, inputs: FindingInputs) -> str:
    """The rule of the target's own that counted meanwhile and may have dropped requests, or what
    answered them; '' where none did."""
    scene = Scene(inputs.outlook.vantages, facts=inputs.facts)
    protocol = "icmpv6" if ":" in row.target_ip else "arp"
    asked = Packet(protocol, source_ip=row.asker_ip, incoming=inside.interface)
    answer = Packet(protocol, destination_ip=row.asker_ip, outgoing=inside.interface)
    moved = scene.moved(inside.netns, asked, {"PREROUTING", "INPUT"})
    moved = moved or scene.moved(inside.netns, answer, {"OUTPUT", "POSTROUTING"})
    if not moved:
        return ""
    look = look_inside(owner_of(inputs, inside.netns), look_at(moved[0]))
    return f"likely {name_rules(moved[:1])}: {look}"
