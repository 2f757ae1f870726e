"""Which rule of a packet filter made an RST or an ICMP error: one that was read, and counted.

A rule with REJECT answers in the name of who was asked. So does whatever else stands between the
two ends, and an RST may have come by an interface that was not captured: that it was a rule is
said where its counter tells it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from analyzer.diagnosis.reasons import Packet, Place
from analyzer.diagnosis.settings import Scene, name_rules
from analyzer.findings.no_answer import has_address, routed
from analyzer.findings.rule import FindingInputs
from analyzer.model.flow_rows import IcmpErrorRow
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ip import address_text
from analyzer.recorders.settings.iptables_rules import Rule
from analyzer.recorders.settings.nftables_rules import look_at

ON_THE_WAY, TO_ITSELF = frozenset({"PREROUTING", "FORWARD"}), frozenset({"PREROUTING", "INPUT"})
"""hooks that packets pass which a namespace forwards, and those for itself"""


class Rejecting(NamedTuple):
    rule: str = ""
    """that made it, and how to look at it"""
    read: bool = False
    """the rules were read at both ends: where none is told, none of them counted"""


def rejecting(
    inputs: FindingInputs,
    row: Mapping[str, Any],
    netns: int,
    container: str = "",
    *,
    itself: bool = False,
) -> Rejecting:
    """What is known of the rules of a namespace that make RSTs: the host's, or a container's own.

    row: of `analyzer.flows.resets.Resets.rows`. itself: the host was asked, not one behind it.
    """
    asked = Packet("tcp", count=row["count"])
    if row["refusal"]:
        address = address_text(row["hi"], row["lo"])
        asked = Packet("tcp", destination_ip=address, port=row["port"], count=row["count"])
    hooks = TO_ITSELF if container or itself else ON_THE_WAY
    place = Place("inside" if container else "host", "", container, inputs.engine)
    return _by_a_rule(inputs, asked, (netns, hooks, place), _resets)


def reporting(inputs: FindingInputs, row: IcmpErrorRow, netns: int, place: Place) -> Rejecting:
    """The same of ICMP errors."""
    ends = row.source_ip, row.destination_ip, row.destination_port or 0
    asked = Packet(row.protocol, *ends, count=row.errors)
    return _by_a_rule(inputs, asked, (netns, ON_THE_WAY | TO_ITSELF, place), _reports)


def _by_a_rule(
    inputs: FindingInputs,
    asked: Packet,
    where: tuple[int, frozenset[str], Place],
    makes: Callable[[Rule], bool],
) -> Rejecting:
    netns, hooks, place = where
    scene = Scene(inputs.outlook.vantages, facts=inputs.facts)
    for counted in filter(makes, scene.moved(netns, asked, hooks)):
        return Rejecting(f"{name_rules([counted])}: {place.run(look_at(counted))}", read=True)
    for silent in filter(makes, scene.uncounted(netns, asked, hooks)):
        rule = f"likely {silent.told()}, which has no counter: {place.run(look_at(silent))}"
        return Rejecting(rule, read=True)
    return Rejecting(read=scene.read_rules(netns))


def _resets(rule: Rule) -> bool:
    return "tcp-reset" in rule.text or "tcp reset" in rule.text


def _reports(rule: Rule) -> bool:
    return "reject" in rule.text.lower() and not _resets(rule)


def would_be_seen(inputs: FindingInputs, row: Mapping[str, Any]) -> bool:
    """Whether an RST of who its address names would have been seen on its way in: by a captured
    interface of its own, or by the one that the host routes to it by. What comes in by another port
    of a bridge is handed to the bridge device when it has gone out (br_pass_frame_up())."""
    address, vantages = address_text(row["hi"], row["lo"]), inputs.outlook.vantages
    if any(
        v.role in (Role.CONTAINER, Role.HOST_VETH) and has_address(v, address) for v in vantages
    ):
        return True
    onward = routed(inputs, vantages[row["vantage"]].netns, address)
    return onward is not None and any(_is_device(v, onward.device, row, inputs) for v in vantages)


def _is_device(
    vantage: Vantage, device: str, row: Mapping[str, Any], inputs: FindingInputs
) -> bool:
    here = inputs.outlook.vantages[row["vantage"]]
    if here.master_ifindex and device == here.bridge:
        return False
    return (vantage.netns, vantage.interface) == (here.netns, device) and vantage is not here
