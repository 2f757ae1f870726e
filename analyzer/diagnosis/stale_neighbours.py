"""Frames for an address of the segment that came to another place than where it lives. Pure.

They were sent to another MAC than the one that has it, or the bridge sent them out of other ports.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.diagnosis.explain import place_of
from analyzer.diagnosis.reasons import Packet
from analyzer.diagnosis.settings import Scene, explain_bridge
from analyzer.model.batch import Batch
from analyzer.model.journeys import Hop
from analyzer.model.report import LossRow
from analyzer.model.vantage import Role, Vantage
from analyzer.native.keys import KeyNumbers, mixed
from analyzer.net.ethernet import ARP, GROUP_BIT_U64, mac_text, mac_value
from analyzer.net.ip import address_value

HOST = "host"
NOBODY = "nobody"
_SOMEBODY, _BEHIND = "somebody else behind", "somebody behind"
"""a bridge; a container's port"""
_NAMES = ("protocol", "source", "destination")


class Addressed:
    """An aggregator: to which MACs each direction of a conversation was sent, and who claimed by
    ARP to have which address."""

    def __init__(self) -> None:
        self._numbers, self._ends = KeyNumbers(), KeyNumbers()
        self._rows: list[dict[str, Any]] = []
        self._counts = np.zeros((2, 0), np.int64)
        self._reached: list[set[str]] = []
        self._claims: set[tuple[int, int, int]] = set()

    def add(self, batch: Batch) -> None:
        """Take in the unicast IP packets and the ARP messages of a batch."""
        self._add_claims(batch)
        packets, frames = batch.packets, batch.frames
        first = packets["first_frame"].to_numpy()
        unicast = (frames["eth_dst"][first] & GROUP_BIT_U64) == 0
        sent_to_one = unicast & (frames["ip_version"][first] > 0) & ~packets["stray"].to_numpy()
        rows, first = np.flatnonzero(sent_to_one), first[sent_to_one]
        columns = {name: frames[name][first] for name in ("eth_dst", "dst_hi", "dst_lo")}
        columns["segment"] = batch.journeys.segment[frames["vantage"][first]]
        pair = packets["pair"].to_numpy()[rows]
        groups, fresh = self._numbers.take(mixed(pair, *columns.values()))
        named = packets[rows[fresh]].select(pl.col(*_NAMES).cast(pl.String), "last_vantage")
        for row, at in zip(named.iter_rows(named=True), fresh.tolist(), strict=True):
            self._rows.append(row | {name: int(column[at]) for name, column in columns.items()})
            self._reached.append(set())
        more = np.array([[0], [(1 << 63) - 1]]).repeat(len(fresh), axis=1)
        self._counts = np.concatenate([self._counts, more], axis=1)
        self._counts[0] += np.bincount(groups, minlength=self._counts.shape[1])
        np.minimum.at(self._counts[1], groups, packets["number"].to_numpy()[rows])
        self._add_places(groups, packets["last_vantage"].to_numpy()[rows], batch.vantages)
        self._add_routers(groups, rows, batch)

    def _add_routers(self, groups: npt.NDArray[Any], rows: npt.NDArray[Any], batch: Batch) -> None:
        """Who routed a packet on was reached by it."""
        journeys = batch.journeys
        on = np.flatnonzero((journeys.hop == Hop.ROUTE) & (journeys.packet >= 0))
        group_of = np.full(len(batch.packets), -1, np.int64)
        group_of[rows] = groups
        group = group_of[journeys.packet[on]]
        places = batch.frames["vantage"][on[group >= 0]]
        self._add_places(group[group >= 0], places, batch.vantages)

    def _add_places(
        self, groups: npt.NDArray[Any], places: npt.NDArray[Any], vantages: Sequence[Vantage]
    ) -> None:
        _, fresh = self._ends.take(mixed(groups, places))
        for group, vantage in zip(groups[fresh].tolist(), places[fresh].tolist(), strict=True):
            self._reached[group].add(vantages[vantage].container)

    def _add_claims(self, batch: Batch) -> None:
        """(segment, MAC, IPv4 address) that somebody said by ARP to have: then it moved there."""
        frames, journeys = batch.frames, batch.journeys
        said = (frames["ethertype"] == ARP) & (frames["arp_op"] > 0) & (journeys.packet >= 0)
        rows = np.flatnonzero(said)
        segment = journeys.segment[frames["vantage"][rows]]
        claims = (segment, frames["arp_sha"][rows], frames["arp_spa"][rows])
        self._claims.update(zip(*(column.tolist() for column in claims), strict=True))

    def misaddressed(
        self,
        segments: npt.NDArray[Any],
        explained: Sequence[LossRow],
        scene: Scene,
        vanished: Collection[str] = (),
    ) -> list[LossRow]:
        """All losses, with unicast for an address of this segment that went to a wrong MAC.

        vanished: containers of which an interface went away meanwhile, and with it its port.
        Where that explains it, what the stack at the wrong place said does not matter.
        """
        mac_of, others = _neighbours(segments, scene)
        wrong, replaced = [], set()
        for group in np.argsort(self._counts[1], kind="stable").tolist():
            row = self._rows[group] | {"len": int(self._counts[0, group])}
            wanted = mac_of.get((row["segment"], row["dst_hi"], row["dst_lo"]))
            mac = row["eth_dst"]
            claim = (row["segment"], mac, row["dst_lo"] & 0xFFFFFFFF)
            if wanted is None or mac == wanted or claim in self._claims:
                continue
            owner = others[(row["segment"], wanted)]
            whose = others.get((row["segment"], mac), NOBODY)
            # a bridge routes; another container may, too: then it came in the end
            former = whose == f"{_BEHIND} {owner}"
            known = whose != NOBODY and not former
            if whose == HOST or (known and owner in self._reached[group]):
                continue
            replaced.add(tuple(row[name] for name in _NAMES))
            whose = f"nobody, which {owner} had before" if former else whose
            wrong.append(_misaddressed_row(row, owner, wanted, whose, scene))
        kept = [r for r in explained if (r.protocol, r.source, r.destination) not in replaced]
        return [*kept, *wrong, *self._led_away(mac_of, others, scene, vanished)]

    def _led_away(
        self,
        mac_of: Mapping[tuple[int, int, int], int],
        others: Mapping[tuple[int, int], str],
        scene: Scene,
        vanished: Collection[str],
    ) -> Iterator[LossRow]:
        """Packets for a container's right MAC that came out at others' ports only.

        What answers those others, who sent with its MAC, came to who had asked.
        """
        asked = {tuple(row[name] for name in _NAMES) for row in self._rows}
        ports = {v.container: v for v in scene.vantages if v.role is Role.HOST_VETH}
        for group in np.argsort(self._counts[1], kind="stable").tolist() if scene.complete else ():
            row, reached = self._rows[group], self._reached[group]
            mac = row["eth_dst"]
            owner = others.get((row["segment"], mac), HOST)
            elsewhere = sorted((reached & ports.keys()) - {owner, row["source"]})
            right = mac == mac_of.get((row["segment"], row["dst_hi"], row["dst_lo"]))
            stays = owner in ports and owner not in vanished
            protocol, source, target = (row[name] for name in _NAMES)
            asking = {name for name in (target, *elsewhere) if (protocol, name, source) in asked}
            if asking and target not in asking:
                continue
            if right and elsewhere and stays and owner not in reached:
                count = int(self._counts[0, group])
                yield _led_away_row(row, count, ports[owner], elsewhere, scene)


