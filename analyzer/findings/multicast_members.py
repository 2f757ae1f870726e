"""Who has joined a multicast group and did not get what was sent to it, and who got it unasked.

A bridge that snoops sends to the ports of its MDB only, as long as there is a querier; without one
it floods (net/bridge/br_multicast.c, br_multicast_querier_exists). Who has joined is what the own
stacks of the nodes told, at both ends of the capture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from analyzer.findings.counted import Owner, owner_of
from analyzer.findings.rule import INFO, WARNING, Code, FindingInputs, Rule
from analyzer.flows.multicast_receivers import Station, group_of, has_joined, stations
from analyzer.formatting.numbers import format_plural
from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.kernel_state import BridgeState, PortState
from analyzer.model.report import Finding
from analyzer.model.vantage import Vantage

NOT_RECEIVED = Code(
    "multicast-not-received",
    (WARNING,),
    "A container has joined a multicast group, and a bridge did not send it what came for it.",
    "bridge mdb show dev BRIDGE; ip -d link show BRIDGE: mcast_snooping, mcast_querier",
)
NOT_JOINED = Code(
    "multicast-flooded",
    (INFO,),
    "A bridge sends what is for a multicast group to containers that have not joined it.",
    "ip -d link show BRIDGE; a querier lets it send to members only: mcast_querier 1",
)
_FEWEST, _MANY = 3, 100
"""packets of which it is told that somebody did not get them; that somebody got them unasked"""
_TOLD = 5
"""names"""


def find(inputs: FindingInputs) -> Iterator[Finding]:
    if not inputs.outlook.complete or inputs.outlook.one_way:
        return
    reports = inputs.flows.get("multicast", ())
    for row in inputs.multicast_streams:
        all_ = list(stations(row, inputs.outlook))
        joined = [has_joined(one, row, inputs.evidence, reports) for one in all_]
        members = [one for one, is_in in zip(all_, joined, strict=True) if is_in]
        for station in members:
            if not station.got and row["packets"] >= _FEWEST:
                got = [other.container for other in members if other.got]
                yield NOT_RECEIVED.finding(_missing(inputs, row, station, got))
        unasked = [s for s, is_in in zip(all_, joined, strict=True) if s.got and is_in is False]
        if unasked and row["packets"] >= _MANY:
            yield NOT_JOINED.finding(_flooded(inputs, row, unasked))


def _moments(inputs: FindingInputs, netns: int) -> list[NamespaceEvidence]:
    return [one for one in inputs.evidence.moments if one.netns == netns]


def _missing(
    inputs: FindingInputs, row: Mapping[str, Any], station: Station, got: Sequence[str]
) -> str:
    port, inside, who = station.port, station.inside, station.container
    group, owner = group_of(row), owner_of(inputs, port.netns)
    member = owner_of(inputs, inside.netns) if inside else None
    others = f"; {', '.join(got[:_TOLD])} got it" if got else ""
    look = f"bridge mdb show dev {port.bridge}; ip -d link show {port.bridge}"
    looks = [owner.run(look) if owner else look]
    if member and inside:
        looks.append(member.run(f"ip maddr show dev {inside.interface}"))
    return (
        f"{format_plural(row['packets'], 'packet')} of {row['source']} for {group} did not reach "
        f"{who}, which has joined it: none left by its port {port.name}"
        f"{_why(inputs, port, group, who)}{others}: {'; '.join(looks)}"
    )


def _why(inputs: FindingInputs, port: Vantage, group: str, who: str) -> str:
    """What the bridge's own state says, where it was so at both ends."""
    moments = _moments(inputs, port.netns)
    if any("mdb" in one.absent or "mdb" in one.truncated for one in moments):
        return ""
    ports = [one for m in moments for one in m.ports if one.ifindex == port.ifindex]
    bridges = [one for m in moments for one in m.bridges if one.ifindex == port.master_ifindex]
    entries = {(e.port, e.group) for m in moments for e in m.mdb if e.bridge == port.master_ifindex}
    if _all(ports, lambda one: not one.mcast_flood) and not _snoops(bridges):
        return (
            ", whose mcast_flood is off: bridge link set dev " + f"{port.interface} mcast_flood on"
        )
    if _snoops(bridges) and (port.ifindex, group) not in entries:
        return (
            f"; {port.bridge} snoops, and its MDB has no entry of that port for the group: it "
            f"heard no report of {who}'s, or none since it forgot it; {_querier(inputs, bridges)}"
        )
    return ""


def _all(states: Sequence[PortState], holds: Any) -> bool:
    return bool(states) and all(map(holds, states))


def _snoops(bridges: Sequence[BridgeState]) -> bool:
    return bool(bridges) and all(one.mcast_snooping for one in bridges)


def _querier(inputs: FindingInputs, bridges: Sequence[BridgeState]) -> str:
    if any(one.mcast_querier for one in bridges):
        return "it is a querier itself (mcast_querier 1)"
    rows = inputs.flows.get("multicast", ())
    queriers = dict.fromkeys(one.node for one in rows if one.role == "querier")
    if queriers:
        return f"{', '.join(list(queriers)[:_TOLD])} asks as querier"
    return "no querier was seen"


def _flooded(inputs: FindingInputs, row: Mapping[str, Any], unasked: Sequence[Station]) -> str:
    names = [one.container for one in unasked]
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    port = unasked[0].port
    owner: Owner | None = owner_of(inputs, port.netns)
    bridges = [
        one
        for m in _moments(inputs, port.netns)
        for one in m.bridges
        if one.ifindex == port.master_ifindex
    ]
    if not bridges:
        why = ""
    elif _snoops(bridges):
        why = f" ({_querier(inputs, bridges)}; without one it floods)"
        if any(one.mcast_querier for one in bridges):
            why = ""
    else:
        why = " (mcast_snooping 0)"
    look = f"ip -d link show {port.bridge}; bridge mdb show dev {port.bridge}"
    return (
        f"{port.bridge} sent {row['packets']} packets of {row['source']} for {group_of(row)} to "
        f"{', '.join(names[:_TOLD])}{more} too, who have not joined it{why}: "
        f"{owner.run(look) if owner else look}"
    )


RULE = Rule(
    (NOT_RECEIVED, NOT_JOINED), find, place=191, needs="counters, the bridge's ports captured"
)
