"""Losses that no counter and no event tells, from the frames and the settings alone. Pure.

A stack that is told to ignore echoes, a frame for a MAC that nobody has, a container that went
away: the frames show that nothing came back, and the rest of the picture shows why.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.diagnosis.departures import Departure, explain_departure
from analyzer.diagnosis.described_packets import describe_packet
from analyzer.diagnosis.explain import BY_COUNTERS, place_of
from analyzer.diagnosis.filtered import advise_at, chains_of
from analyzer.diagnosis.lost_flows import Columns
from analyzer.diagnosis.meanwhile import covering, setting_spells
from analyzer.diagnosis.port_settings import Explanation
from analyzer.diagnosis.reasons import NETFILTER, Packet
from analyzer.diagnosis.settings import Scene, explain_bridge, name_rules
from analyzer.model.batch import Batch
from analyzer.model.evidence import KernelEvent
from analyzer.model.flow_rows import ArpRow
from analyzer.model.journeys import Status
from analyzer.model.report import LossRow
from analyzer.model.vantage import Role, Vantage
from analyzer.net.icmp import ECHO_REQUEST, ECHO_REQUEST_V6
from analyzer.net.ip import ICMP, ICMPV6, TCP, UDP
from analyzer.net.tcp_flags import SYN, SYN_ACK
from analyzer.recorders.settings.nftables_rules import look_at

IGNORE_ALL = "net.ipv4.icmp_echo_ignore_all"
_FOR_EVER = (1 << 63) - 1
MOST_ASKED = 1 << 19
"""packets that did not reach the container that they are for"""


def unanswered_echoes(
    silent: Iterable[dict[str, Any]], frames: Columns, explained: Sequence[LossRow], scene: Scene
) -> list[LossRow]:
    """Requests that reached a stack which is told to answer none, or whose filter counted them.

    silent: protocol, source, destination, at (the vantage that they reached), packets, times_ns,
    last_frame (an example in ``frames``) of echoes that are not answered.
    """
    explained_already = {(row.source, row.destination, row.last_seen) for row in explained}
    rows = []
    for row in silent:
        last = scene.vantages[row["at"]]
        if (row["source"], row["destination"], last.name) in explained_already:
            continue
        if explanation := _silence(row, last, frames, scene):
            reason, advice = explanation
            place = place_of(last, scene)
            whose = last.container if place.where == "inside" else "the host"
            rows.append(
                LossRow(
                    row["protocol"],
                    row["source"],
                    row["destination"],
                    last.name,
                    "",
                    row["packets"],
                    reason=reason,
                    location=f"in {whose}'s stack, behind {last.name}",
                    advice=advice,
                    first_ns=min(row["times_ns"], default=None),
                    last_ns=max(row["times_ns"], default=None),
                )
            )
    return rows


def _silence(
    row: dict[str, Any], last: Vantage, frames: Columns, scene: Scene
) -> Explanation | None:
    """Why a stack does not answer echoes that reached it."""
    if row["began"] != row["at"] and _leaves_by(last, row["destination"]):
        return None
    place = place_of(last, scene)
    if row["protocol"] == "icmp" and (told := _ignored(row, last, scene)):
        return "echo ignored", f"{told}: {place.run(f'sysctl {IGNORE_ALL}')}"
    packet = describe_packet(frames, row["last_frame"], row["protocol"])
    rules = scene.moved(last.netns, packet, chains_of(place, packet, scene, last.netns))
    if not rules or rules[0].packets < row["packets"]:
        return None
    return BY_COUNTERS, advise_at(NETFILTER, "", place, packet, scene, last.netns)


def _ignored(row: dict[str, Any], last: Vantage, scene: Scene) -> str:
    """Whether, and when, the stack is told to answer none; '' where it is not."""
    spells = setting_spells(scene.events, last.netns, IGNORE_ALL, "1")
    if spells is None:
        told = scene.sysctl(last.netns, IGNORE_ALL) == "1"
        return "it is told to answer no echo" if told else ""
    spell = covering(spells, row["times_ns"])
    return f"it was told to answer no echo {spell.when}" if spell else ""


def _leaves_by(last: Vantage, destination: str) -> bool:
    """Whether what came from elsewhere leaves the host there: its stack has let it pass."""
    if last.role is Role.CONTAINER or last.is_bridge:
        return False
    return not last.master_ifindex or last.container == destination


def unheard_askers(
    arp: Sequence[ArpRow], scene: Scene, vanished: Collection[str] = ()
) -> list[LossRow]:
    """Requests that nobody answered, whose target's port lets nothing through.

    vanished: containers of which an interface went away meanwhile: no port is to blame for that.
    """
    rows = []
    for row in arp:
        port = _port_of(row.target_ip, scene)
        if row.state != "unanswered" or port is None or port.container in vanished:
            continue
        bearers = [v for v in scene.vantages if row.asker_mac in (v.peer_mac, v.mac)]
        by_name = [v for v in bearers if v.container == row.asker] or bearers
        asker = next((v for v in by_name if v.master_ifindex), next(iter(by_name), port))
        explanation = explain_bridge(asker, port, port.peer_mac, Packet("arp"), scene)
        if not explanation and row.seen and port.name not in row.seen:
            explanation = _bridge_rule(row, asker, port, scene)
        if explanation and asker is not port:
            reason, advice = explanation
            rows.append(
                LossRow(
                    "arp",
                    row.asker,
                    port.container,
                    asker.name,
                    port.name,
                    row.requests,
                    reason=reason,
                    location=f"in bridge {port.bridge}",
                    advice=advice,
                )
            )
    return rows


def _bridge_rule(row: ArpRow, asker: Vantage, port: Vantage, scene: Scene) -> Explanation | None:
    """The rule of ebtables or of nftables' bridge family that counted as many as were asked."""
    packet = Packet("arp", incoming_port=asker.interface, outgoing_port=port.interface)
    hooks = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
    for rule in scene.moved(port.netns, packet, hooks):
        if rule.table.startswith("bridge ") and rule.packets >= row.requests:
            return BY_COUNTERS, f"{name_rules([rule])}: {look_at(rule)}; ebtables -L --Lc"
    return None


