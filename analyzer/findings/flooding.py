"""What stands out in a picture that works: flooded unicast, a MAC twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.endpoints import mac_text
from analyzer.model.batch import Batch
from analyzer.model.journeys import Evidence
from analyzer.model.report import Finding
from analyzer.model.vantage import Role, Vantage

_GROUP_BIT = 1 << 40


class Flooding:
    """Unicast that a bridge sent out of several ports, for want of an FDB entry: by MAC."""

    def __init__(self) -> None:
        self._rows: pl.DataFrame | None = None

    def add(self, batch: Batch) -> None:
        """Count the flooded packets of one batch."""
        packets = batch.packets
        which = np.flatnonzero(packets["evidence"].to_numpy() & Evidence.FLOODED)
        if not len(which):
            return
        flooded = packets[which].filter(~pl.col("stray"))
        mac = pl.Series("mac", batch.frames["eth_dst"][flooded["first_frame"].to_numpy()])
        found = flooded.select(
            mac, "number", "in_port", pl.col("source").cast(pl.String), packets=pl.lit(1)
        ).filter(pl.col("mac") & _GROUP_BIT == 0)
        both = found if self._rows is None else pl.concat([self._rows, found])
        self._rows = (
            both.sort("number")
            .group_by("mac", maintain_order=True)
            .agg(pl.col("number", "in_port", "source").first(), pl.col("packets").sum())
        )

    def findings(self, vantages: Sequence[Vantage]) -> list[Finding]:
        """One a MAC, in order of appearance."""
        if self._rows is None:
            return []
        found = []
        for row in self._rows.sort("number").iter_rows(named=True):
            bridge = vantages[row["in_port"]].bridge if row["in_port"] >= 0 else "the bridge"
            text = (
                f"{bridge} flooded {row['packets']} unicast packets of {row['source']} for "
                f"{mac_text(row['mac'])} out of several ports: it does not know where that MAC "
                f"is: bridge fdb show br {bridge}"
            )
            found.append(Finding("info", "flooded", text))
        return found


def find_duplicate_macs(segments: npt.NDArray[Any], vantages: Sequence[Vantage]) -> list[Finding]:
    """Two stations of one segment with the same MAC: a bridge cannot serve both.

    segments: [v] of each vantage.
    """
    owners: dict[tuple[int, str], set[str]] = {}
    for segment, vantage in zip(segments.tolist(), vantages, strict=True):
        # ports and devices on others share a MAC with these by design, macvlans do not
        if (
            not vantage.ifindex
            or vantage.is_bridge
            or (vantage.role is Role.CONTAINER and vantage.master_ifindex)
            or (vantage.lower_ifindex and not vantage.kind.startswith("macv"))
        ):
            continue
        if vantage.role is Role.CONTAINER and vantage.mac:
            owners.setdefault((segment, vantage.mac), set()).add(vantage.name)
        elif vantage.role is Role.HOST_VETH and vantage.peer and vantage.peer_mac:
            owners.setdefault((segment, vantage.peer_mac), set()).add(vantage.peer)
    return [
        Finding(
            "error",
            "duplicate-mac",
            f"{mac} is the MAC of {', '.join(sorted(names))}: the bridge sends what is for one of "
            "them to whichever spoke last; give each its own",
        )
        for (_, mac), names in owners.items()
        if len(names) > 1
    ]
