"""Losses that no counter and no event tells, from the frames and the settings alone. Pure.

A stack that is told to ignore echoes, a frame for a MAC that nobody has, a container that went
away: the frames show that nothing came back, and the rest of the picture shows why.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from analyzer.drops.explain import (
    BY_COUNTERS,
    NETFILTER,
    Columns,
    advise_at,
    describe_packet,
    place_of,
)
from analyzer.drops.reasons import Packet
from analyzer.drops.settings import Scene, Told, explain_bridge
from analyzer.model.journeys import Journeys, Status
from analyzer.model.report import ArpRow, LossRow
from analyzer.model.vantage import Role, Vantage

IGNORE_ALL = "net.ipv4.icmp_echo_ignore_all"
_MULTICAST = 1 << 40
_V4_MAPPED = 0xFFFF
HOST = "host"
NOBODY = "nobody"


def unanswered_echoes(
    echoes: pl.DataFrame, frames: Columns, explained: Sequence[LossRow], scene: Scene
) -> list[LossRow]:
    """Requests that reached a stack which is told to answer none, or whose filter counted them."""
    silent = echoes.filter(
        ~pl.col("answered") & ~pl.col("open") & pl.col("reply_last").is_null()
        & (pl.col("request_status") == Status.DELIVERED)
    )  # fmt: skip
    at = pl.Series("at", frames["vantage"][silent["request_last"].to_numpy()])
    groups = (
        silent.with_columns(at)
        .group_by("protocol", "source", "destination", "at", maintain_order=True)
        .agg(pl.len().alias("packets"), pl.col("request_last").first())
    )
    known = {(row.source, row.destination, row.last_seen) for row in explained}
    rows = []
    for row in groups.iter_rows(named=True):
        last = scene.vantages[row["at"]]
        if (row["source"], row["destination"], last.name) in known:
            continue
        if told := _silence(row, last, frames, scene):
            place = place_of(last, scene)
            whose = last.container if place.where == "inside" else "the host"
            rows.append(
                LossRow(
                    row["protocol"], row["source"], row["destination"], last.name, "",
                    row["packets"], reason=told[0],
                    location=f"in {whose}'s stack, behind {last.name}", advice=told[1],
                )
            )  # fmt: skip
    return rows


def _silence(row: dict[str, Any], last: Vantage, frames: Columns, scene: Scene) -> Told | None:
    """Why a stack does not answer echoes that reached it."""
    place = place_of(last, scene)
    if row["protocol"] == "icmp" and scene.sysctl(last.netns, IGNORE_ALL) == "1":
        command = place.run(f"sysctl {IGNORE_ALL}")
        return "echo ignored", f"it is told to answer no echo: {command}"
    packet = describe_packet(frames, row["request_last"], row["protocol"])
    rules = scene.moved(last.netns, packet)
    if not rules or rules[0].packets < row["packets"]:
        return None
    return BY_COUNTERS, advise_at(NETFILTER, "", place, packet, scene, last.netns)


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
    found, replaced = [], set()
    for row in _unicast_groups(packets, frames, journeys, scene).iter_rows(named=True):
        wanted = mac_of.get((row["segment"], row["dst_hi"], row["dst_lo"]))
        mac = row["eth_dst"]
        if wanted is None or mac == wanted or mac & _MULTICAST:
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
        location=f"sent to {wrong}, the MAC of {whose}",
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


def unheard_askers(arp: Sequence[ArpRow], scene: Scene) -> list[LossRow]:
    """Requests that nobody answered, whose target's port lets nothing through."""
    rows = []
    for row in arp:
        port = _port_of(row.target_ip, scene)
        if row.state != "unanswered" or port is None:
            continue
        asker = next((v for v in scene.vantages if row.asker_mac in (v.peer_mac, v.mac)), port)
        told = explain_bridge(asker, port, port.peer_mac, Packet("arp"), scene)
        if told and asker is not port:
            rows.append(
                LossRow(
                    "arp", row.asker, port.container, asker.name, port.name, row.requests,
                    reason=told[0], location=f"in bridge {port.bridge}", advice=told[1],
                )
            )  # fmt: skip
    return rows


def _port_of(address: str, scene: Scene) -> Vantage | None:
    """The bridge port behind which an address lives."""
    found = [
        v for v in scene.vantages
        if v.master_ifindex and address in [a.partition("/")[0] for a in v.peer_addresses]
    ]  # fmt: skip
    return found[0] if len(found) == 1 else None


def went_away(gone_ns: Sequence[int | None], packets: pl.DataFrame, scene: Scene) -> list[LossRow]:
    """Packets for a container whose interface vanished while the capture went on.

    gone_ns: [v] when each vantage's interface vanished, if it did.
    """
    rows = []
    for vantage, ended in zip(scene.vantages, gone_ns, strict=True):
        if vantage.role is not Role.HOST_VETH or not vantage.container or not ended:
            continue
        late = packets.filter(
            (pl.col("destination") == vantage.container)
            & (pl.col("ts_ns") >= ended)
            & (pl.col("status") != Status.LOST)
        )
        for (protocol, source), group in late.group_by("protocol", "source", maintain_order=True):
            last = scene.vantages[int(np.asarray(group["last_vantage"])[0])]
            rows.append(
                LossRow(
                    str(protocol), str(source), vantage.container, last.name, "", len(group),
                    reason="container stopped",
                    location=f"{vantage.container} and its veth pair were gone",
                    advice=f"it ended while the capture went on: docker ps -a; "
                    f"docker logs {vantage.container}",
                )
            )  # fmt: skip
    return rows
