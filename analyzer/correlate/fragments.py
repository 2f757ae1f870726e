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

from analyzer.correlate.group import group_rows, mix_columns
from analyzer.correlate.match import align
from analyzer.correlate.stages import BRIDGE, PORT, Layout
from analyzer.model.frames import MARK_FRAGMENT, MARK_MORE_FRAGMENTS
from analyzer.model.journeys import Hop


def link_reassembled(
    frames: Mapping[str, npt.NDArray[Any]],
    layout: Layout,
    stage: npt.NDArray[np.int32],
    parent: npt.NDArray[np.int32],
    hop: npt.NDArray[np.uint8],
) -> None:
    """Fill ``parent`` and ``hop`` (COPY; DELIVER where it is the host's) of them; in place."""
    kind, marks = layout.kind[frames["vantage"]], frames["marks"]
    v4 = frames["ip_version"] == 4
    pieces = marks & (MARK_FRAGMENT | MARK_MORE_FRAGMENTS)
    first = np.flatnonzero(v4 & (pieces == MARK_MORE_FRAGMENTS) & (kind == PORT) & (stage == 1))
    if not len(first):
        return
    orphan = v4 & (pieces == 0) & (kind == BRIDGE) & (stage == 2) & (parent < 0)
    whole = np.flatnonzero(orphan)
    rows = np.concatenate([first, whole]).astype(np.int32)
    order, start = group_rows(_datagram_key(frames, layout, rows))
    ts, ring_of = frames["ts_ns"], layout.ring[frames["vantage"]]
    for g in np.flatnonzero(np.diff(start) > 1):
        members = order[start[g] : start[g + 1]]
        parents = np.sort(rows[members[members < len(first)]])
        children = np.sort(rows[members[members >= len(first)]])
        out, unsure = np.empty(len(children), np.int64), np.empty(len(children), np.bool_)
        align(parents, children, ts, ring_of, False, out, unsure)
        found = out >= 0
        parent[children[found]] = parents[out[found]]
        up = frames["eth_dst"][children] == layout.mac[frames["vantage"][children]]
        hop[children[found]] = np.where(up, Hop.DELIVER, Hop.COPY)[found]


def _datagram_key(
    frames: Mapping[str, npt.NDArray[Any]], layout: Layout, rows: npt.NDArray[np.int32]
) -> npt.NDArray[np.uint64]:
    """mix(segment, addresses, protocol, identification): what all fragments share (RFC 791)."""
    segment = layout.segment[frames["vantage"][rows]].astype(np.uint64)
    number = frames["ip_id"][rows].astype(np.uint64) << np.uint64(8)
    key = mix_columns(number | frames["protocol"][rows].astype(np.uint64), segment)
    for name in ("src_lo", "dst_lo"):
        key = mix_columns(key, frames[name][rows])
    return key
