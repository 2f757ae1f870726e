"""Delay and loss per hop: every parent→child edge of every journey, grouped."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.delays import Delays
from analyzer.flows.growing import padded
from analyzer.flows.live_numbers import OTHERS, LiveNumbers, new_numbers
from analyzer.model.batch import Batch
from analyzer.model.frames import MARK_UNTIMED, UNTIMED
from analyzer.model.journeys import Hop
from analyzer.native.compiled import compiled
from analyzer.native.keys import mix

GROUP = ["protocol", "source", "destination", "from", "to"]
_QUANTILES = (0.5, 0.9, 0.99)
_COPY, _SPAN = int(Hop.COPY), int(Hop.SPAN)


class Hops:
    """The hops of all packets: a row a (protocol, source, destination, from, to, kind).

    Of very many, those that were passed last; the others are counted together, between `OTHERS`.
    """

    def __init__(self) -> None:
        self._numbers = LiveNumbers()
        self._others: pl.DataFrame | None = None
        self._rows: list[pl.DataFrame] = []
        self._delays = Delays()
        self._counts = np.zeros((2, 0), np.int64)

    @property
    def negative(self) -> int:
        """Hops of which the end was stamped before the start: the clock was set in between."""
        return self._delays.negative

    def add(self, batch: Batch) -> None:
        """Count the edges of one batch. Copies are left out: they are no timed hop."""
        frames, journeys, packets = batch.frames, batch.journeys, batch.packets
        n = len(journeys.parent)
        steps = _Steps(
            journeys.parent,
            journeys.hop,
            journeys.packet,
            frames["vantage"],
            frames["ts_ns"],
            frames["marks"],
        )
        edges = _Edges(np.empty(n, np.int32), np.empty(n, np.uint64), np.empty(n, np.int64))
        count = _find_edges(steps, packets["pair"].to_numpy(), edges)
        child = edges.child[:count]
        groups, fresh = self._numbers.take(edges.key[:count])
        if len(fresh):
            self._rows.append(_rows(batch, child[fresh]))
            more = np.array([[0], [(1 << 63) - 1]]).repeat(len(fresh), axis=1)
            self._counts = np.concatenate([self._counts, more], axis=1)
        _tally(groups, child, frames["number"], self._counts)
        delay_ns = edges.delay_ns[:count]
        timed = delay_ns != UNTIMED
        self._delays.add(groups[timed], delay_ns[timed])
        self._shed()

    def _shed(self) -> None:
        """Count the hops that were passed least recently together, where there are too many."""
        count = self._numbers.count
        kept = self._numbers.shed()
        if kept is None:
            return
        gone = np.flatnonzero(new_numbers(kept, count) < 0)
        rows = pl.concat(self._rows)
        out = rows[gone].with_columns(
            pl.lit(OTHERS).alias("source"),
            pl.lit(OTHERS).alias("destination"),
            packets=pl.Series(self._counts[0, gone]),
            number=pl.Series(self._counts[1, gone]),
        )
        both = out if self._others is None else pl.concat([self._others, out])
        grouped = both.group_by(*GROUP, "hop", maintain_order=True)
        self._others = grouped.agg(pl.col("packets").sum(), pl.col("number").min())
        self._rows, self._counts = [rows[kept]], self._counts[:, kept]
        self._delays.keep(kept)

    def table(self, losses: pl.DataFrame) -> pl.DataFrame:
        """One row a hop: packets, lost, delays; ``from`` and ``to`` are vantage indices.

        hop is its code; a hop on which every packet was lost has none, and no delays. losses: see
        `analyzer.flows.losses.summarise_losses`.
        """
        timed = self._timed()
        lost = losses.select(
            "protocol",
            "source",
            "destination",
            pl.col("last_vantage").alias("from"),
            pl.col("expected").alias("to"),
            pl.col("packets").alias("lost"),
            pl.col("last_number").alias("lost_number"),
        )
        return (
            timed.join(lost, on=GROUP, how="full", coalesce=True)
            .with_columns(
                pl.col("packets", "lost").fill_null(0),
                pl.coalesce("number", "lost_number").alias("number"),
            )
            .sort("number", maintain_order=True)
        )

    def _timed(self) -> pl.DataFrame:
        rows = pl.concat(self._rows) if self._rows else _EMPTY
        delays = self._delays.table(_QUANTILES).head(len(rows)).drop("group")
        followed = rows.with_columns(
            pl.Series("packets", self._counts[0]),
            pl.Series("number", self._counts[1]),
            *(padded(delays[name], len(rows)) for name in delays.columns),
        )
        if self._others is None:
            return followed
        return pl.concat([followed, self._others], how="diagonal")


def _rows(batch: Batch, child: npt.NDArray[np.int32]) -> pl.DataFrame:
    """Who and where, of edges that are the first of their kind."""
    vantage, journeys = batch.frames["vantage"], batch.journeys
    return (
        batch.packets[journeys.packet[child]]
        .select(pl.col("protocol", "source", "destination").cast(pl.String))
        .with_columns(
            pl.Series("from", vantage[journeys.parent[child]]),
            pl.Series("to", vantage[child]),
            pl.Series("hop", journeys.hop[child]),
        )
    )


_EMPTY = pl.DataFrame(
    schema={
        **dict.fromkeys(GROUP[:3], pl.String),
        **dict.fromkeys(GROUP[3:], pl.Int32),
        "hop": pl.UInt8,
    }
)


class _Steps(NamedTuple):
    """How each frame came to where it was seen; [frames] of each."""

    parent: npt.NDArray[np.int32]
    """the frame before it on its packet's journey, -1: none"""
    hop: npt.NDArray[np.uint8]
    """code of the hop from there"""
    packet: npt.NDArray[np.int32]
    """row of its packet, -1: none of this batch"""
    vantage: npt.NDArray[np.int32]
    ts_ns: npt.NDArray[np.int64]
    marks: npt.NDArray[np.uint8]


class _Edges(NamedTuple):
    """Room for timed hops; [edges] of each."""

    child: npt.NDArray[np.int32]
    """the frame that ends it"""
    key: npt.NDArray[np.uint64]
    """equal for hops that are counted together"""
    delay_ns: npt.NDArray[np.int64]


@compiled
def _find_edges(steps: _Steps, pair: Any, edges: _Edges) -> Any:
    """Fill ``edges`` with those of the batch's packets; how many. pair: [packets].

    Between two frames at one vantage there is no hop: it stands for several interfaces.
    """
    count = 0
    for frame in range(len(steps.parent)):
        parent, packet, hop = steps.parent[frame], steps.packet[frame], steps.hop[frame]
        if parent < 0 or packet < 0 or hop == _COPY:
            continue
        if hop == _SPAN and steps.vantage[parent] == steps.vantage[frame]:
            continue
        ends = np.uint64(steps.vantage[parent]) << np.uint64(32) | np.uint64(steps.vantage[frame])
        edges.key[count] = mix(mix(ends, hop), pair[packet])
        edges.child[count] = frame
        told = (steps.marks[frame] | steps.marks[parent]) & MARK_UNTIMED == 0
        edges.delay_ns[count] = steps.ts_ns[frame] - steps.ts_ns[parent] if told else UNTIMED
        count += 1
    return count


@compiled
def _tally(groups: Any, child: Any, number: Any, counts: Any) -> None:
    """counts: [2, groups] of edges, and the least number of a frame that ends one."""
    for k in range(len(groups)):
        group = groups[k]
        counts[0, group] += 1
        counts[1, group] = min(counts[1, group], number[child[k]])
