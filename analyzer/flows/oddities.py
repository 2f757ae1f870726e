"""What stands out in a picture that works: flooded unicast, a MAC twice, the hop that was slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.endpoints import mac_text
from analyzer.flows.packets import path_matrix
from analyzer.model.journeys import Evidence, Journeys
from analyzer.model.report import Finding
from analyzer.model.vantage import Role, Vantage

Columns = Mapping[str, npt.NDArray[Any]]
_GROUP_BIT = 1 << 40
_ENOUGH = 10
"""echoes, to speak of a usual one"""
_FAR_OFF = 5
"""times the median"""


def find_flooding(
    frames: Columns, packets: pl.DataFrame, vantages: Sequence[Vantage]
) -> list[Finding]:
    """Unicast that a bridge sent out of several ports, for want of an FDB entry."""
    mac = pl.Series("mac", frames["eth_dst"][packets["first_frame"].to_numpy()])
    flooded = packets.with_columns(mac).filter(
        (pl.col("evidence") & Evidence.FLOODED > 0) & (pl.col("mac") & _GROUP_BIT == 0)
    )
    groups = flooded.group_by("mac", maintain_order=True).agg(
        pl.len(), pl.col("in_port").first(), pl.col("source").first()
    )
    found = []
    for row in groups.iter_rows(named=True):
        bridge = vantages[row["in_port"]].bridge if row["in_port"] >= 0 else "the bridge"
        text = (
            f"{bridge} flooded {row['len']} unicast packets of {row['source']} for "
            f"{mac_text(row['mac'])} out of several ports: it does not know where that MAC is: "
            f"bridge fdb show br {bridge}"
        )
        found.append(Finding("info", "flooded", text))
    return found


def find_slow_echoes(
    echoes: pl.DataFrame, frames: Columns, journeys: Journeys, vantages: Sequence[Vantage]
) -> list[Finding]:
    """The slowest round trip of a conversation, if far off, and the hop that made it so."""
    if not len(echoes):
        return []
    answered = echoes.filter(pl.col("answered") & pl.col("turnaround_ns").is_not_null())
    ends = pl.col("source", "destination").cast(pl.String)
    found = []
    for (source, destination), rows in answered.with_columns(ends).group_by(
        "source", "destination", maintain_order=True
    ):
        times = np.sort(rows["rtt_ns"].to_numpy())
        usual = int(times[len(times) // 2])
        slowest = rows.sort("rtt_ns", descending=True).row(0, named=True)
        if len(rows) < _ENOUGH or slowest["rtt_ns"] < _FAR_OFF * usual:
            continue
        where, part = _slowest_part(slowest, frames, journeys, vantages)
        found.append(
            Finding(
                "info", "slow-echo",
                f"{source} → {destination}: the echo with seq {slowest['seq']} took "
                f"{slowest['rtt_ns'] / 1e3:.0f} µs, {slowest['rtt_ns'] / max(1, usual):.0f} times "
                f"the median; {part / 1e3:.0f} µs of it {where}",
            )
        )  # fmt: skip
    return found


def _slowest_part(
    echo: Mapping[str, Any], frames: Columns, journeys: Journeys, vantages: Sequence[Vantage]
) -> tuple[str, int]:
    """The hop of the request or the reply, or the turnaround, that took the longest."""
    ends = np.array([echo["request_last"], echo["reply_last"]], np.int32)
    path = path_matrix(ends, journeys.parent).ravel()
    after = path[path >= 0]
    after = after[journeys.parent[after] >= 0]
    before = journeys.parent[after]
    delays = frames["ts_ns"][after] - frames["ts_ns"][before]
    if not len(delays) or delays.max() < echo["turnaround_ns"]:
        return f"in the turnaround inside {echo['destination']}", int(echo["turnaround_ns"])
    worst = int(delays.argmax())
    names = (vantages[frames["vantage"][side[worst]]].name for side in (before, after))
    return f"between {' → '.join(names)}", int(delays[worst])


def find_duplicate_macs(journeys: Journeys, vantages: Sequence[Vantage]) -> list[Finding]:
    """Two stations of one segment with the same MAC: a bridge cannot serve both."""
    owners: dict[tuple[int, str], set[str]] = {}
    for segment, vantage in zip(journeys.segment.tolist(), vantages, strict=True):
        # ports and devices on others share a MAC with these by design, macvlans do not
        if not vantage.ifindex or vantage.is_bridge or (
            vantage.role is Role.CONTAINER and vantage.master_ifindex
        ) or (vantage.lower_ifindex and not vantage.kind.startswith("macv")):  # fmt: skip
            continue
        if vantage.role is Role.CONTAINER and vantage.mac:
            owners.setdefault((segment, vantage.mac), set()).add(vantage.name)
        elif vantage.role is Role.HOST_VETH and vantage.peer and vantage.peer_mac:
            owners.setdefault((segment, vantage.peer_mac), set()).add(vantage.peer)
    return [
        Finding(
            "error", "duplicate-mac",
            f"{mac} is the MAC of {', '.join(sorted(names))}: the bridge sends what is for one of "
            "them to whichever spoke last; give each its own",
        )
        for (_, mac), names in owners.items()
        if len(names) > 1
    ]  # fmt: skip
