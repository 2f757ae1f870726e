"""Who has joined a multicast group and did not get what was sent to it, and who got it unasked.

A bridge that snoops sends to the ports of its MDB only, as long as there is a querier; without one
it floods (net/bridge/br_multicast.c, br_multicast_querier_exists). Who has joined is what the own
stacks of the nodes told, at both ends of the capture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from analyzer.findings.counted import Owner, owner_of
from analyzer.findings.rule import INFO, WARNING, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_plural
from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.frames import EGRESS, INGRESS
from analyzer.model.kernel_state import BridgeState, PortState
from analyzer.model.report import Finding
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ip import address_text

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


class _Station(NamedTuple):
    """A container's interface and its port."""

    port: Vantage
    inside: Vantage
    got: int
    """of the stream's packets"""


def find(inputs: FindingInputs) -> Iterator[Finding]:
    if not inputs.outlook.complete or inputs.outlook.one_way:
        return
    for row in inputs.multicast_streams:
        group = address_text(row["dst_hi"], row["dst_lo"])
        stations = list(_stations(inputs, row))
        members = [s for s in stations if _has_joined(inputs, s.inside, group, all)]
        for station in members:
            if not station.got and row["packets"] >= _FEWEST:
                got = [other.inside.container for other in members if other.got]
                yield NOT_RECEIVED.finding(_missing(inputs, row, group, station, got))
        unasked = [s for s in stations if s.got and _has_joined(inputs, s.inside, group, none_of)]
        if unasked and row["packets"] >= _MANY:
            yield NOT_JOINED.finding(_flooded(inputs, row, group, unasked))


def none_of(values: Iterator[bool]) -> bool:
    """Whether none holds."""
    return not any(values)


def _stations(inputs: FindingInputs, row: Mapping[str, Any]) -> Iterator[_Station]:
    """The other containers on the bridge that were captured from before the stream to its end."""
    vantages, seen = inputs.outlook.vantages, row["seen"]
    inside = {v.key: v for v in vantages if v.role is Role.CONTAINER}
    bridges = {
        (vantages[at].space, vantages[at].master_ifindex)
        for at, direction in seen
        if direction == INGRESS and vantages[at].master_ifindex
    }
    bridges |= {vantages[at].key for at, way in seen if way == EGRESS and vantages[at].is_bridge}
    for at, port in enumerate(vantages):
        station = inside.get(port.peer_key or (0, 0))
        if (port.space, port.master_ifindex) not in bridges or station is None:
            continue
        since, gone = inputs.outlook.lifetime(at)
        there = since <= row["first_ns"] and (gone is None or gone >= row["last_ns"])
        if there and not seen.get((at, INGRESS)):
            yield _Station(port, station, seen.get((at, EGRESS), 0))


def _has_joined(inputs: FindingInputs, inside: Vantage, group: str, how: Any) -> bool:
    """Of all moments (how: all), or of none; False where its stack was not read at both ends."""
    moments = _moments(inputs, inside.netns)
    if len(moments) < 2 or any(
        "memberships" in one.absent or "memberships" in one.truncated for one in moments
    ):
        return False
    joined = (
        any((m.interface, m.group) == (inside.interface, group) for m in one.memberships)
        for one in moments
    )
    return bool(how(joined))


def _moments(inputs: FindingInputs, netns: int) -> list[NamespaceEvidence]:
    return [one for one in inputs.evidence.moments if one.netns == netns]


def _missing(
    inputs: FindingInputs,
    row: Mapping[str, Any],
    group: str,
    station: _Station,
    got: Sequence[str],
) -> str:
    port, who = station.port, station.inside.container
    owner, member = owner_of(inputs, port.netns), owner_of(inputs, station.inside.netns)
    others = f"; {', '.join(got[:_TOLD])} got it" if got else ""
    look = f"bridge mdb show dev {port.bridge}; ip -d link show {port.bridge}"
    looks = [owner.run(look) if owner else look]
    if member:
        looks.append(member.run(f"ip maddr show dev {station.inside.interface}"))
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


def _flooded(
    inputs: FindingInputs, row: Mapping[str, Any], group: str, unasked: Sequence[_Station]
) -> str:
    names = [one.inside.container for one in unasked]
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
        f"{port.bridge} sent {row['packets']} packets of {row['source']} for {group} to "
        f"{', '.join(names[:_TOLD])}{more} too, who have not joined it{why}: "
        f"{owner.run(look) if owner else look}"
    )


RULE = Rule(
    (NOT_RECEIVED, NOT_JOINED), find, place=191, needs="counters, the bridge's ports captured"
)
