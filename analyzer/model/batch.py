"""What correlation hands on while a capture is read: packets that are complete, a batch at a time.

A capture of any length is analysed in batches, so that memory holds what is open and never
the whole. Each kind of flow has an *aggregator*: it is given every batch once, keeps a partial
that does not grow with the number of packets (counts, sums, histograms, what is open), and makes
its rows of it at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec import Struct, field

from analyzer.model.frames import FrameChunk
from analyzer.model.journeys import Journeys
from analyzer.model.tenures import FOREVER_NS as FOREVER_NS
from analyzer.model.tenures import Life
from analyzer.model.vantage import Vantage

Columns = Mapping[str, npt.NDArray[Any]]
"""name → [n] numpy column, one row a frame"""

BorneSince = Callable[
    [npt.NDArray[np.int32], npt.NDArray[np.uint64], npt.NDArray[np.int64]], npt.NDArray[np.int64]
]
"""(segments, MACs, times) → since when each MAC has had the bearer that it had then"""
HadSince = Callable[
    [
        npt.NDArray[np.int32],
        tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]],
        npt.NDArray[np.int64],
    ],
    npt.NDArray[np.int64],
]
"""(sites, addresses, times) → since when each address has had the owner that it had then"""


class Batch(Struct, frozen=True):
    """Packets of which no further frame is expected, with their frames.

    All of it is valid during `Aggregator.add` only: the arrays are used again for the next batch.
    """

    frames: Columns
    """DECODED columns and ts_ns, vantage, flags, caplen, wirelen, linktype, number (int64: place
    in the capture, from 0); rows that belong to no packet of this batch have
    ``journeys.packet == -1``"""
    journeys: Journeys
    """of these frames; all indices are rows of this batch"""
    packets: pl.DataFrame
    """one row a packet, see `analyzer.flows.packets.build_packets`; frame columns are rows of
    ``frames``, ``number`` is the capture-wide number of the first frame"""
    settled_ns: int = FOREVER_NS
    """no later batch holds a packet that began before this"""
    vantages: Sequence[Vantage] = ()
    """[v]"""
    own: Sequence[bytes] = ()
    """contents of vethscope's own blocks that were read with these frames"""
    borne_since: BorneSince = lambda segment, mac, ns: np.zeros(len(mac), np.int64)
    """see `analyzer.flows.endpoints.Endpoints.borne_since`"""
    had_since: HadSince = lambda site, address, ns: np.zeros(len(ns), np.int64)
    """see `analyzer.flows.endpoints.Endpoints.had_since`"""
    refused: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    """what ICMP errors that were read with these frames refuse: see
    `analyzer.correlate.answers.quoted_keys`"""

    @property
    def counted(self) -> pl.DataFrame:
        """The packets that are to be counted: without strays."""
        return self.packets.filter(~pl.col("stray"))


class Outlook(Struct, frozen=True):
    """What is known of the capture as a whole when the last batch has been added."""

    vantages: Sequence[Vantage]
    end_ns: int = 0
    """when the capture ended: by its statistics, else by its last frame"""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    fdb: Mapping[str, Sequence[tuple[str, int]]] = field(default_factory=dict)
    """bridge vantage name → (MAC, port ifindex), start and end of the capture together"""
    complete: bool = True
    """no ring dropped anything"""
    bridge: str = "docker0"
    """the bridge of the verdict's claim"""
    one_way: frozenset[str] = frozenset()
    """capture filters that may have let requests pass and their answers not"""
    watched_ns: Sequence[tuple[int | None, int | None]] = ()
    """[v] since when each vantage was captured, and when its interface vanished, if it did"""

    lives: Sequence[Life] = ()
    """[v] as `watched_ns`, with what its frames tell; where it is empty, those are all there is"""

    later_macs: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """vantage → MACs that its interface was heard to have besides the one that is described"""

    def life(self, vantage: int) -> Life:
        """When a vantage's interface was there."""
        if self.lives:
            return self.lives[vantage]
        since, gone = self.lifetime(vantage)
        return Life(since, FOREVER_NS, gone or FOREVER_NS)

    def lifetime(self, vantage: int) -> tuple[int, int | None]:
        """Since when a vantage is known, and when its interface vanished, if it did."""
        since, gone = self.watched_ns[vantage] if self.watched_ns else (None, None)
        return since or 0, gone


class Aggregator(Protocol):
    """One kind of flow. ``finish(outlook)`` returns its rows; the type is its own affair."""

    def add(self, batch: Batch) -> None:
        """Take in one batch. Batches come in order of closing: see `Batch.settled_ns`."""


@runtime_checkable
class Reader(Protocol):
    """An aggregator that needs bytes of frames which decoding keeps no column of."""

    def peek(self, chunk: FrameChunk, frames: Columns) -> None:
        """See a chunk just decoded, row by row the same in both, while its bytes are there.

        Called in file order from the thread that reads, before ``add`` sees those frames.
        """


class InOrder(Struct):
    """Rows held back until nothing older can come: for aggregators to which order matters."""

    least: int = 0
    """rows are handed out so many at a time at least, which makes the work on them worth it"""
    held: pl.DataFrame | None = None

    def release(self, rows: pl.DataFrame, settled_ns: int) -> pl.DataFrame:
        """Those of the held and the new rows that are settled, by ``ts_ns``; keeps the others."""
        both = rows if self.held is None or self.held.is_empty() else pl.concat([self.held, rows])
        if len(both) < self.least and settled_ns != FOREVER_NS:
            self.held = both
            return both.clear()
        ready = both["ts_ns"].to_numpy() < settled_ns
        if np.all(ready):
            self.held = both.clear()
        else:
            self.held, both = both.filter(~ready), both.filter(ready)
        return in_order_of_time(both)

    def renumber(self, new_flow: npt.NDArray[np.int64]) -> None:
        """Give the rows that are held back the new number of their ``flow``; -1: it is gone."""
        if self.held is not None:
            moved = pl.Series("flow", new_flow[self.held["flow"].to_numpy()], pl.Int64)
            self.held = self.held.with_columns(moved).filter(pl.col("flow") >= 0)


def in_order_of_time(rows: pl.DataFrame, *then: str) -> pl.DataFrame:
    """The rows by ``ts_ns``, those of one time by the columns ``then``; else as they were."""
    stamps = rows["ts_ns"].to_numpy()
    if np.all(stamps[1:] > stamps[:-1]):
        return rows
    return rows.sort("ts_ns", *then, maintain_order=True)
