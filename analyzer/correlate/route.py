"""Follow a packet across a route: from the interface it was handed up at to the one it leaves by.

A routed packet has new MACs, a hop limit that is one less and a new IP checksum; across NAT
also other addresses and ports. So journeys that end inside a namespace are tied to journeys
that begin in the same namespace, by what remains: first by the key that survives a route; then
by the one that survives NAT, together with the tuple that connection tracking says the packet
left with; and what connection tracking tells nothing of, by the latter key alone. That is a
guess and never certain, and where packets of several connections look the same it is not made.
The hop limit must have fallen by exactly one in any case.

Where bridged frames pass iptables (br_netfilter), NAT happens between two ports of a bridge too:
the frame is given the MAC of the new destination and never routed. Such ports are tied by what
connection tracking says, and by nothing less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from msgspec.structs import replace

from analyzer.correlate.columns import Edges, seen_times
from analyzer.correlate.pairing import pair_groups
from analyzer.correlate.stages import BRIDGE, PORT, STATION, Layout
from analyzer.correlate.translate import Expected, Translator, frame_tuples
from analyzer.model.journeys import Hop
from analyzer.native.keys import mixed

Columns = Mapping[str, npt.NDArray[Any]]
Rows = npt.NDArray[np.intp]
Keys = npt.NDArray[np.uint64]


def link_routes(
    frames: Columns,
    layout: Layout,
    stage: npt.NDArray[np.int32],
    edges: Edges,
    translator: Translator,
) -> None:
    """Write Hop.ROUTE for first frames that were routed to (between ports: BRIDGE); in place.

    frames: decoded columns with ``vantage``, ``ts_ns``, ``ttl``, ``l3key``, ``natkey``.
    """
    kind = layout.kind.take(frames["vantage"])
    arrived = (kind == BRIDGE) & (stage == 2) & (edges.hop != Hop.COPY)
    arrived |= (kind == STATION) & (stage == 3)
    leaving = (kind == BRIDGE) & (stage == 1) | (kind == STATION) & (stage == 0)
    leaving &= edges.parent < 0
    routable = frames["l3key"] != 0
    crossing = _Crossing(
        frames,
        layout,
        edges,
        np.flatnonzero(arrived & routable),
        np.flatnonzero(leaving & routable),
    )
    crossing.tie(*crossing.keys("l3key"))
    crossing.translate(translator)
    crossing.guess(translator)
    if len(translator):
        _link_bridged(frames, layout, stage, edges, translator)


def _link_bridged(
    frames: Columns,
    layout: Layout,
    stage: npt.NDArray[np.int32],
    edges: Edges,
    translator: Translator,
) -> None:
    """Tie what was translated between two ports: as routes are, but the hop limit stays.

    In the middle, where only the destination is translated, the bridge device may show the frame
    on the way out, with a MAC of its own: it is no packet from the host.
    """
    port = (layout.kind.take(frames["vantage"]) == PORT) & (frames["l3key"] != 0)
    went_on = np.zeros(len(port), np.bool_)
    went_on[edges.parent[edges.parent >= 0]] = True
    arrived = np.flatnonzero(port & (stage == 1) & ~went_on)
    leaving = np.flatnonzero(port & (stage == 2) & (edges.parent < 0))
    crossing = _Crossing(frames, layout, edges, arrived, leaving, Hop.BRIDGE, 0)
    crossing.translate(translator)
    in_between = (layout.kind.take(frames["vantage"]) == BRIDGE) & (stage == 1) & (edges.parent < 0)
    crossing = replace(crossing, arrived=arrived, leaving=np.flatnonzero(in_between), hop=Hop.COPY)
    crossing.translate(translator, ("half",))


def link_deliveries(
    frames: Columns,
    layout: Layout,
    stage: npt.NDArray[np.int32],
    edges: Edges,
    translator: Translator,
) -> None:
    """Tie what a bridge handed up, the destination translated already, to the port it came by."""
    if not len(translator):
        return
    kind = layout.kind.take(frames["vantage"])
    arrived = np.flatnonzero((kind == PORT) & (stage == 1) & (frames["l3key"] != 0))
    up = (kind == BRIDGE) & (stage == 2) & (edges.parent < 0)
    up &= frames["eth_dst"] == layout.mac[frames["vantage"]]
    crossing = _Crossing(frames, layout, edges, arrived, np.flatnonzero(up), Hop.DELIVER, 0)
    crossing.translate(translator, ("half",))


class _Crossing(Struct):
    """Frames that arrived in a namespace, and those that leave one, until they are tied."""

    frames: Columns
    layout: Layout
    edges: Edges
    arrived: Rows
    leaving: Rows
    hop: Hop = Hop.ROUTE
    falls: int = 1
    """by how much the hop limit does"""

    def keys(self, name: str) -> tuple[Keys, Keys]:
        """Of arrived and of leaving frames: the same where these are one packet's."""
        return (
            self._placed(name, self.arrived, self.falls),
            self._placed(name, self.leaving, 0),
        )

    def _placed(self, name: str, rows: Rows, falls: int) -> Keys:
        """A key within its namespace, and with the hop limit that is to be."""
        netns = self.layout.netns[self.frames["vantage"][rows]]
        return mixed(self.frames[name][rows], netns, self.frames["ttl"][rows] - np.int64(falls))

    def is_done(self) -> bool:
        return not (len(self.arrived) and len(self.leaving))

    def translate(
        self, translator: Translator, possible: Sequence[str] = ("first", "second")
    ) -> None:
        """Tie what left as connection tracking says. possible: fields of `Expected`, in turn."""
        if not len(translator):
            return
        for which in possible:
            if self.is_done():
                return
            expected = self._expected(translator)
            translated: Keys = getattr(expected, which)
            chosen = translated != 0
            sources = self.arrived[chosen]
            doubtful = ~expected.sure[chosen] | (which == "second")
            self.tie(
                mixed(self._placed("natkey", sources, self.falls), translated[chosen]),
                mixed(self._placed("natkey", self.leaving, 0), self._tuples(self.leaving)),
                sources=sources,
                doubtful=doubtful,
            )

    def guess(self, translator: Translator) -> None:
        """Tie what connection tracking told nothing of by what NAT leaves of a packet."""
        if len(translator) and not self.is_done():
            self.arrived = self.arrived[self._expected(translator).first == 0]
            self.leaving = self.leaving[~translator.is_result(self._tuples(self.leaving))]
        if self.is_done():
            return
        everything = np.ones(len(self.arrived), np.bool_)
        self.tie(*self.keys("natkey"), doubtful=everything, guessed=True)

    def tie(
        self,
        before: Keys,
        after: Keys,
        *,
        sources: Rows | None = None,
        doubtful: npt.NDArray[np.bool_] | None = None,
        guessed: bool = False,
    ) -> None:
        """Align arrived and leaving frames of equal keys.

        sources: those of ``arrived`` that ``before`` is of; all where None. doubtful: of them.
        guessed: not where the keys are those of several connections.
        """
        if self.is_done():
            return
        edges, targets = self.edges, self.leaving
        sources = self.arrived if sources is None else sources
        rows = np.concatenate([sources, targets]).astype(np.int32)
        keys = np.concatenate([before, after])
        times = seen_times(self.frames, self.layout)
        from_, unsure = pair_groups(rows, len(sources), keys, times)
        tied = from_ >= 0
        if guessed and (open_ := tied & unsure).any():
            tied &= ~np.isin(after, self._shared(rows, len(sources), keys, after[open_]))
        children, parents = targets[tied], from_[tied]
        edges.parent[children], edges.likely[children] = parents, unsure[tied]
        edges.hop[children] = self.hop
        if doubtful is not None:
            edges.likely[children] |= doubtful[np.searchsorted(sources, parents)]
        self.leaving = targets[~tied]
        self.arrived = np.setdiff1d(self.arrived, parents, assume_unique=True)

    def _shared(self, rows: npt.NDArray[Any], split: int, keys: Keys, asked: Keys) -> Keys:
        """Those of the keys asked for that several connections have, on one side or the other."""
        shared = []
        for side in (slice(split), slice(split, None)):
            wanted = np.isin(keys[side], asked)
            pairs = np.stack([keys[side][wanted], self._tuples(rows[side][wanted])], axis=1)
            kinds, count = np.unique(np.unique(pairs, axis=0)[:, 0], return_counts=True)
            shared.append(kinds[count > 1])
        return np.concatenate(shared)

    def _tuples(self, rows: npt.NDArray[Any]) -> Keys:
        return frame_tuples(self.frames, rows, self.layout.inode)

    def _expected(self, translator: Translator) -> Expected:
        return translator.expected(self._tuples(self.arrived), self.frames["ts_ns"][self.arrived])
