"""Tie a reassembled datagram at the bridge device to the first fragment at its ingress port.

Where bridge netfilter is on and connections are tracked, the kernel reassembles the fragments
of an IPv4 datagram in the bridge and cuts it again on the way out (br_netfilter_hooks.c,
nf_defrag_ipv4.c). The ports show fragments then, and docker0's copy is the whole datagram: other
bytes, but the same addresses, protocol and identification (RFC 6864).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.correlate.columns import Edges, seen_times
from analyzer.correlate.pairing import pair_groups
from analyzer.correlate.stages import BRIDGE, PORT, Layout
from analyzer.model.frames import MARK_FRAGMENT, MARK_MORE_FRAGMENTS
from analyzer.model.journeys import Hop
from analyzer.native.keys import mixed


def link_reassembled(
    frames: Mapping[str, npt.NDArray[Any]],
    layout: Layout,
    stage: npt.NDArray[np.int32],
    edges: Edges,
) -> None:
    """Fill the edges to them (COPY; DELIVER where it is the host's); in place."""
    kind, marks = layout.kind.take(frames["vantage"]), frames["marks"]
    v4 = frames["ip_version"] == 4
    pieces = marks & (MARK_FRAGMENT | MARK_MORE_FRAGMENTS)
    first = np.flatnonzero(v4 & (pieces == MARK_MORE_FRAGMENTS) & (kind == PORT) & (stage == 1))
    if not len(first):
        return
    orphan = v4 & (pieces == 0) & (kind == BRIDGE) & (stage == 2) & (edges.parent < 0)
    whole = np.flatnonzero(orphan)
    rows = np.concatenate([first, whole]).astype(np.int32)
    keys = _datagram_key(frames, layout, rows)
    from_, unsure = pair_groups(rows, len(first), keys, seen_times(frames, layout))
    tied = from_ >= 0
    children = whole[tied]
    edges.parent[children], edges.likely[children] = from_[tied], unsure[tied]
    up = frames["eth_dst"][children] == layout.mac[frames["vantage"][children]]
    edges.hop[children] = np.where(up, Hop.DELIVER, Hop.COPY)


def _datagram_key(
    frames: Mapping[str, npt.NDArray[Any]], layout: Layout, rows: npt.NDArray[np.int32]
) -> npt.NDArray[np.uint64]:
    """mix(segment, addresses, protocol, identification): what all fragments share (RFC 791)."""
    columns = (frames[name][rows] for name in ("ip_id", "protocol", "src_lo", "dst_lo"))
    return mixed(layout.segment[frames["vantage"][rows]], *columns)
