"""Which packets are complete, and which have to wait for more of their frames.

Complete is what reached the last vantage that the topology has for it, having passed all
before it that are captured. What is not complete is given up when nothing of it was seen for a
horizon: no match is made over a longer time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analyzer.compiled import compiled
from analyzer.correlate.pairing import LONGEST_NS, QUEUE_NS
from analyzer.correlate.ports import Ports
from analyzer.correlate.stages import BRIDGE, FREE, PORT, Layout
from analyzer.model.journeys import Evidence, Journeys, Status

if TYPE_CHECKING:
    from analyzer.correlate.correlate import Links

MOST_CARRIED = 1 << 19
"""frames; of more, the oldest packets are given up"""
MOST_HELD = 1 << 17
"""frames held back because the end of the watch is not known"""
_MULTICAST = np.uint64(1 << 40)
_COPY = int(Evidence.BRIDGE_COPY)
_DELIVERED = int(Status.DELIVERED)


def find_open(
    frames: Mapping[str, npt.NDArray[Any]],
    journeys: Journeys,
    links: Links,
    layout: Layout,
    ports: Ports,
    now_ns: int,
    hold: bool,
) -> npt.NDArray[np.bool_]:
    """[p] whether more of a packet is to be waited for."""
    vantage, first = frames["vantage"], journeys.first
    origin = ports.leading_to(layout.segment[vantage[first]], frames["eth_src"][first])
    waits = np.empty(len(first), np.bool_)
    _find_incomplete(
        first, journeys.last, journeys.status, journeys.evidence, journeys.in_port,
        journeys.frames, links.stage, vantage, frames["eth_dst"], origin,
        (layout.kind, layout.peer, layout.copied, layout.size, layout.forwards), waits,
    )  # fmt: skip
    waits[journeys.packet[links.ranges.short]] = True
    waits[journeys.packet[links.ranges.absorbed]] = False
    if not waits.any():
        return waits
    newest = np.full(len(first), np.iinfo(np.int64).min)
    queued = layout.queued.any()
    horizon = now_ns - (QUEUE_NS if queued else LONGEST_NS)
    open_ = np.zeros(len(first), np.bool_)
    _spread(
        journeys.packet, links.group, frames["ts_ns"], waits, newest,
        np.zeros(links.groups, np.bool_), horizon, open_,
    )  # fmt: skip
    if hold:
        lost = waits & ~open_ & (journeys.status == Status.LOST)
        open_ |= _latest(lost, journeys.frames, MOST_HELD)
    return _latest(open_, journeys.frames, MOST_CARRIED)


def _latest(
    packets: npt.NDArray[np.bool_], frames: npt.NDArray[np.int32], most: int
) -> npt.NDArray[np.bool_]:
    """The last of the packets, so that they have ``most`` frames or fewer."""
    count = np.cumsum(np.where(packets, frames, 0)[::-1])[::-1]
    return packets & (count <= most)


@compiled
def _find_incomplete(
    first: Any, last: Any, status: Any, evidence: Any, in_port: Any, frames: Any, stage: Any,
    vantage: Any, eth_dst: Any, origin: Any, layout: Any, waits: Any,
) -> None:  # fmt: skip
    """Fill ``waits`` [p]: there is a vantage at which the packet may still be seen."""
    kind, peer, copied, size, forwards = layout
    for q in range(len(first)):
        begin, end = first[q], last[q]
        v, s, w = vantage[end], stage[end], vantage[begin]
        if s == FREE or eth_dst[begin] & _MULTICAST:
            waits[q] = frames[q] != size[w]
            continue
        head = stage[begin]
        headless = (head == 1 and kind[w] == PORT and peer[w] >= 0) or (
            head >= 2 and origin[q] >= 0
        )
        uncopied = (
            in_port[q] >= 0
            and copied[in_port[q]]
            and not evidence[q] & _COPY
            and not (kind[v] == BRIDGE and s == 2)
        )
        waits[q] = s < 2 or status[q] != _DELIVERED or forwards[v] or headless or uncopied


@compiled
def _spread(
    packet: Any, group: Any, ts: Any, waits: Any, newest: Any, open_groups: Any, horizon: int,
    open_: Any,
) -> None:  # fmt: skip
    """Fill ``open_`` [p]: young, and waiting or alike one that waits."""
    for i in range(len(packet)):
        newest[packet[i]] = max(newest[packet[i]], ts[i])
    for i in range(len(packet)):
        if waits[packet[i]] and newest[packet[i]] > horizon:
            open_groups[group[i]] = True
    for i in range(len(packet)):
        if open_groups[group[i]] and newest[packet[i]] > horizon:
            open_[packet[i]] = True
