"""Losses with their reason: from tied drops, settings and moved rules to the report's rows. Pure.

A loss that the topology proved gets its reason here, and packets that reached an interface and
were dropped in the stack behind it become losses of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl
from msgspec.structs import replace

from analyzer.diagnosis.described_packets import describe_flow
from analyzer.diagnosis.drop_places import INPUT, place_of_drop
from analyzer.diagnosis.filtered import advise_at, chains_of
from analyzer.diagnosis.lost_flows import STACK, Columns, LostFlow, Tied
from analyzer.diagnosis.meanwhile import Known, explain_meanwhile
from analyzer.diagnosis.port_settings import Explanation
from analyzer.diagnosis.reasons import NETFILTER, NOT_SPECIFIED, Packet, Place
from analyzer.diagnosis.settings import Scene, explain_bridge, explain_veth, look_at_bridge
from analyzer.diagnosis.way_out import is_on_the_way_out, port_of, way_out
from analyzer.model.report import LossRow
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ethernet import GROUP_BIT, mac_text
from analyzer.recorders.drops.record import UNKNOWN

BY_COUNTERS = "packet filter, by its counters"
"""no event of the kernel's told so, but a rule that fits counted while capturing"""


def explain_lost(
    rows: Sequence[LossRow],
    table: pl.DataFrame,
    flows: Sequence[Sequence[LostFlow]],
    frames: Columns,
    scene: Scene,
) -> list[LossRow]:
    """Fill reason, location and advice of the losses that the topology proved; a row whose flows
    were dropped by this and by that becomes several.

    table: their groups, in the order of ``rows``: GROUP and last_frame, of one of them. flows: of
    each row, as far as they are known.
    """
    explained: list[LossRow] = []
    for row, group, known in zip(rows, table.iter_rows(named=True), flows, strict=True):
        last, expected = (scene.vantages[group[n]] for n in ("last_vantage", "expected"))

        def explain(flow: LostFlow, row: LossRow = row, ends: _Ends = (last, expected)) -> LossRow:
            return _explained(row, flow, ends, frames, scene)

        explained += told_apart(_all_of(row, group["last_frame"], known), explain)
    return explained


_Ends = tuple[Vantage, Vantage]
"""where packets were seen last, and where they should have been next"""


def _all_of(row: LossRow, example: int, flows: Sequence[LostFlow]) -> list[LostFlow]:
    """The row's packets by flow; those of which the flow is not known are one of their own."""
    packets, certain = (
        max(0, total - sum(getattr(flow, name) for flow in flows))
        for name, total in (("packets", row.packets), ("certain", row.certain))
    )
    if not packets:
        return list(flows)
    rest = LostFlow(packets, certain, example, row.first_ns, row.last_ns, is_one=not flows)
    return [*flows, rest]


def told_apart(flows: Sequence[LostFlow], explain: Callable[[LostFlow], LossRow]) -> list[LossRow]:
    """One row for all flows of which the same is to be said.

    What nothing is known of belongs to the others, if what is said of them fits it, too.
    """
    told: dict[tuple[str, str], LostFlow] = {}
    silent: list[LostFlow] = []
    for flow in flows:
        row = explain(flow)
        key = row.reason.partition(" (")[0], row.advice
        if row.reason == UNKNOWN:
            silent.append(flow)
        else:
            told[key] = told[key].with_(flow) if key in told else flow
    for flow in silent:
        fitting = [key for key, one in told.items() if _may_be(flow, key, one, explain)]
        key = fitting[0] if len(told) == len(fitting) == 1 else (UNKNOWN, "")
        told[key] = told[key].with_(flow) if key in told else flow
    return [explain(flow) for flow in told.values()]


def _may_be(
    flow: LostFlow,
    told: tuple[str, str],
    other: LostFlow,
    explain: Callable[[LostFlow], LossRow],
) -> bool:
    """Whether the same would be said of it, if the kernel's reasons were those of the other."""
    return explain(replace(flow, reasons=other.reasons)).advice == told[1]


def _explained(row: LossRow, flow: LostFlow, ends: _Ends, frames: Columns, scene: Scene) -> LossRow:
    last, expected = ends
    row = replace(
        row,
        packets=flow.packets,
        certain=max(flow.certain, min(flow.reasons.total(), flow.packets)),
        first_ns=flow.first_ns if row.first_ns is not None else None,
        last_ns=flow.last_ns if row.last_ns is not None else None,
        port=_port_of(flow, row.protocol),
    )
    at_bridge = bool(last.master_ifindex and expected.master_ifindex) or last.role is Role.BRIDGE
    place = Place("bridge" if at_bridge else "veth", expected.interface, engine=scene.engine)
    packet = _between_ports(describe_flow(flow, frames, row.protocol), last, expected)
    if flow.reasons and flow.reasons.most_common(1)[0][0][0] == "BRIDGE_INGRESS_STP_STATE":
        place = replace(place, device=last.interface)
    explanation = _by_reasons(flow, place, packet, scene, last.netns)
    if explanation is None or flow.reasons.most_common(1)[0][0][0] == NOT_SPECIFIED:
        mac = mac_text(int(frames["eth_dst"][flow.example]))
        known = Known(scene.vantages, scene.events, scene.engine)
        of_settings = (
            explain_bridge(last, expected, mac, packet, scene)
            if at_bridge
            else explain_veth(last, expected, packet, scene)
        )
        explanation = (
            of_settings
            or explain_meanwhile((last, expected), mac, _times(row), known)
            or explanation
            or _by_rules(last, at_bridge, packet, scene)
        )
    if explanation is None:
        innocent = at_bridge and _is_innocent(packet, scene, last.netns)
        return replace(row, advice=look_at_bridge(last, expected)) if innocent else row
    reason, advice = explanation
    location = _with_code(row.location, flow.reasons)
    return replace(row, reason=reason, advice=advice, location=location)


