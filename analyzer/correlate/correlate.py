"""The stage as a whole: decoded frames and vantages in, journeys out, chunk by chunk. Pure.

A chunk is looked at together with the frames that are still open from before. A packet is
closed, and handed on, when all that the topology lets us expect of it was seen, together with
all packets that look the same; or when it is so old that nothing more can come. The frames of
the others are carried on into the next chunk. So matches do not depend on where the chunks end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.correlate.byte_ranges import link_ranges
from analyzer.correlate.columns import frame_columns, no_edges, vantage_columns
from analyzer.correlate.doubt import Doubt
from analyzer.correlate.fragments import link_reassembled
from analyzer.correlate.group import group_rows
from analyzer.correlate.journeys import (
    find_ends,
    gather_evidence,
    nothing_seen,
    number_packets,
    stages_of,
)
from analyzer.correlate.links import Links
from analyzer.correlate.loss import Watch, find_strays, judge
from analyzer.correlate.match import identity_keys, link_segment, segment_keys
from analyzer.correlate.packet_completion import Clock, find_held, find_open
from analyzer.correlate.ports import Ports
from analyzer.correlate.route import link_deliveries, link_routes
from analyzer.correlate.stacked import judge_beyond, link_stacks, link_tunnels
from analyzer.correlate.stages import PORT, Layout, build_layout
from analyzer.correlate.translate import Translator
from analyzer.model.frames import FLAG_DIRECTION
from analyzer.model.journeys import Evidence, Journeys, Status
from analyzer.model.nat_entries import NatEntries
from analyzer.model.vantage import Vantage

Columns = Mapping[str, npt.NDArray[Any]]


class Correlator:
    """Ties frames together, a chunk at a time; remembers where MACs live."""

    def __init__(self) -> None:
        self._ports = Ports()
        self._clock = Clock()
        self._doubt = Doubt()
        self._vantages: list[Vantage] = []
        self._doubted = np.empty(0, np.int64)
        """numbers of open frames that an identical packet, closed since, made unsure"""
        self._patience_ns: Mapping[tuple[int, int], int] = {}
        self.layout = build_layout([])

    def learn_queues(self, patience_ns: Mapping[tuple[int, int], int]) -> None:
        """Take how long queues may hold a packet: see `build_layout`."""
        if patience_ns != self._patience_ns:
            self._patience_ns = dict(patience_ns)
            self.layout = build_layout(self._vantages, self._patience_ns)

    def learn(self, refusals: tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]) -> None:
        """Take what ICMP errors refuse: see `analyzer.correlate.doubt.Doubt.learn`."""
        self._doubt.learn(refusals)

    def correlate(
        self,
        frames: Columns,
        vantages: Sequence[Vantage],
        watch: Watch,
        fdb: Mapping[str, Sequence[tuple[str, int]]] | None = None,
        translator: Translator | None = None,
    ) -> tuple[Journeys, Links]:
        """All packets of these frames. Arguments as of the function `correlate`."""
        if list(vantages) != self._vantages:
            self._vantages = list(vantages)
            self.layout = build_layout(vantages, self._patience_ns)
        layout, vantage = self.layout, frames["vantage"]
        direction = (frames["flags"] & FLAG_DIRECTION).astype(np.uint8)
        stage = stages_of(layout.stage, vantage, direction)
        links = _link(frames, layout, stage, translator or Translator(NatEntries()))
        self._ports.learn(layout, stage, vantage, frames["eth_src"])
        self._ports.resolve(layout, vantages, fdb or {})
        if len(self._doubted):
            edges, doubted = links.edges, np.isin(frames["number"], self._doubted)
            edges.likely[doubted & (edges.parent >= 0)] = True
        journeys = _journeys(frames, layout, links, self._ports, watch)
        self._doubt.settle(frames, journeys, links, layout)
        return journeys, links

    def close(
        self,
        frames: Columns,
        journeys: Journeys,
        links: Links,
        now_ns: int,
        hold: bool,
        also: npt.NDArray[np.bool_] | None = None,
    ) -> npt.NDArray[np.bool_]:
        """[n] whether a frame's packet is still open; open packets are taken out of ``journeys``.

        now_ns: how far the capture has been read. hold: the end of the vantages' watch is not
        known, so that what looks lost waits for it; what cannot wait is unmatched. also: [p] what
        stays open for another reason.
        """
        self._clock.advance(frames, self.layout.ring, now_ns)
        open_packets = find_open(frames, journeys, links, self.layout, self._ports, self._clock)
        open_packets |= self._doubt.waits(frames, journeys, now_ns)
        if also is not None:
            open_packets |= also
        if hold:
            open_packets |= find_held(journeys, open_packets)
            untold = ~open_packets & (journeys.status == Status.LOST)
            journeys.status[untold], journeys.expected[untold] = Status.UNMATCHED, -1
        open_frames = open_packets[journeys.packet]
        self._doubted = np.empty(0, np.int64)
        if (links.edges.likely & open_frames).any():
            self._doubted = frames["number"][_left_alone(links, open_frames)]
        self._doubt.remember(frames, journeys, links, self.layout, ~open_frames)
        _take_out(journeys, open_packets, open_frames)
        return open_frames


def correlate(
    frames: Columns,
    vantages: Sequence[Vantage],
    watch: Watch,
    fdb: Mapping[str, Sequence[tuple[str, int]]] | None = None,
    translator: Translator | None = None,
) -> Journeys:
    """Tie the frames of each packet together: a whole capture at once.

    frames: DECODED columns plus ``vantage`` [n] int32, ``ts_ns`` [n] int64 and ``flags``
    [n] uint32 (epb_flags), in file order. fdb: vantage name of a bridge → (MAC, port ifindex)
    at the end of the capture; the vantage's own ``fdb`` is what it was at the start. translator:
    what connection tracking told; without it, what NAT did is guessed.
    """
    return Correlator().correlate(frames, vantages, watch, fdb, translator)[0]


def _link(
    frames: Columns, layout: Layout, stage: npt.NDArray[np.int32], translator: Translator
) -> Links:
    """The links of every frame: within segments first, then across routes."""
    vantage = frames["vantage"]
    keys = segment_keys(identity_keys(frames, layout), layout.segment, vantage)
    order, start, group = group_rows(keys)
    columns, places = frame_columns(frames, layout, stage), vantage_columns(layout)
    edges = no_edges(len(vantage))
    link_segment(order, start, columns, places, edges)
    ranges = link_ranges(frames, columns, places, edges)
    link_reassembled(frames, layout, stage, edges)
    link_stacks(frames, layout, stage, edges)
    link_tunnels(frames, layout, stage, edges)
    link_deliveries(frames, layout, stage, edges, translator)
    link_routes(frames, layout, stage, edges, translator)
    return Links(columns, edges, group, len(start) - 1, ranges)


def _journeys(
    frames: Columns, layout: Layout, links: Links, ports: Ports, watch: Watch
) -> Journeys:
    """The packets that the links make, and what became of each."""
    columns, edges, places = links.frames, links.edges, vantage_columns(layout)
    packet, first = number_packets(edges.parent)
    last, seen = first.copy(), nothing_seen(len(first))
    find_ends(columns, places, edges, links.ranges.piece, packet, first, last)
    gather_evidence(columns, places, edges, packet, last, seen)
    evidence = seen.evidence
    status, expected = judge(last, columns, places, ports, watch)
    judge_beyond(last, frames, layout, watch, (status, expected, evidence))
    merged = links.ranges.absorbed[last]
    status[merged], expected[merged] = Status.DELIVERED, -1
    # what became of a frame behind a second bridge of its segment, nothing here follows
    beyond = (status == Status.LOST) & _bridged_to_bridges(layout)[frames["vantage"][first]]
    status[beyond], expected[beyond] = Status.UNMATCHED, -1
    stray = find_strays(first, last, columns, frames["eth_src"], places, ports)
    status[stray], evidence[stray] = Status.UNMATCHED, evidence[stray] | Evidence.STRAY
    return Journeys(
        parent=edges.parent,
        hop=edges.hop,
        likely=edges.likely,
        packet=packet,
        first=first,
        last=last,
        status=status,
        expected=expected,
        evidence=evidence,
        in_port=seen.in_port,
        out_port=seen.out_port,
        frames=seen.frames,
        segment=layout.lan,
        site=layout.site,
    )


def _bridged_to_bridges(layout: Layout) -> npt.NDArray[np.bool_]:
    """[v] whether in its segment a veth pair joins two bridges, both ends captured."""
    port = layout.kind == PORT
    joins = port & (layout.peer >= 0) & port[layout.peer]
    return np.isin(layout.segment, layout.segment[joins])


def _left_alone(links: Links, open_frames: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """[n] unsure frames that stay open when others that look the same are closed (for their age):
    without these they would look sure."""
    closed = np.zeros(links.groups, np.bool_)
    closed[links.group[~open_frames]] = True
    alone: npt.NDArray[np.bool_] = links.edges.likely & open_frames & closed[links.group]
    return alone


def _take_out(
    journeys: Journeys, packets: npt.NDArray[np.bool_], frames: npt.NDArray[np.bool_]
) -> None:
    """Leave only the other packets, numbered anew; in place."""
    if not packets.any():
        return
    kept = ~packets
    number = np.cumsum(kept, dtype=np.int32) - 1
    journeys.packet = np.where(frames, -1, number[journeys.packet]).astype(np.int32)
    for name in (
        "first",
        "last",
        "status",
        "expected",
        "evidence",
        "in_port",
        "out_port",
        "frames",
    ):
        setattr(journeys, name, getattr(journeys, name)[kept])
