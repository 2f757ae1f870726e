"""The stage as a whole: decoded frames and vantages in, journeys out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.correlate.fragments import link_reassembled
from analyzer.correlate.group import group_rows
from analyzer.correlate.journeys import find_ends, gather_evidence, number_packets, stages_of
from analyzer.correlate.loss import Watch, build_port_map, find_strays, judge, learn_ports
from analyzer.correlate.match import link_segment, segment_keys
from analyzer.correlate.route import link_routes
from analyzer.correlate.stages import Layout, build_layout, mac_value
from analyzer.model.frames import FLAG_DIRECTION
from analyzer.model.journeys import Evidence, Journeys, Status
from analyzer.model.vantage import Role, Vantage

Columns = Mapping[str, npt.NDArray[Any]]


def correlate(
    frames: Columns,
    vantages: Sequence[Vantage],
    watch: Watch,
    fdb: Mapping[str, Sequence[tuple[str, int]]] | None = None,
) -> Journeys:
    """Tie the frames of each packet together.

    frames: DECODED columns plus ``vantage`` [n] int32, ``ts_ns`` [n] int64 and ``flags``
    [n] uint32 (epb_flags), in file order. fdb: vantage name of a bridge → (MAC, port ifindex)
    at the end of the capture; the vantage's own ``fdb`` is what it was at the start.
    """
    layout = build_layout(vantages)
    vantage = frames["vantage"].astype(np.int32)
    direction = (frames["flags"] & FLAG_DIRECTION).astype(np.uint8)
    stage = stages_of(layout.stage, vantage, direction)
    parent, hop, likely = _link(frames, layout, vantage, stage)
    packet, first = number_packets(parent)
    last, _ = find_ends(
        parent, hop, packet, first, stage, vantage, layout.kind, layout.mac, frames["eth_dst"]
    )
    evidence, in_port, out_port, count = gather_evidence(
        parent, hop, packet, first, last, stage, vantage, frames["ts_ns"],
        layout.kind, layout.mac, frames["eth_dst"],
    )  # fmt: skip
    ports = build_port_map(
        layout,
        fdb_ports(vantages, layout, fdb or {}),
        learn_ports(stage, vantage, frames["eth_src"], layout),
    )
    status, expected = judge(last, frames, stage, layout, ports, watch)
    stray = find_strays(first, last, frames, stage, layout, ports)
    status[stray], evidence[stray] = Status.UNMATCHED, evidence[stray] | Evidence.STRAY
    return Journeys(
        parent=parent, hop=hop, likely=likely, packet=packet, first=first, last=last,
        status=status, expected=expected, evidence=evidence,
        in_port=in_port, out_port=out_port, frames=count,
        segment=layout.segment, site=layout.site,
    )  # fmt: skip


def _link(
    frames: Columns,
    layout: Layout,
    vantage: npt.NDArray[np.int32],
    stage: npt.NDArray[np.int32],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """(parent, hop, likely) of every frame: within segments first, then across routes."""
    n = len(vantage)
    parent = np.full(n, -1, np.int32)
    hop, likely = np.zeros(n, np.uint8), np.zeros(n, np.bool_)
    if n:
        order, start, _ = group_rows(segment_keys(frames["l2key"], layout.segment, vantage))
        link_segment(
            order, start, frames["ts_ns"], layout.ring[vantage], vantage, stage,
            (layout.kind, layout.peer, layout.queued, layout.mac), frames["eth_dst"],
            parent, hop, likely,
        )  # fmt: skip
        link_reassembled(frames, layout, stage, parent, hop, likely)
        link_routes(dict(frames), layout, stage, parent, hop, likely)
    return parent, hop, likely


def fdb_ports(
    vantages: Sequence[Vantage],
    layout: Layout,
    latest: Mapping[str, Sequence[tuple[str, int]]],
) -> dict[tuple[int, int], int]:
    """(segment, MAC value) → port vantage, from the bridges' tables; the latest wins."""
    index = {v.key: i for i, v in enumerate(vantages) if v.ifindex}
    found: dict[tuple[int, int], int] = {}
    for i, vantage in enumerate(vantages):
        if vantage.role is not Role.BRIDGE:
            continue
        for mac, port in (*vantage.fdb, *latest.get(vantage.name, ())):
            at = index.get((vantage.netns, port))
            if at is not None:
                found[(int(layout.segment[i]), mac_value(mac))] = at
    return found
