"""Follow a packet across a route: from the interface it was handed up at to the one it leaves by.

A routed packet has new MACs, a hop limit that is one less and a new IP checksum; across NAT
also other addresses and ports. So journeys that end inside a namespace are tied to journeys
that begin in the same namespace, first by the key that survives a route, then by the one
that survives NAT; in both cases the hop limit must have fallen by exactly one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.correlate.pairing import pair_groups
from analyzer.correlate.stages import BRIDGE, STATION, Layout
from analyzer.keys import mixed
from analyzer.model.journeys import Hop

Columns = Mapping[str, npt.NDArray[Any]]


def link_routes(
    frames: Columns,
    layout: Layout,
    stage: npt.NDArray[np.int32],
    parent: npt.NDArray[np.int32],
    hop: npt.NDArray[np.uint8],
    likely: npt.NDArray[np.bool_],
) -> None:
    """Fill ``parent`` and ``hop`` (Hop.ROUTE) for first frames that were routed to; in place.

    frames: decoded columns with ``vantage``, ``ts_ns``, ``ttl``, ``l3key``, ``natkey``.
    """
    kind = layout.kind.take(frames["vantage"])
    arrived = (kind == BRIDGE) & (stage == 2) & (hop != Hop.COPY)
    arrived |= (kind == STATION) & (stage == 3)
    leaving = (kind == BRIDGE) & (stage == 1) | (kind == STATION) & (stage == 0)
    leaving &= parent < 0
    routable = frames["l3key"] != 0
    arrived, leaving = arrived & routable, leaving & routable
    for name in ("l3key", "natkey"):
        if not (arrived.any() and leaving.any()):
            return
        sources, targets = np.flatnonzero(arrived), np.flatnonzero(leaving)
        _link(frames, layout, name, sources, targets, parent, hop, likely)
        routed = parent[targets]
        leaving[targets[routed >= 0]] = False
        arrived[routed[routed >= 0]] = False


def _link(
    frames: Columns,
    layout: Layout,
    name: str,
    sources: npt.NDArray[np.intp],
    targets: npt.NDArray[np.intp],
    parent: npt.NDArray[np.int32],
    hop: npt.NDArray[np.uint8],
    likely: npt.NDArray[np.bool_],
) -> None:
    """Align the sources and targets that share namespace, key and (lowered) hop limit."""
    rows = np.concatenate([sources, targets]).astype(np.int32)
    netns = layout.netns[frames["vantage"][rows]]
    ttl = frames["ttl"][rows].astype(np.int64)
    ttl[: len(sources)] -= 1
    keys = mixed(frames[name][rows], netns, ttl)
    ring_of = layout.ring.take(frames["vantage"])
    from_, unsure = pair_groups(rows, len(sources), keys, frames["ts_ns"], ring_of)
    found = from_ >= 0
    children = targets[found]
    parent[children], likely[children] = from_[found], unsure[found]
    hop[children] = Hop.ROUTE
