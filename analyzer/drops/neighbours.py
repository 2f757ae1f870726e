"""Frames for an address of the segment that went to another MAC than the one that has it. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from analyzer.drops.explain import Columns, place_of
from analyzer.drops.settings import Scene
from analyzer.model.journeys import Journeys
from analyzer.model.report import LossRow
from analyzer.model.vantage import Role, Vantage

HOST = "host"
NOBODY = "nobody"
_MULTICAST = 1 << 40
_V4_MAPPED = 0xFFFF
_ARP = 0x0806


def misaddressed(
    packets: pl.DataFrame,
    frames: Columns,
    journeys: Journeys,
    explained: Sequence[LossRow],
    scene: Scene,
) -> list[LossRow]:
    """All losses, with unicast for an address of this segment that went to a wrong MAC.

    Where that explains it, what the stack at the wrong place said does not matter.
    """
    mac_of, others = _neighbours(journeys, scene)
    claimed = _claims(frames, journeys)
    found, replaced = [], set()
    for row in _unicast_groups(packets, frames, journeys, scene).iter_rows(named=True):
        wanted = mac_of.get((row["segment"], row["dst_hi"], row["dst_lo"]))
        mac = row["eth_dst"]
        key = (row["segment"], mac, row["dst_lo"] & 0xFFFFFFFF)
        if wanted is None or mac == wanted or mac & _MULTICAST or key in claimed:
            continue
        owner = others[(row["segment"], wanted)]
        whose = others.get((row["segment"], mac), NOBODY)
        # a bridge routes; another container may, too: then it came in the end
        if whose == HOST or (whose != NOBODY and owner in row["reached"]):
            continue
        replaced.add((row["protocol"], row["source"], row["destination"]))
        found.append(_misaddressed_row(row, owner, wanted, whose, scene))
    kept = [r for r in explained if (r.protocol, r.source, r.destination) not in replaced]
    return [*kept, *found]


def _claims(frames: Columns, journeys: Journeys) -> set[tuple[int, int, int]]:
    """(segment, MAC, IPv4 address) that somebody said by ARP to have: then it moved there."""
    rows = np.flatnonzero((frames["ethertype"] == _ARP) & (frames["arp_op"] > 0))
    segment = journeys.segment[frames["vantage"][rows]]
    told = pl.DataFrame(
        {"segment": segment, "mac": frames["arp_sha"][rows], "address": frames["arp_spa"][rows]}
    )
    return set(told.unique().iter_rows())


def _unicast_groups(
    packets: pl.DataFrame, frames: Columns, journeys: Journeys, scene: Scene
) -> pl.DataFrame:
    """A row a direction of a conversation and MAC that it was sent to, with whom it reached."""
    first = packets["first_frame"].to_numpy()
    owner = pl.Series([v.container for v in scene.vantages], dtype=pl.String)
    kinds = packets.select(
        "protocol", "source", "destination", "last_vantage",
        owner.gather(packets["last_vantage"]).alias("reached"),
        pl.Series("segment", journeys.segment[frames["vantage"][first]]),
        *(pl.Series(name, frames[name][first]) for name in ("eth_dst", "dst_hi", "dst_lo")),
        pl.Series("ip", frames["ip_version"][first]),
    )  # fmt: skip
    group = ["protocol", "source", "destination", "segment", "eth_dst", "dst_hi", "dst_lo"]
    return (
        kinds.filter(pl.col("ip") > 0)
        .group_by(group, maintain_order=True)
        .agg(pl.len(), pl.col("last_vantage").first(), pl.col("reached").unique())
    )


def _misaddressed_row(
    row: dict[str, Any], owner: str, wanted: int, whose: str, scene: Scene
) -> LossRow:
    last: Vantage = scene.vantages[row["last_vantage"]]
    sender = next((v for v in scene.vantages if v.container == row["source"]), last)
    place = place_of(sender, scene)
    wrong, right = (mac.to_bytes(6, "big").hex(":") for mac in (row["eth_dst"], wanted))
    return LossRow(
        row["protocol"], row["source"], owner, last.name, "", row["len"],
        reason="wrong neighbour entry",
        location=f"on the way to {wrong}, the MAC of {whose}",
        advice=f"{owner} is at {right}; {row['source']} believes otherwise: "
        f"{place.run('ip neigh show')}",
    )  # fmt: skip


def _neighbours(
    journeys: Journeys, scene: Scene
) -> tuple[dict[tuple[int, int, int], int], dict[tuple[int, int], str]]:
    """((segment, address) → MAC, where one has it; (segment, MAC) → whose it is)."""
    owners: dict[tuple[int, int, int], set[int]] = {}
    whose: dict[tuple[int, int], str] = {}
    for segment, vantage in zip(journeys.segment.tolist(), scene.vantages, strict=True):
        if not vantage.ifindex:
            continue
        for mac, _ in (*vantage.fdb, *scene.fdb.get(vantage.name, ())):
            whose.setdefault((segment, _value(mac)), f"somebody else behind {vantage.name}")
        own = vantage.container if vantage.role is Role.CONTAINER else HOST
        ends = ((vantage.mac, vantage.addresses, own),
                (vantage.peer_mac, vantage.peer_addresses, vantage.container))  # fmt: skip
        for mac, addresses, name in ends:
            if mac:
                whose[(segment, _value(mac))] = name or HOST
                for address in addresses:
                    owners.setdefault((segment, *_address(address)), set()).add(_value(mac))
    return {key: found.pop() for key, found in owners.items() if len(found) == 1}, whose


def _value(mac: str) -> int:
    return int(mac.replace(":", ""), 16)


def _address(text: str) -> tuple[int, int]:
    found = ipaddress.ip_address(text.partition("/")[0].partition("%")[0])
    if found.version == 4:
        return 0, _V4_MAPPED << 32 | int(found)
    return int(found) >> 64, int(found) & (1 << 64) - 1
