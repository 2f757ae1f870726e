"""The drawn path: one representative packet a conversation, vantage by vantage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.model.journeys import HOP_NAMES, Evidence, Journeys, Status
from analyzer.model.report import Path, PathNode
from analyzer.model.vantage import Role, Vantage

MOST = 8
"""paths that a report draws; the busiest ones"""


def build_paths(
    frames: Mapping[str, npt.NDArray[Any]],
    packets: pl.DataFrame,
    journeys: Journeys,
    vantages: Sequence[Vantage],
) -> list[Path]:
    """One path a pair of endpoints and protocol, each pair once (not once a direction)."""
    unicast = packets.filter(
        ~pl.col("destination").is_in(["broadcast"]) & (pl.col("protocol") != "arp")
    )
    best = (
        unicast.sort(pl.col("status") != Status.DELIVERED, -pl.col("frames"), maintain_order=True)
        .group_by("protocol", "source", "destination", maintain_order=True)
        .agg(pl.len().alias("packets"), pl.col("last_frame", "evidence", "ts_ns").first())
        .sort("ts_ns")
    )
    paths: list[Path] = []
    drawn: set[tuple[str, frozenset[str]]] = set()
    for row in best.sort("packets", descending=True, maintain_order=True).iter_rows(named=True):
        pair = (row["protocol"], frozenset((row["source"], row["destination"])))
        if pair not in drawn and len(paths) < MOST:
            drawn.add(pair)
            paths.append(_path(row, frames, journeys, vantages))
    return paths


def _path(
    row: Mapping[str, object],
    frames: Mapping[str, npt.NDArray[Any]],
    journeys: Journeys,
    vantages: Sequence[Vantage],
) -> Path:
    chain = _chain(int(str(row["last_frame"])), journeys.parent)
    here = [vantages[frames["vantage"][f]] for f in chain]
    copied = bool(int(str(row["evidence"])) & Evidence.BRIDGE_COPY)
    kinds = [HOP_NAMES[journeys.hop[f]] for f in chain[1:]]
    return Path(
        source=str(row["source"]),
        destination=str(row["destination"]),
        protocol=str(row["protocol"]),
        packets=int(str(row["packets"])),
        nodes=[_node(v) for v in here],
        kinds=kinds,
        bridges=[_bridge_between(k, v, copied) for k, v in zip(kinds, here, strict=False)],
    )


def _chain(last: int, parent: npt.NDArray[np.int32]) -> list[int]:
    """Frames from the journey's start to ``last``."""
    chain = [last]
    while parent[chain[-1]] >= 0:
        chain.append(int(parent[chain[-1]]))
    return chain[::-1]


def _bridge_between(kind: str, before: Vantage, copied: bool) -> str:
    return before.bridge if kind == "bridge" and (copied or before.role is Role.HOST_VETH) else ""


def _node(vantage: Vantage) -> PathNode:
    return PathNode(
        vantage=vantage.name,
        role=vantage.role.value,
        container=vantage.container,
        mac=vantage.mac,
        addresses=list(vantage.addresses),
    )
