"""TCP handshakes: the slow ones of a service, and the hop that made them so.

A SYN and its SYN-ACK are a round trip as an echo is. Each brings the slowest hop of its own
journey along; of every pair of ends and service the slowest are kept, and the one at the 99th
percentile is told where it is far off the usual.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec import Struct, field

from analyzer.flows.delays import Delays
from analyzer.flows.slow_echoes import SLOWEST, slowest_hops
from analyzer.model.batch import Batch
from analyzer.native.keys import KeyNumbers, mixed
from analyzer.net.tcp_flags import SYN, SYN_ACK

MOST = 1 << 16
"""SYNs that an answer is waited for, the latest"""
_PATIENCE_NS = 5_000_000_000
_KEPT = 64
"""slowest round trips of a service that are kept"""
_ENOUGH, _FAR_OFF = 10, 5
"""round trips, to speak of a usual one; times the median"""
_PAIR = ["source", "destination", "port"]
_KEPT_OF_SYN = ("number", "ts_ns", "last_ts_ns", "first_vantage", "last_vantage", *SLOWEST[:3])


class SlowHandshake(NamedTuple):
    """The handshake at the 99th percentile of a service."""

    source: str
    destination: str
    port: int
    handshakes: int
    """of the service"""
    median_ns: int
    trip: dict[str, Any]
    """rtt_ns, turnaround_ns, slow_ns, slow_from, slow_to, at: see `_round_trips`"""


class SlowHandshakes(Struct):
    """By service: how long its round trips take, and all of the slowest ones."""

    _open: pl.DataFrame | None = None
    _numbers: KeyNumbers = field(default_factory=KeyNumbers)
    _pairs: list[tuple[str, str, int]] = field(default_factory=list)
    _times: Delays = field(default_factory=Delays)
    _slowest: pl.DataFrame | None = None

    def add(self, batch: Batch) -> None:
        """Take in the handshakes of one batch."""
        rows = _messages(batch)
        if rows is None:
            return
        asked = rows.filter("asked")
        questions = asked if self._open is None else pl.concat([self._open, asked])
        waits = pl.col("ts_ns") > pl.col("ts_ns").max() - _PATIENCE_NS
        answers = rows.filter(~pl.col("asked"))
        if answers.is_empty():
            self._open = questions.filter(waits).tail(MOST)
            return
        trips = _round_trips(questions, answers)
        waits &= ~pl.col("number").is_in(trips["number"].implode())
        self._open = questions.filter(waits).tail(MOST)
        if len(trips):
            self._keep(trips)

    def _keep(self, trips: pl.DataFrame) -> None:
        numbers, fresh = self._numbers.take(
            trips.select(h=pl.struct(_PAIR).hash(7))["h"].to_numpy()
        )
        self._pairs += trips[fresh].select(_PAIR).rows()
        self._times.add(numbers, trips["rtt_ns"].to_numpy())
        new = trips.drop(_PAIR).with_columns(pl.Series("pair", numbers))
        both = new if self._slowest is None else pl.concat([self._slowest, new])
        self._slowest = (
            both.sort("rtt_ns", descending=True, maintain_order=True)
            .group_by("pair", maintain_order=True)
            .head(_KEPT)
            .select(new.columns)
        )

    def rows(self) -> list[SlowHandshake]:
        """One a service of which the 99th percentile is far off the median."""
        if self._slowest is None:
            return []
        times = self._times.table((0.5,))
        rows = []
        for pair, names in enumerate(self._pairs):
            count, median_ns = times["timed"][pair], times["p50_ns"][pair]
            rank = min((count - 1) // 100, _KEPT - 1)
            trip = self._slowest.filter(pl.col("pair") == pair).row(rank, named=True)
            if count >= _ENOUGH and trip["rtt_ns"] >= _FAR_OFF * max(median_ns, 1):
                rows.append(SlowHandshake(*names, count, median_ns, trip))
        return rows


def _messages(batch: Batch) -> pl.DataFrame | None:
    """SYNs and SYN-ACKs; None where there are none."""
    frames, packets = batch.frames, batch.packets
    first = packets["first_frame"].to_numpy()
    flags = frames["tcp_flags"][first]
    rows = np.flatnonzero(flags & SYN)
    if not len(rows):
        return None
    chosen = packets[rows].filter(~pl.col("stray"))
    first, last = (chosen[f"{end}_frame"].to_numpy() for end in ("first", "last"))
    asked = (frames["tcp_flags"][first] & SYN_ACK) == SYN
    # the client's side is the same in both: as it first was, as it last is
    own, other = np.where(asked, first, last), np.where(asked, last, first)

    def side(asker: str, answerer: str, at: npt.NDArray[Any]) -> npt.NDArray[Any]:
        column: npt.NDArray[Any] = np.where(asked, frames[asker][at], frames[answerer][at])
        return column

    client = [side(f"src_{part}", f"dst_{part}", own) for part in ("hi", "lo", "port")]
    server = [side(f"dst_{part}", f"src_{part}", other) for part in ("hi", "lo", "port")]
    site = batch.journeys.site[frames["vantage"][first]]
    slow = slowest_hops(frames, batch.journeys, last)
    names = pl.col("source", "destination").cast(pl.String)
    return chosen.select(
        "number", "ts_ns", "last_ts_ns", "first_vantage", "last_vantage", names
    ).with_columns(
        pl.Series("asked", asked),
        pl.Series("key", mixed(site, *client, *server)),
        pl.Series("port", server[2].astype(np.int64)),
        *map(pl.Series, SLOWEST[:3], slow[:3]),
    )


def _round_trips(asked: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """One row a SYN that was answered at the vantage where it was first seen.

    _PAIR, the SYN's number, rtt_ns, turnaround_ns (-1: not known), and the slowest hop of both
    ways: slow_ns, slow_from, slow_to; at: the vantage that the SYN came to.
    """
    syn = asked.select("key", *_KEPT_OF_SYN, *_PAIR).rename(
        {name: f"syn_{name}" for name in _KEPT_OF_SYN if name not in ("number", "ts_ns")}
    )
    tied = (
        answers.drop("number", *_PAIR)
        .sort("ts_ns")
        .join_asof(
            syn.sort("ts_ns").with_columns(pl.col("ts_ns").alias("syn_ts_ns")),
            on="ts_ns",
            by="key",
            strategy="backward",
            tolerance=_PATIENCE_NS,
            check_sortedness=False,
        )
        .drop_nulls("number")
        .unique("number", keep="first", maintain_order=True)
        .filter(pl.col("last_vantage") == pl.col("syn_first_vantage"))
    )
    turned = pl.col("first_vantage") == pl.col("syn_last_vantage")
    there = pl.col("syn_slow_ns") >= pl.col("slow_ns")
    return tied.select(
        *_PAIR,
        "number",
        (pl.col("last_ts_ns") - pl.col("syn_ts_ns")).alias("rtt_ns"),
        pl.when(turned)
        .then(pl.col("ts_ns") - pl.col("syn_last_ts_ns"))
        .otherwise(-1)
        .alias("turnaround_ns"),
        *(pl.when(there).then(f"syn_{name}").otherwise(name).alias(name) for name in SLOWEST[:3]),
        pl.col("syn_last_vantage").alias("at"),
    )
