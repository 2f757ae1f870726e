"""Losses with their reason: from tied drops, settings and moved rules to the report's rows. Pure.

A loss that the topology proved gets its reason here, and packets that reached an interface and
were dropped in the stack behind it become losses of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy.typing as npt
import polars as pl

from analyzer.diagnosis.nat_rules import Translated, older_entry
from analyzer.diagnosis.port_settings import Explanation
from analyzer.diagnosis.reasons import NO_SOCKET, NOT_SPECIFIED, Packet, Place, advise
from analyzer.diagnosis.settings import (
    Scene,
    explain_bridge,
    explain_veth,
    is_isolation,
    name_rules,
)
from analyzer.diagnosis.unnamed_rules import no_rule, one_of
from analyzer.diagnosis.way_out import is_on_the_way_out, port_of, way_out
from analyzer.model.report import LossRow
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ethernet import mac_text
from analyzer.net.ip import address_text
from analyzer.recorders.drops.record import UNKNOWN
from analyzer.recorders.settings.iptables_rules import Rule
from analyzer.recorders.settings.nftables_rules import look_at

NETFILTER = "NETFILTER_DROP"
TOO_BIG = "PKT_TOO_BIG"
BY_COUNTERS = "packet filter, by its counters"
"""no event of the kernel's told so, but a rule that fits counted while capturing"""
GROUP = ["protocol", "source", "destination", "last_vantage", "expected"]

Columns = Mapping[str, npt.NDArray[Any]]
Tied = tuple[str, str]
"""reason and place in the kernel"""


def explain_lost(
    rows: Sequence[LossRow],
    table: pl.DataFrame,
    counted: Mapping[tuple[Any, ...], Counter[Tied]],
    frames: Columns,
    scene: Scene,
) -> list[LossRow]:
    """Fill reason, location and advice of the losses that the topology proved.

    table: their groups, in the order of ``rows``: GROUP and last_frame, of one of them. counted:
    values of GROUP → the kernel's reasons for packets of the group.
    """
    explained = []
    for row, group in zip(rows, table.iter_rows(named=True), strict=True):
        reasons = counted.get(tuple(group[name] for name in GROUP), Counter())
        packet = describe_packet(frames, group["last_frame"], row.protocol)
        last, expected = (scene.vantages[group[n]] for n in ("last_vantage", "expected"))
        mac = mac_text(int(frames["eth_dst"][group["last_frame"]]))
        explained.append(_explained(row, reasons, last, expected, mac, packet, scene))
    return explained


def _explained(
    row: LossRow,
    reasons: Counter[Tied],
    last: Vantage,
    expected: Vantage,
    mac: str,
    packet: Packet,
    scene: Scene,
) -> LossRow:
    at_bridge = bool(last.master_ifindex and expected.master_ifindex) or last.role is Role.BRIDGE
    place = Place("bridge" if at_bridge else "veth", expected.interface, engine=scene.engine)
    device = expected.bridge or expected.interface
    packet = replace(
        packet,
        incoming=last.bridge if last.master_ifindex else "",
        outgoing=device,
        incoming_port=last.interface if last.master_ifindex else "",
        outgoing_port=expected.interface if expected.master_ifindex else "",
    )
    if reasons and reasons.most_common(1)[0][0][0] == "BRIDGE_INGRESS_STP_STATE":
        place = replace(place, device=last.interface)
    explanation = _by_reasons(reasons, row.packets, place, packet, scene, last.netns)
    if explanation is None or reasons.most_common(1)[0][0][0] == NOT_SPECIFIED:
        of_settings = (
            explain_bridge(last, expected, mac, packet, scene)
            if at_bridge
            else explain_veth(last, expected, packet, scene)
        )
        explanation = of_settings or explanation or _by_rules(last, at_bridge, packet, scene)
    if explanation is None:
        return row
    reason, advice = explanation
    location = _with_code(row.location, reasons)
    certain = max(row.certain, min(reasons.total(), row.packets))
    return replace(row, reason=reason, advice=advice, location=location, certain=certain)