def _port_of(address: str, scene: Scene) -> Vantage | None:
    """The bridge port behind which an address lives."""
    ports = [
        v
        for v in scene.vantages
        if v.master_ifindex and address in [a.partition("/")[0] for a in v.peer_addresses]
    ]
    return ports[0] if len(ports) == 1 else None


class Asked:
    """An aggregator: what asked something of a container and was not seen to come there."""

    def __init__(self) -> None:
        self._rows: list[pl.DataFrame] = []
        self._count = 0

    def add(self, batch: Batch) -> None:
        """Take in one batch; of too many packets (`MOST_ASKED`) those of later batches go."""
        owners = pl.Series([v.container for v in batch.vantages], dtype=pl.String)
        packets = batch.packets
        asks = _asks(packets["first_frame"].to_numpy(), batch.frames)
        asks &= ~packets["stray"].to_numpy() & (packets["status"].to_numpy() != Status.LOST)
        if self._count > MOST_ASKED or not asks.any():
            return
        asked = packets[np.flatnonzero(asks)].select(
            "ts_ns",
            "number",
            "last_vantage",
            pl.col("protocol", "source", "destination").cast(pl.String),
        )
        ports = {v.container for v in batch.vantages if v.role is Role.HOST_VETH} - {""}
        away = asked.filter(
            pl.col("destination").is_in(list(ports)),
            pl.col("destination") != owners.gather(asked["last_vantage"]),
        )
        self._count += len(away)
        self._rows.append(away)

    def went_away(
        self,
        gone_ns: Sequence[int | None],
        since_ns: Sequence[int | None],
        scene: Scene,
        events: Sequence[KernelEvent] = (),
    ) -> list[LossRow]:
        """What was asked of a container whose interface vanished while the capture went on.

        gone_ns, since_ns: [v] when each vantage's interface vanished, if it did; since when it was
        captured. Until the container is back (a vantage of it begins), nobody can answer. events:
        what the engine told.
        """
        ports = [v.container if v.role is Role.HOST_VETH else "" for v in scene.vantages]
        rows: list[LossRow] = []
        for place, (container, ended) in enumerate(zip(ports, gone_ns, strict=True)):
            if not container or not ended or not self._rows:
                continue
            back = [
                since
                for name, since in zip(ports, since_ns, strict=True)
                if name == container and since and since > ended
            ]
            late = (
                pl.concat(self._rows)
                .sort("number")
                .filter(
                    (pl.col("destination") == container)
                    & (pl.col("ts_ns") >= ended)
                    & (pl.col("ts_ns") < min(back, default=_FOR_EVER))
                )
            )
            departure = explain_departure(scene.vantages[place], ended, events)
            rows += _gone_rows(late, departure, scene.vantages[place], scene)
        return rows


def _gone_rows(
    late: pl.DataFrame, departure: Departure, port: Vantage, scene: Scene
) -> Iterator[LossRow]:
    for (protocol, source), group in late.group_by("protocol", "source", maintain_order=True):
        last = scene.vantages[group["last_vantage"][0]]
        yield LossRow(
            str(protocol),
            str(source),
            port.container,
            last.name,
            "",
            len(group),
            reason=departure.reason,
            location=f"at {port.bridge or last.name}: {departure.what}",
            advice=departure.advice,
            first_ns=group["ts_ns"].to_numpy().min().item(),
            last_ns=group["ts_ns"].to_numpy().max().item(),
            certain=len(group),
        )


def _asks(first: npt.NDArray[Any], frames: Columns) -> npt.NDArray[np.bool_]:
    """[p] whether a packet wants an answer: an echo request, a SYN, a datagram.

    The rest of a connection that a stopping container leaves behind is no loss.
    """
    protocol, kind = frames["protocol"][first], frames["icmp_type"][first]
    syn = (protocol == TCP) & (frames["tcp_flags"][first] & SYN_ACK == SYN)
    asks: npt.NDArray[np.bool_] = syn | (protocol == UDP)
    asks |= (protocol == ICMP) & (kind == ECHO_REQUEST)
    asks |= (protocol == ICMPV6) & (kind == ECHO_REQUEST_V6)
    return asks
