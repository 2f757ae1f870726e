"""Segments of large frames (GSO) that arrive in part only: each that does not is a lost packet.

Between containers a frame is as large as the sender's stack made it. A queue on the way that needs
segments cuts it, and drops some of them (net/sched/sch_tbf.c: tbf_segment()); the frame as a whole
was seen further on, and yet a part of it is gone. A queue keeps the order of one flow: what was
cut from a frame is lost once something that the flow sent later came through.

How many segments are missing is known from the size of those that came. A large frame that is lost
where others of its flow were cut is as many packets as it would have been cut into. Segments that
were tied to no frame make as many doubtful.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.growing import widened
from analyzer.flows.packets import path_matrix
from analyzer.model.batch import Batch
from analyzer.model.frames import EXAMPLE
from analyzer.model.journeys import Hop, Status
from analyzer.native.compiled import compiled, piece
from analyzer.native.keys import KeyNumbers, mix

_COPY, _LOST = int(Hop.COPY), int(Status.LOST)
_PASSED_NS, _SEGMENT = range(2)
"""of each edge: when the latest frame that came over it was sent; the largest segment that did"""
MOST = 1 << 20
"""frames that were lost or cut, and are kept"""
PLACE = ("flow", "last_vantage", "expected")
_ROW = ("edge", "orphans", *PLACE, "ts_ns", "size", "pieces", "segment", "whole")
_TOLD = (*PLACE, "segments", "first_ns", "last_ns")


class _Frames(NamedTuple):
    """[frames] of a batch."""

    parent: npt.NDArray[np.int32]
    hop: npt.NDArray[np.uint8]
    packet: npt.NDArray[np.int32]
    vantage: npt.NDArray[np.int32]
    ts_ns: npt.NDArray[np.int64]
    seq: npt.NDArray[np.uint32]
    size: npt.NDArray[np.uint32]
    """bytes of payload"""


class _Cut(NamedTuple):
    """What came of each frame at the next vantage, as segments; [frames], to fill."""

    pieces: npt.NDArray[np.int64]
    came: npt.NDArray[np.int64]
    """bytes of them"""
    segment: npt.NDArray[np.int64]
    """bytes of one that is not the last; 0: not known"""
    at: npt.NDArray[np.int64]
    """the vantage of the latest of them, -1"""


class Example(NamedTuple):
    """The first frame of a place of which a part was lost, or all."""

    number: int
    frame: dict[str, int]
    """EXAMPLE of it"""
    seen: list[int]
    """the vantages that saw it"""


class LostParts:
    """Those of all TCP conversations: numbers of flows are given from outside."""

    def __init__(self) -> None:
        self._edges, self._heads = KeyNumbers(), KeyNumbers()
        self._state, self._orphans = np.zeros((2, 0), np.int64), np.zeros((1, 0), np.int64)
        self._rows: list[npt.NDArray[np.int64]] = []
        self._count = 0
        self._examples: dict[tuple[int, ...], Example] = {}

    def add(self, batch: Batch, flow: npt.NDArray[np.int64]) -> None:
        """Take in one batch. flow: [packets] 2 · conversation + direction, -1: not TCP's."""
        frames = _frames(batch)
        self._learn(frames, flow)
        heads = np.flatnonzero(flow >= 0)
        first = batch.journeys.first[heads]
        heads, first = heads[frames.size[first] > 0], first[frames.size[first] > 0]
        begun = self._at(flow[heads], frames.vantage[first])
        np.add.at(self._orphans[0], begun, 1)
        if self._count < MOST:
            rows, chosen = self._found(batch, frames, flow)
            self._count += len(chosen)
            self._rows.append(rows)
            self._keep_examples(batch, rows, chosen)

    def _learn(self, frames: _Frames, flow: npt.NDArray[np.int64]) -> None:
        """When the latest frame passed each edge, and how large segments are there."""
        room = len(frames.parent)
        keys, child = np.empty(room, np.uint64), np.empty(room, np.int64)
        count = _find_edges(frames, flow, keys, child)
        edges = self._edge_numbers(keys[:count])
        _learn_edges(frames, edges, child[:count], self._state)

    def _edge_numbers(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
        numbers, _ = self._edges.take(keys)
        self._state = widened(self._state, self._edges.count, spare=True)
        return numbers

    def _at(self, flow: npt.NDArray[np.int64], vantage: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        """[n] the number of flow and vantage together."""
        numbers, _ = self._heads.take(_keys(flow, vantage, vantage))
        self._orphans = widened(self._orphans, self._heads.count, spare=True)
        return numbers

    def _found(
        self, batch: Batch, frames: _Frames, flow: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp]]:
        """([_ROW, n] frames that were lost, or of which a part is missing; which they are)."""
        cut, journeys = _cut_frames(frames), batch.journeys
        torn = np.flatnonzero((cut.pieces > 0) & (cut.came < frames.size))
        torn = torn[frames.packet[torn] >= 0]
        torn = torn[flow[frames.packet[torn]] >= 0]
        lost = np.flatnonzero((journeys.status == _LOST) & (flow >= 0))
        whole = journeys.last[lost].astype(np.intp)
        chosen = np.concatenate([torn, whole])
        flows = np.concatenate([flow[frames.packet[torn]], flow[lost]])
        expected = np.concatenate([cut.at[torn], journeys.expected[lost].astype(np.int64)])
        is_whole = np.repeat([0, 1], [len(torn), len(whole)])
        last = frames.vantage[chosen]
        columns = (
            self._edge_numbers(_keys(flows, last, expected)),
            self._at(flows, expected),
            *(flows, last, expected, frames.ts_ns[chosen]),
            *(frames.size[chosen], cut.pieces[chosen] * (1 - is_whole)),
            *(cut.segment[chosen] * (1 - is_whole), is_whole),
        )
        return np.array([column.astype(np.int64) for column in columns]), chosen

    def _keep_examples(
        self, batch: Batch, rows: npt.NDArray[np.int64], chosen: npt.NDArray[np.intp]
    ) -> None:
        """Of each place the first frame, and the vantages that saw it."""
        numbers = batch.frames["number"][chosen]
        order = np.argsort(numbers, kind="stable")
        for row in order[np.unique(rows[0, order], return_index=True)[1]].tolist():
            place, number = tuple(rows[2:5, row].tolist()), int(numbers[row])
            if place not in self._examples or number < self._examples[place].number:
                frame = np.array([chosen[row]], np.int32)
                path = path_matrix(frame, batch.journeys.parent)[0]
                last = {name: int(batch.frames[name][frame[0]]) for name in EXAMPLE}
                seen = batch.frames["vantage"][path[path >= 0]].tolist()
                self._examples[place] = Example(number, last, seen)

    def table(self, trusted: Callable[[int], bool]) -> pl.DataFrame:
        """One row a place of a flow where segments were lost: flow, last_vantage, expected;
        segments (of a frame that was lost as a whole, those beside the one that it counts as);
        first_ns, last_ns (of the frames).

        trusted: whether all that a vantage saw was captured.
        """
        if not self._count:
            return pl.DataFrame(schema=dict.fromkeys(_TOLD, pl.Int64))
        columns = dict(zip(_ROW, np.concatenate(self._rows, axis=1), strict=True))
        segment, passed = self._state[_SEGMENT, columns["edge"]], self._state[_PASSED_NS]
        segment = np.where(columns["segment"] > 0, columns["segment"], segment)
        into = -(-columns["size"] // np.maximum(segment, 1))
        gone = (columns["whole"] > 0) | (columns["ts_ns"] < passed[columns["edge"]])
        missing = into - np.where(columns["whole"] > 0, 1, columns["pieces"])
        orphans = self._orphans[0, columns["orphans"]]
        return (
            pl.DataFrame(columns)
            .with_columns(segments=np.where(gone & (segment > 0), missing, 0), orphans=orphans)
            .filter(pl.col("segments") > 0, pl.Series(_each(trusted, columns["expected"])))
            .group_by(PLACE, maintain_order=True)
            .agg(
                (pl.col("segments").sum() - pl.col("orphans").max()).alias("segments"),
                pl.col("ts_ns").min().alias("first_ns"),
                pl.col("ts_ns").max().alias("last_ns"),
            )
            .filter(pl.col("segments") > 0)
        )

    def example(self, place: tuple[int, ...]) -> Example:
        """A frame of flow, last_vantage, expected."""
        return self._examples[place]

    def ends(self) -> dict[int, dict[str, int]]:
        """By the number of each example, EXAMPLE of it."""
        return {one.number: one.frame for one in self._examples.values()}


def _each(trusted: Callable[[int], bool], vantages: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """[n] the same for each of these vantages."""
    known, place = np.unique(vantages, return_inverse=True)
    told = np.array([trusted(vantage) for vantage in known.tolist()], np.bool_)
    each: npt.NDArray[np.bool_] = told[place]
    return each


def _frames(batch: Batch) -> _Frames:
    journeys, frames = batch.journeys, batch.frames
    told = (journeys.parent, journeys.hop, journeys.packet)
    return _Frames(*told, *(frames[n] for n in ("vantage", "ts_ns", "tcp_seq", "payload_len")))


def _keys(
    flow: npt.NDArray[np.int64], last: npt.NDArray[Any], expected: npt.NDArray[Any]
) -> npt.NDArray[np.uint64]:
    keys = np.empty(len(flow), np.uint64)
    _fill_keys(flow, last.astype(np.int64), expected.astype(np.int64), keys)
    return keys


def _cut_frames(frames: _Frames) -> _Cut:
    count = len(frames.parent)
    zeros = [np.zeros(count, np.int64) for _ in range(3)]
    cut = _Cut(zeros[0], zeros[1], zeros[2], np.full(count, -1, np.int64))
    _cut(frames, cut)
    return cut


@piece
def _key(flow: Any, last: Any, expected: Any) -> Any:
    return mix(np.uint64(flow), np.uint64(last) << np.uint64(32) | np.uint64(expected))


@compiled
def _fill_keys(flow: Any, last: Any, expected: Any, keys: Any) -> None:
    for row in range(len(keys)):
        keys[row] = _key(flow[row], last[row], expected[row])


@piece
def _inner_size(frames: _Frames, c: Any) -> Any:
    """Bytes of a segment that was cut from its parent, and is not the last of it; else 0."""
    p, size = frames.parent[c], np.int64(frames.size[c])
    offset = (np.int64(frames.seq[c]) - np.int64(frames.seq[p])) & 0xFFFFFFFF
    return size if offset + size < np.int64(frames.size[p]) else np.int64(0)


@compiled
def _cut(frames: _Frames, cut: _Cut) -> None:
    """Fill ``cut`` from the frames that came from each one and are smaller."""
    for c in range(len(frames.parent)):
        p = frames.parent[c]
        if p < 0 or frames.hop[c] == _COPY or not 0 < frames.size[c] < frames.size[p]:
            continue
        cut.pieces[p] += 1
        cut.came[p] += np.int64(frames.size[c])
        cut.at[p] = frames.vantage[c]
        cut.segment[p] = max(cut.segment[p], _inner_size(frames, c))


@compiled
def _find_edges(frames: _Frames, flow: Any, keys: Any, child: Any) -> Any:
    """Fill ``keys`` and ``child`` with the edges that data of flows came over; how many."""
    count = 0
    for c in range(len(frames.parent)):
        p, q = frames.parent[c], frames.packet[c]
        if p < 0 or q < 0 or flow[q] < 0 or frames.hop[c] == _COPY or not frames.size[c]:
            continue
        keys[count] = _key(flow[q], np.int64(frames.vantage[p]), np.int64(frames.vantage[c]))
        child[count] = c
        count += 1
    return count


@compiled
def _learn_edges(frames: _Frames, edges: Any, child: Any, state: Any) -> None:
    """state: [2, edges] _PASSED_NS, _SEGMENT."""
    for k in range(len(child)):
        c, edge = child[k], edges[k]
        p = frames.parent[c]
        state[_PASSED_NS, edge] = max(state[_PASSED_NS, edge], frames.ts_ns[p])
        if frames.size[c] < frames.size[p]:
            state[_SEGMENT, edge] = max(state[_SEGMENT, edge], _inner_size(frames, c))