def _by_reasons(
    reasons: Counter[Tied], packets: int, place: Place, packet: Packet, scene: Scene, netns: int
) -> Explanation | None:
    """From the kernel's own reasons, the most frequent first."""
    if not reasons:
        return None
    (reason, location), _ = reasons.most_common(1)[0]
    by_reason: Counter[str] = Counter()
    for (name, _), count in reasons.items():
        by_reason[name] += count
    if len(by_reason) == 1 and by_reason.total() == packets:
        text = reason
    else:
        text = ", ".join(f"{name} ({n} of {packets})" for name, n in by_reason.most_common())
    return text, advise_at(reason, location, place, packet, scene, netns)


def advise_at(
    reason: str, location: str, place: Place, packet: Packet, scene: Scene, netns: int
) -> str:
    """The advice for a kernel's reason; for the packet filter with the rule that counted."""
    if reason == NO_SOCKET and (entry := _older_entry(packet, scene, netns)):
        return entry
    if reason != NETFILTER:
        told = _error_dropped(packet, place, scene, netns) if reason == TOO_BIG else ""
        return advise(reason, location, place, packet) + told
    hooks = chains_of(place, packet, scene, netns)
    rules = _of_backend(scene.moved(netns, packet, hooks), location)
    if not rules and (candidates := scene.uncounted(netns, packet, hooks)):
        return one_of(candidates, place)
    if not rules:
        return _translated_back(place, packet, scene, netns) or no_rule(location, place)
    first = rules[0]
    look = place.run(look_at(first))
    if is_isolation(rules):
        return (
            f"Docker keeps its networks apart ({name_rules(rules)}): connect both containers to "
            f"one network (docker network connect NETWORK CONTAINER); {look}"
        )
    return f"{name_rules(rules)}: {look}"


def _error_dropped(packet: Packet, place: Place, scene: Scene, netns: int) -> str:
    """The rule that counted the ICMP errors which tell the sender so; '' where none did."""
    error = Packet(
        "icmp", destination_ip=packet.source_ip, outgoing=packet.incoming, is_answer=True
    )
    rules = scene.moved(netns, error, chains_of(place, error, scene, netns))
    if not rules:
        return ""
    return (
        f"; the ICMP errors that tell the sender so were dropped: {name_rules(rules[:1])}: "
        f"{place.run(look_at(rules[0]))}"
    )


def _older_entry(packet: Packet, scene: Scene, netns: int) -> str:
    """Whether a rule should have sent it elsewhere."""
    ends = (packet.source_ip, packet.destination_ip, packet.port)
    asked = Translated(packet.protocol, *ends, incoming=packet.incoming)
    return older_entry(scene.rulesets.get(netns, ()), asked)


def _of_backend(rules: Sequence[Rule], location: str) -> Sequence[Rule]:
    """Those that can have dropped in this function of the kernel's: a rule of nf_tables does so
    in ``nft_do_chain``, since Linux 6.7 by name; one of the legacy tables in the hook itself."""
    function = location.partition("+")[0]
    legacy = [rule for rule in rules if rule.tool.endswith("-legacy")]
    if function == "nft_do_chain":
        return [rule for rule in rules if rule not in legacy]
    return legacy if function == "nf_hook_slow" and legacy else rules


def _translated_back(place: Place, packet: Packet, scene: Scene, netns: int) -> str:
    """What counted in FORWARD, of a packet to the host itself, which connection tracking may have
    translated before it came there."""
    if place.where != "host" or "INPUT" not in chains_of(place, packet, scene, netns):
        return ""
    hooks = frozenset({"FORWARD", "POSTROUTING"})
    rules = scene.moved(netns, replace(packet, destination_ip="", outgoing=""), hooks)
    if not rules:
        return ""
    return (
        "no rule of INPUT counted; if it was an answer, translated back to a container's address, "
        f"then {name_rules(rules)}: {place.run(look_at(rules[0]))}"
    )


