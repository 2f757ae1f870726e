"""Follow packets between devices that stand on each other, and through VXLAN tunnels.

A macvlan, an ipvlan or a VLAN device hands its frames to the device beneath as they are, and that
one shows them, too: going out towards the wire, and *coming in* where the kernel passes a frame
from one macvlan to another in bridge mode (macvlan_queue_xmit lends it to the lower device's taps
first). Broadcasts go from one macvlan to the others directly.

A VXLAN device wraps its frames into UDP (RFC 7348). Decoding has left the inner frame's l2key as
the natkey of the outer packet: so what goes out at the device is tied to the outer packet that
leaves, and one that arrives to what comes in at the device of the other end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.correlate.columns import Edges, seen_times
from analyzer.correlate.loss import GRACE_NS, Watch
from analyzer.correlate.pairing import pair_groups
from analyzer.correlate.stages import BRIDGE, STATION, Layout
from analyzer.model.frames import FLAG_DIRECTION
from analyzer.model.journeys import Evidence, Hop, Status
from analyzer.native.keys import mixed
from analyzer.net.ethernet import GROUP_BIT_U64
from analyzer.net.ip import UDP
from analyzer.net.ports import VXLAN_PORTS

Columns = Mapping[str, npt.NDArray[Any]]
Rows = npt.NDArray[np.intp]
_EGRESS = 2


class _Tying:
    """The edges between all frames, and how to add to them."""

    def __init__(self, frames: Columns, layout: Layout, edges: Edges) -> None:
        self._edges, self._times = edges, seen_times(frames, layout)

    def free(self, rows: Rows) -> Rows:
        """Those of the rows that came from nowhere so far."""
        return rows[self._edges.parent[rows] < 0]

    def waiting(self, rows: Rows, hop: Hop) -> Rows:
        """Those of the rows that nothing came from so far by a hop of this kind."""
        parent = self._edges.parent
        went_on = parent[(self._edges.hop == hop) & (parent >= 0)]
        return np.setdiff1d(rows, went_on, assume_unique=True)

    def add(self, sources: Rows, targets: Rows, keys: npt.NDArray[np.uint64], kind: Hop) -> None:
        """Pair sources and targets with equal keys; keys: of the sources, then the targets."""
        if not (len(sources) and len(targets)):
            return
        rows = np.concatenate([sources, targets]).astype(np.int32)
        parent, unsure = pair_groups(rows, len(sources), keys, self._times)
        tied = parent >= 0
        children, edges = targets[tied], self._edges
        edges.parent[children], edges.likely[children] = parent[tied], unsure[tied]
        edges.hop[children] = kind


def link_stacks(
    frames: Columns, layout: Layout, stage: npt.NDArray[np.int32], edges: Edges
) -> None:
    """Tie the frames of devices to those of the device beneath; fills ``edges``."""
    if not (layout.over >= 0).any():
        return
    tie = _Tying(frames, layout, edges)
    vantage, out = frames["vantage"], (frames["flags"] & FLAG_DIRECTION) == _EGRESS
    over, under = layout.over[vantage], layout.under[vantage]
    sent, received = np.flatnonzero((over >= 0) & out), np.flatnonzero((over >= 0) & ~out)
    beneath = np.flatnonzero(under >= 0)

    def keys(rows: Rows, stack: npt.NDArray[np.int32]) -> npt.NDArray[np.uint64]:
        return mixed(frames["l2key"][rows], stack[rows])

    def both(a: Rows, one: npt.NDArray[np.int32], b: Rows, other: Any) -> npt.NDArray[np.uint64]:
        return np.concatenate([keys(a, one), keys(b, other)])

    targets = tie.free(beneath)
    tie.add(sent, targets, both(sent, over, targets, under), Hop.STACKED)
    shown = beneath[~out[beneath]]
    to_one = (frames["eth_dst"][received] & GROUP_BIT_U64) == 0
    # a broadcast reaches every device once: each is tied by itself
    single = [received[to_one]]
    single += [
        received[~to_one & (vantage[received] == v)] for v in np.flatnonzero(layout.over >= 0)
    ]
    for some in single:
        targets = tie.free(some)
        tie.add(shown, targets, both(shown, under, targets, over), Hop.STACKED)
        targets = tie.free(some)
        tie.add(sent, targets, both(sent, over, targets, over), Hop.SPAN)


def link_tunnels(
    frames: Columns, layout: Layout, stage: npt.NDArray[np.int32], edges: Edges
) -> None:
    """Tie frames at VXLAN devices to the packets that carry them; fills ``edges``."""
    if not layout.tunnel.any():
        return
    tie = _Tying(frames, layout, edges)
    vantage, out = frames["vantage"], (frames["flags"] & FLAG_DIRECTION) == _EGRESS
    device = layout.tunnel[vantage]
    kind = layout.kind[vantage]
    carriers = (frames["protocol"] == UDP) & np.isin(frames["dst_port"], VXLAN_PORTS) & ~device
    leaving = carriers & (((kind == BRIDGE) & (stage == 1)) | ((kind == STATION) & (stage == 0)))
    arrived = carriers & (((kind == BRIDGE) & (stage == 2)) | ((kind == STATION) & (stage == 3)))
    netns = layout.netns[vantage]
    # Docker's overlays have a namespace of their own; what was tied within one goes no other way:
    # the outer packet at a router further on is routed, not wrapped anew
    for where in (netns, np.zeros_like(netns)):
        into = tie.waiting(np.flatnonzero(device & out), Hop.TUNNEL)
        outer = tie.free(np.flatnonzero(leaving))
        keys = _keys(frames, "l2key", into, where), _keys(frames, "natkey", outer, where)
        tie.add(into, outer, np.concatenate(keys), Hop.TUNNEL)
        outer = tie.waiting(np.flatnonzero(arrived), Hop.TUNNEL)
        inner = tie.free(np.flatnonzero(device & ~out))
        keys = _keys(frames, "natkey", outer, where), _keys(frames, "l2key", inner, where)
        tie.add(outer, inner, np.concatenate(keys), Hop.TUNNEL)


def _keys(
    frames: Columns, name: str, rows: Rows, where: npt.NDArray[np.int32]
) -> npt.NDArray[np.uint64]:
    return mixed(frames[name][rows], where[rows])


def judge_beyond(
    last: npt.NDArray[np.int32],
    frames: Columns,
    layout: Layout,
    watch: Watch,
    judged: tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32], npt.NDArray[np.uint16]],
) -> None:
    """Call lost what a device above, beneath or behind the tunnel had to see; in place.

    judged: status, expected and evidence of each packet, of which ``last`` is the last frame.
    """
    if not ((layout.over >= 0).any() or layout.tunnel.any()):
        return
    status, expected, evidence = judged
    out = (frames["flags"][last] & FLAG_DIRECTION) == _EGRESS
    to_one = (frames["eth_dst"][last] & GROUP_BIT_U64) == 0
    for at in np.flatnonzero(to_one & (status == Status.DELIVERED)):
        frame = last[at]
        mac = frames["eth_dst"][frame]
        tunnelled = bool(evidence[at] & Evidence.TUNNELLED)
        following = _following(int(frames["vantage"][frame]), bool(out[at]), mac, tunnelled, layout)
        ts = frames["ts_ns"][frame]
        if following >= 0:
            watched = watch.start_ns[following] <= ts <= watch.end_ns[following] - GRACE_NS
            certain = watched and watch.complete[following]
            status[at] = Status.LOST if certain else Status.UNMATCHED
            expected[at] = following if certain else -1


def _following(v: int, out: bool, mac: Any, tunnelled: bool, layout: Layout) -> int:
    """The vantage that had to see next what was last seen at v; -1 where there is none."""
    if layout.over[v] >= 0 and out:
        following = np.flatnonzero(layout.under == layout.over[v])
    elif layout.under[v] >= 0 and not out:
        following = np.flatnonzero((layout.over == layout.under[v]) & (layout.mac == mac))
    elif tunnelled and not out and layout.kind[v] in (STATION, BRIDGE) and layout.mac[v] == mac:
        following = np.flatnonzero(layout.tunnel & (layout.netns == layout.netns[v]))
    else:
        return -1
    return int(following[0]) if len(following) == 1 else -1