def _led_away_row(
    row: dict[str, Any], count: int, port: Vantage, elsewhere: Sequence[str], scene: Scene
) -> LossRow:
    last: Vantage = scene.vantages[row["last_vantage"]]
    asking = (v for v in scene.vantages if v.container == row["source"] and v.master_ifindex)
    sender = next(asking, last)
    mac = mac_text(row["eth_dst"])
    reason, advice = explain_bridge(sender, port, mac, Packet(row["protocol"]), scene) or (
        "sent out of another port",
        f"{port.container} is behind {port.interface}: bridge fdb show br {port.bridge} | grep "
        f"{mac}; bridge -d link show dev {port.interface}",
    )
    return LossRow(
        row["protocol"],
        row["source"],
        port.container,
        last.name,
        port.name,
        count,
        reason=reason,
        location=f"in bridge {port.bridge}: it came to {', '.join(elsewhere)} instead",
        advice=advice,
    )


def _misaddressed_row(
    row: dict[str, Any], owner: str, wanted: int, whose: str, scene: Scene
) -> LossRow:
    last: Vantage = scene.vantages[row["last_vantage"]]
    sender = next((v for v in scene.vantages if v.container == row["source"]), last)
    place = place_of(sender, scene)
    wrong, right = (mac_text(mac) for mac in (row["eth_dst"], wanted))
    return LossRow(
        row["protocol"],
        row["source"],
        owner,
        last.name,
        "",
        row["len"],
        reason="wrong neighbour entry",
        location=f"on the way to {wrong}, the MAC of {whose}",
        advice=f"{owner} is at {right}; {row['source']} believes otherwise: "
        f"{place.run('ip neigh show')}",
    )


def _neighbours(
    segments: npt.NDArray[Any], scene: Scene
) -> tuple[dict[tuple[int, int, int], int], dict[tuple[int, int], str]]:
    """((segment, address) → MAC, where one has it; (segment, MAC) → whose it is)."""
    owners: dict[tuple[int, int, int], set[int]] = {}
    whose: dict[tuple[int, int], str] = {}
    ports = {
        (v.netns, v.ifindex): f"{_BEHIND} {v.container}"
        for v in scene.vantages
        if v.role is Role.HOST_VETH and v.container
    }
    for segment, vantage in zip(segments.tolist(), scene.vantages, strict=True):
        if not vantage.ifindex:
            continue
        for mac, port in (*vantage.fdb, *scene.fdb.get(vantage.name, ())):
            behind = ports.get((vantage.netns, port), f"{_SOMEBODY} {vantage.name}")
            whose.setdefault((segment, mac_value(mac)), behind)
        own = vantage.container if vantage.role is Role.CONTAINER else HOST
        inside = vantage.container if vantage.role is Role.HOST_VETH else ""
        ends = (
            (vantage.mac, vantage.addresses, own),
            (vantage.peer_mac, vantage.peer_addresses, inside),
        )
        for mac, addresses, name in ends:
            if mac:
                if name:
                    whose[(segment, mac_value(mac))] = name
                whose.setdefault((segment, mac_value(mac)), HOST)
                for address in addresses:
                    owners.setdefault((segment, *address_value(address)), set()).add(mac_value(mac))
    return {key: macs.pop() for key, macs in owners.items() if len(macs) == 1}, whose