def chains_of(place: Place, packet: Packet, scene: Scene, netns: int) -> frozenset[str]:
    """The hooks that the packet passes at the place, as the packet filter's own chains."""
    if packet.is_answer:
        return frozenset({"OUTPUT", "POSTROUTING"})
    local = packet.destination_ip in scene.addresses(netns)
    if place.where in ("host", "inside") and local:
        return frozenset({"PREROUTING", "INPUT"})
    return frozenset({"PREROUTING", "FORWARD", "POSTROUTING"})


def _by_rules(last: Vantage, at_bridge: bool, packet: Packet, scene: Scene) -> Explanation | None:
    """Without an event: a rule that counted, where bridged frames pass the packet filter."""
    if not at_bridge or scene.sysctls.get("net.bridge.bridge-nf-call-iptables") != "1":
        return None
    place = Place("bridge", engine=scene.engine)
    if not scene.moved(last.netns, packet, chains_of(place, packet, scene, last.netns)):
        return None
    return BY_COUNTERS, advise_at(NETFILTER, "", place, packet, scene, last.netns)


def _with_code(location: str, reasons: Counter[Tied]) -> str:
    """The place with the kernel's function that dropped there."""
    code = [place for (_, place), _ in reasons.most_common() if place]
    return f"{location} (kernel: {code[0]})" if code else location


def stack_losses(groups: Iterable[dict[str, Any]], frames: Columns, scene: Scene) -> list[LossRow]:
    """Rows of packets that ended in stacks: see `analyzer.diagnosis.dropped_packets`."""
    return [_stack_row(row, frames, scene) for row in groups]


def _stack_row(row: dict[str, Any], frames: Columns, scene: Scene) -> LossRow:
    last = scene.vantages[row["last_vantage"]]
    packet = describe_packet(frames, row["last_frame"], row["protocol"])
    if row["answer"]:
        packet = replace(
            packet,
            source_ip=packet.destination_ip,
            destination_ip=packet.source_ip,
            port=packet.source_port,
            source_port=packet.port,
            is_answer=True,
        )
    device = last.bridge if last.master_ifindex else last.interface
    packet = replace(packet, **{"outgoing" if row["answer"] else "incoming": device})
    place = place_of(last, scene)
    whose = f"{last.container}" if place.where == "inside" else "the host"
    what = f"in {whose}'s stack, behind {last.name}"
    out = None
    if is_on_the_way_out(row["reason"]) and not row["answer"]:
        out = port_of(mac_text(int(frames["eth_dst"][row["last_frame"]])), last, scene)
        place, what = way_out(place, last, out)
    if row["answer"]:
        what = f"in {whose}'s stack, its answer dropped before it left {last.name}"
    code = f" (kernel: {row['location']})" if row["location"] else ""
    return LossRow(
        protocol=row["protocol"],
        source=row["source"],
        destination=row["destination"],
        last_seen=last.name,
        expected=out.name if out else "",
        packets=row["packets"],
        reason=row["reason"] or UNKNOWN,
        location=what + code,
        advice=advise_at(row["reason"], row["location"], place, packet, scene, last.netns),
        first_ns=row["first_ns"],
        last_ns=row["last_ns"],
        certain=row["packets"],
    )


def place_of(vantage: Vantage, scene: Scene) -> Place:
    """The stack behind an interface."""
    if vantage.role is Role.CONTAINER:
        return Place("inside", vantage.interface, vantage.container, scene.engine)
    return Place("host", vantage.interface, engine=scene.engine)


def describe_packet(frames: Columns, row: int, protocol: str) -> Packet:
    """The frame's packet, for an explanation."""
    ip = frames["ip_version"][row] > 0
    return Packet(
        protocol=protocol,
        source_ip=address_text(frames["src_hi"][row], frames["src_lo"][row]) if ip else "",
        destination_ip=address_text(frames["dst_hi"][row], frames["dst_lo"][row]) if ip else "",
        port=int(frames["dst_port"][row]) if protocol in ("tcp", "udp") else 0,
        source_port=int(frames["src_port"][row]) if protocol in ("tcp", "udp") else 0,
        ttl=int(frames["ttl"][row]),
        len_bytes=int(frames["wirelen"][row]),
    )
