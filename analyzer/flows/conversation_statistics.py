"""What a conversation's row tells besides counts: how long its packets took, what both ends of a
TCP connection agreed on, and where packets were lost.

Times of a flow go into buckets that are there only once something falls into them: most flows are
short, and there may be very many of them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.delays import bucket_of, middle_of, nearest_rank
from analyzer.native.compiled import compiled
from analyzer.native.keys import KeyNumbers
from analyzer.net.tcp_flags import RST, SYN

_UNKNOWN, _NONE = -1, -2
"""of an option: no SYN was seen; it was, without the option"""
_MSS, _SCALE, _SACK, _TOLD_NS, _WIDEST = range(5)
OPTIONS = ("mss", "window_scale", "sack_permitted")


class OneWayDelays:
    """One-way times of each flow (2 · conversation + direction): quantiles within 1 %."""

    def __init__(self) -> None:
        self._numbers = KeyNumbers()
        self._keys: list[npt.NDArray[np.uint64]] = []
        self._counts = np.zeros(0, np.int64)

    def add(self, flows: npt.NDArray[np.int64], times: npt.NDArray[np.int64]) -> None:
        """Take in times; negative ones are none."""
        keys = np.empty(len(flows), np.uint64)
        keys = keys[: _bucket_keys(flows, times, keys)]
        numbers, fresh = self._numbers.take(keys)
        self._keys.append(keys[fresh])
        self._counts = np.concatenate([self._counts, np.zeros(len(fresh), np.int64)])
        self._counts += np.bincount(numbers, minlength=len(self._counts))

    def quantiles(self, flows: int, share: float) -> pl.Series:
        """[flows] the time that this share of the flow's packets took at most; null: none."""
        keys = np.concatenate([np.empty(0, np.uint64), *self._keys])
        order = np.argsort(keys, kind="stable")
        flow, bucket = (keys[order] >> np.uint64(16)).astype(np.int64), keys[order] & 0xFFFF
        counts = self._counts[order]
        start = np.searchsorted(flow, np.arange(flows + 1))
        below = np.concatenate([[0], np.cumsum(counts)])
        total = below[start[1:]] - below[start[:-1]]
        rank = nearest_rank(total, share)
        place = np.searchsorted(below, below[start[:-1]] + rank, side="right") - 1
        found = np.array([middle_of(int(one)) for one in bucket], np.int64)
        times = np.append(found, 0)[np.minimum(place, len(found))]
        return _where(times, total > 0)


class TcpOptionsOffered:
    """Of each TCP flow: what its latest SYN offered, and the largest window that it announced."""

    def __init__(self) -> None:
        self._state = np.full((5, 0), _UNKNOWN, np.int64)

    def make_room(self, flows: int) -> None:
        """There are so many flows."""
        more = np.full((5, max(flows - self._state.shape[1], 0)), _UNKNOWN, np.int64)
        self._state = np.concatenate([self._state, more], axis=1)

    def see(self, segments: pl.DataFrame, flow: npt.NDArray[np.int64]) -> None:
        """Windows: of segments with flags and window."""
        plain = (segments["flags"].to_numpy() & (SYN | RST)) == 0
        window = segments["window"].to_numpy()[plain].astype(np.int64)
        np.maximum.at(self._state[_WIDEST], flow[plain], window)

    def hear(self, offers: pl.DataFrame, flow: npt.NDArray[np.int64]) -> None:
        """OPTIONS of SYNs, with ts_ns."""
        order = np.argsort(offers["ts_ns"].to_numpy(), kind="stable")
        ts, flow = offers["ts_ns"].to_numpy()[order], flow[order]
        newer = ts >= self._state[_TOLD_NS, flow]
        order, flow = order[newer], flow[newer]
        self._state[_TOLD_NS, flow] = ts[newer]
        for row, name in zip((_MSS, _SCALE, _SACK), OPTIONS, strict=True):
            told = offers[name].cast(pl.Int64).fill_null(_NONE).to_numpy()
            self._state[row, flow] = told[order]

    def table(self) -> pl.DataFrame:
        """[conversations] OPTIONS and window_max_bytes, as ``…_0`` and ``…_1`` by direction.

        A window is scaled where both ends offered to (RFC 7323, 2.2), and not known where a SYN
        was not seen.
        """
        state = self._state
        both = np.minimum(state[_SCALE, 0::2], state[_SCALE, 1::2])
        columns: dict[str, Any] = {}
        for side in (0, 1):
            mine = state[:, side::2]
            told = mine[_TOLD_NS] >= 0
            shift = np.where(both >= 0, np.minimum(mine[_SCALE], 14), 0)
            window = mine[_WIDEST] << np.maximum(shift, 0)
            known = (both != _UNKNOWN) & (mine[_WIDEST] >= 0)
            columns |= {
                f"mss_{side}": _where(mine[_MSS], mine[_MSS] >= 0),
                f"window_scale_{side}": _where(mine[_SCALE], mine[_SCALE] >= 0),
                f"sack_permitted_{side}": _where(mine[_SACK] == 1, told),
                f"window_max_bytes_{side}": _where(window, known),
            }
        return pl.DataFrame(columns)


class LostBetween:
    """Where each flow's packets were lost: between which vantages, and how many."""

    def __init__(self) -> None:
        self.counts: dict[int, Counter[tuple[int, int, int]]] = {}
        """conversation → (direction, last vantage, expected one) → packets"""

    def add(self, lost: pl.DataFrame) -> None:
        """Packets: conversation, direction, last_vantage, expected."""
        group = ["conversation", "direction", "last_vantage", "expected"]
        for conversation, *place, count in lost.group_by(group).len().iter_rows():
            self.counts.setdefault(conversation, Counter())[tuple(place)] += count


def _where(values: npt.NDArray[Any], known: npt.NDArray[np.bool_]) -> pl.Series:
    return pl.Series(values).set(pl.Series(~known), None)


@compiled
def _bucket_keys(flows: Any, times: Any, keys: Any) -> Any:
    """Fill ``keys`` with flow << 16 | bucket of the times that are known; how many."""
    count = 0
    for row in range(len(flows)):
        if times[row] >= 0:
            keys[count] = np.uint64(flows[row]) << np.uint64(16) | np.uint64(bucket_of(times[row]))
            count += 1
    return count
