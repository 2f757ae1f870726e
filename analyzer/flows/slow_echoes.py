"""The slowest round trip of two ends, and the hop that made it so.

Every echo message brings the slowest hop of its own journey along, so that what is kept of an
echo is a few numbers and no frame.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.delays import Delays
from analyzer.flows.growing import widened
from analyzer.flows.live_numbers import ROWS, LiveNumbers
from analyzer.model.batch import Columns
from analyzer.model.journeys import Journeys
from analyzer.native.compiled import compiled

SLOWEST = ("slow_ns", "slow_from", "slow_to", "seen_last")
"""of a message's journey: the delay of its slowest hop (-1: it has none), the vantages; the
vantage at which it ends"""
ROUND_TRIP = ("rtt_ns", "turnaround_ns", "seq", *SLOWEST, *(f"request_{n}" for n in SLOWEST))
_ENOUGH = 10
"""echoes, to speak of a usual one"""
_FAR_OFF = 5
"""times the median"""
_RTT = ROUND_TRIP.index("rtt_ns")


def slowest_hops(
    frames: Columns, journeys: Journeys, last: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """[4, n] SLOWEST of the journeys that end at the frames ``last``."""
    slowest = np.full((len(SLOWEST), len(last)), -1, np.int64)
    last = last.astype(np.int64, copy=False)
    _find_slowest(last, journeys.parent, frames["ts_ns"], frames["vantage"], slowest)
    return slowest


class SlowEcho(NamedTuple):
    """The longest round trip of a pair."""

    source: str
    destination: str
    median_ns: int
    """of all round trips of the pair"""
    trip: dict[str, int]
    """ROUND_TRIP by name"""


class SlowEchoes:
    """By the pair of ends: how long round trips take, and all of the longest one."""

    def __init__(self) -> None:
        self._numbers = LiveNumbers(ROWS)
        self._names: list[tuple[str, str]] = []
        self._times = Delays()
        self._longest = np.zeros((len(ROUND_TRIP), 0), np.int64)

    def add(self, trips: pl.DataFrame) -> None:
        """Take in round trips in order of time: pair, source, destination (of the request), and
        ROUND_TRIP."""
        pairs, fresh = self._numbers.take(trips["pair"].to_numpy().astype(np.uint64))
        self._names += trips[fresh].select("source", "destination").rows()
        self._longest = widened(self._longest, self._numbers.count, -1)
        columns = np.stack([trips[name].to_numpy().astype(np.int64) for name in ROUND_TRIP])
        self._times.add(pairs, columns[_RTT])
        _keep_longest(pairs, columns, self._longest)
        kept = self._numbers.shed()
        if kept is not None:
            self._names = [self._names[at] for at in kept]
            self._longest = self._longest[:, kept]
            self._times.keep(kept)

    def rows(self) -> list[SlowEcho]:
        """One a pair that is far off its usual time."""
        usual = self._times.table((0.5,))
        rows = []
        for pair, (source, destination) in enumerate(self._names):
            trip = dict(zip(ROUND_TRIP, self._longest[:, pair].tolist(), strict=True))
            median_ns = usual["p50_ns"][pair]
            if usual["timed"][pair] >= _ENOUGH and trip["rtt_ns"] >= _FAR_OFF * median_ns:
                rows.append(SlowEcho(source, destination, median_ns, trip))
        return rows


@compiled
def _find_slowest(last: Any, parent: Any, ts: Any, vantage: Any, slowest: Any) -> None:
    for row in range(len(last)):
        frame = np.int64(last[row])
        slowest[3, row] = vantage[frame]
        while parent[frame] >= 0:
            before = np.int64(parent[frame])
            # from the end on, so that the first of equal ones is told
            if ts[frame] - ts[before] >= slowest[0, row]:
                slowest[0, row] = ts[frame] - ts[before]
                slowest[1, row], slowest[2, row] = vantage[before], vantage[frame]
            frame = before


@compiled
def _keep_longest(pairs: Any, columns: Any, longest: Any) -> None:
    """Of each pair the first of the longest."""
    for row in range(len(pairs)):
        if columns[_RTT, row] > longest[_RTT, pairs[row]]:
            for k in range(len(columns)):
                longest[k, pairs[row]] = columns[k, row]
