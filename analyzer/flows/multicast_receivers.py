"""Which containers on a bridge got a stream of multicast, and whether they had joined its group.

Who was sent it tell the bridge's ports; who has joined tell the containers' own stacks at both ends
of the capture, and what they reported by IGMP or MLD.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import Struct, field

from analyzer.flows.kind import FlowContext
from analyzer.flows.multicast import MulticastRow
from analyzer.model.batch import Outlook
from analyzer.model.evidence import Evidence
from analyzer.model.frames import EGRESS, INGRESS
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ip import address_text


class MulticastReceiver(Struct):
    """A container on the sender's bridge, captured from before the stream to its end."""

    name: str
    """the container's"""
    port: str
    """the vantage by which it is sent what it gets"""
    packets: int | None
    """of the stream, that left by its port; null: none was seen, and some may have been missed"""
    joined: bool | None
    """whether it had joined the group all the time (true), or never (false); null: not known"""


class MulticastStreamRow(Struct):
    """What one node sent to one group."""

    source: str
    source_ip: str
    group: str
    """its address"""
    packets: int
    first_ns: int
    """when the first packet was first seen"""
    last_ns: int
    """when the last one was seen last"""
    receivers: list[MulticastReceiver] = field(default_factory=list)
    """who got it and who did not; of a file without topology, or a capture without the bridge's
    ports, empty"""


class Station(NamedTuple):
    """A container behind a bridge's port."""

    port: Vantage
    inside: Vantage | None
    """its own interface, where that was captured"""
    got: int
    """of the stream's packets"""

    @property
    def container(self) -> str:
        return self.port.container


def stream_rows(
    streams: Iterable[Mapping[str, Any]], context: FlowContext
) -> list[MulticastStreamRow]:
    """The report's rows, of `analyzer.flows.multicast_streams.MulticastStreams.rows`."""
    reports = context.rows_of("multicast")
    return [_row(stream, context, reports) for stream in streams]


def _row(
    stream: Mapping[str, Any], context: FlowContext, reports: Sequence[MulticastRow]
) -> MulticastStreamRow:
    outlook = context.outlook
    whole = outlook.complete and not outlook.one_way
    return MulticastStreamRow(
        source=stream["source"],
        source_ip=address_text(stream["src_hi"], stream["src_lo"]),
        group=group_of(stream),
        packets=stream["packets"],
        first_ns=stream["first_ns"],
        last_ns=stream["last_ns"],
        receivers=[
            MulticastReceiver(
                name=one.container,
                port=one.port.name,
                packets=one.got if one.got or whole else None,
                joined=has_joined(one, stream, context.evidence, reports),
            )
            for one in stations(stream, outlook)
        ],
    )


def group_of(stream: Mapping[str, Any]) -> str:
    """Its address."""
    return address_text(stream["dst_hi"], stream["dst_lo"])


def stations(stream: Mapping[str, Any], outlook: Outlook) -> Iterator[Station]:
    """The other containers on the bridge that were captured from before the stream to its end."""
    vantages, seen = outlook.vantages, stream["seen"]
    inside = {v.key: v for v in vantages if v.role is Role.CONTAINER}
    bridges = {
        (vantages[at].space, vantages[at].master_ifindex)
        for at, direction in seen
        if direction == INGRESS and vantages[at].master_ifindex
    }
    bridges |= {vantages[at].key for at, way in seen if way == EGRESS and vantages[at].is_bridge}
    for at, port in enumerate(vantages):
        if (port.space, port.master_ifindex) not in bridges or not port.container:
            continue
        since, gone = outlook.lifetime(at)
        there = since <= stream["first_ns"] and (gone is None or gone >= stream["last_ns"])
        if there and not seen.get((at, INGRESS)):
            station = inside.get(port.peer_key or (0, 0))
            yield Station(port, station, seen.get((at, EGRESS), 0))


def has_joined(
    station: Station,
    stream: Mapping[str, Any],
    evidence: Evidence,
    reports: Sequence[MulticastRow],
) -> bool | None:
    """True: while all of the stream came; False: never; None: not known."""
    if station.inside is None:
        return None
    group, place = group_of(stream), station.inside.interface
    moments = sorted(
        (one for one in evidence.moments if one.netns == station.inside.netns),
        key=lambda one: one.ts_ns,
    )
    if len(moments) < 2 or any(
        "memberships" in one.absent or "memberships" in one.truncated for one in moments
    ):
        return None
    joined = [
        any((m.interface, m.group) == (place, group) for m in one.memberships) for one in moments
    ]
    said = [
        one
        for one in reports
        if (one.node, one.group, one.role) == (station.container, group, "member")
    ]
    if all(joined):
        return True
    if joined[-1] and any(_held(one, stream) for one in said):
        return True
    return None if any(joined) or said else False


def _held(report: MulticastRow, stream: Mapping[str, Any]) -> bool:
    """Whether it was reported before the stream began, and never left."""
    return report.state == "joined" and report.first_ns <= stream["first_ns"]