def _port_of(flow: LostFlow, protocol: str) -> int | None:
    return flow.port or None if protocol in ("tcp", "udp") else None


def _times(row: LossRow) -> list[int]:
    return [ns for ns in (row.first_ns, row.last_ns) if ns is not None]


def _between_ports(packet: Packet, last: Vantage, expected: Vantage) -> Packet:
    """With the devices that the packet filter sees of what is bridged."""
    return replace(
        packet,
        incoming=last.bridge if last.master_ifindex else "",
        outgoing=expected.bridge or expected.interface,
        incoming_port=last.interface if last.master_ifindex else "",
        outgoing_port=expected.interface if expected.master_ifindex else "",
    )


def _by_reasons(
    flow: LostFlow, place: Place, packet: Packet, scene: Scene, netns: int
) -> Explanation | None:
    """From the kernel's own reasons, the most frequent first."""
    if not flow.reasons:
        return None
    (reason, location), _ = flow.reasons.most_common(1)[0]
    by_reason: Counter[str] = Counter()
    for (name, _), count in flow.reasons.items():
        by_reason[name] += count
    if len(by_reason) == 1 and by_reason.total() == flow.packets:
        text = reason
    else:
        told = (f"{name} ({n} of {flow.packets})" for name, n in by_reason.most_common())
        text = ", ".join(told)
    return text, advise_at(reason, location, place, packet, scene, netns)


def _by_rules(last: Vantage, at_bridge: bool, packet: Packet, scene: Scene) -> Explanation | None:
    """Without an event: a rule that counted, where bridged frames pass the packet filter."""
    if not at_bridge or scene.sysctls.get("net.bridge.bridge-nf-call-iptables") != "1":
        return None
    place = Place("bridge", engine=scene.engine)
    if not scene.moved(last.netns, packet, chains_of(place, packet, scene, last.netns)):
        return None
    return BY_COUNTERS, advise_at(NETFILTER, "", place, packet, scene, last.netns)


def _is_innocent(packet: Packet, scene: Scene, netns: int) -> bool:
    """Whether no rule of the packet filter can have dropped it: none that fits has counted."""
    hooks = chains_of(Place("bridge"), packet, scene, netns)
    return scene.read_rules(netns) and not (
        scene.moved(netns, packet, hooks) or scene.uncounted(netns, packet, hooks)
    )


def _with_code(location: str, reasons: Counter[Tied]) -> str:
    """The place with the kernel's function that dropped there."""
    code = [place for (_, place), _ in reasons.most_common() if place]
    return f"{location} (kernel: {code[0]})" if code else location


def stack_losses(
    stacks: Mapping[tuple[Any, ...], Mapping[int, LostFlow]], frames: Columns, scene: Scene
) -> list[LossRow]:
    """Rows of packets that ended in stacks: see `analyzer.diagnosis.dropped_packets`."""
    rows: list[LossRow] = []
    for key, flows in stacks.items():
        group = dict(zip(STACK, key, strict=True))

        def explain(flow: LostFlow, group: Mapping[str, Any] = group) -> LossRow:
            return _stack_row(group, flow, frames, scene)

        rows += told_apart(list(flows.values()), explain)
    return rows


def _stack_row(row: Mapping[str, Any], flow: LostFlow, frames: Columns, scene: Scene) -> LossRow:
    last = scene.vantages[row["last_vantage"]]
    packet = describe_flow(flow, frames, row["protocol"])
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
    to, out = int(frames["eth_dst"][flow.example]), None
    bridged = not to & GROUP_BIT and _passes_bridge(mac_text(to), last, scene)
    place = place_of(last, scene)
    if bridged and not row["answer"] and _is_beyond(row, mac_text(to), last):
        place, bridged = Place("inside", container=row["destination"], engine=scene.engine), False
    if place.where == "host" and not row["answer"]:
        packet = replace(packet, outgoing=scene.device_to(last.netns, packet.destination_ip))
    whose = place.container if place.where == "inside" else "the host"
    what = f"in bridge {last.bridge}" if bridged else f"in {whose}'s stack"
    what += f", behind {last.name}"
    if is_on_the_way_out(row["reason"]) and not row["answer"]:
        out = port_of(mac_text(to), last, scene)
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
        packets=flow.packets,
        reason=row["reason"] or UNKNOWN,
        location=what + code,
        advice=advise_at(row["reason"], row["location"], place, packet, scene, last.netns),
        first_ns=flow.first_ns,
        last_ns=flow.last_ns,
        certain=flow.packets,
        port=_port_of(flow, row["protocol"]),
    )


def _passes_bridge(mac: str, port: Vantage, scene: Scene) -> bool:
    """Whether what comes in at a port for this MAC is for another one than the bridge itself."""
    of_port = (port.space, port.bridge) if port.master_ifindex else None
    macs = {v.mac for v in scene.vantages if v.is_bridge and (v.space, v.interface) == of_port}
    return bool(macs) and mac not in macs


def _is_beyond(row: Mapping[str, Any], mac: str, port: Vantage) -> bool:
    """Whether what a bridge passes on was dropped by the stack that it was for, of which nothing
    was captured (``--no-inside``): it left by the port of that, or a socket is to blame."""
    return port.peer_mac == mac or place_of_drop(row["reason"], row["location"]) == INPUT


def place_of(vantage: Vantage, scene: Scene) -> Place:
    """The stack behind an interface."""
    if vantage.role is Role.CONTAINER:
        return Place("inside", vantage.interface, vantage.container, scene.engine)
    return Place("host", vantage.interface, engine=scene.engine)
