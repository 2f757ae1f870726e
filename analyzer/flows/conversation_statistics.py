"""What a conversation's row tells besides counts: what both ends of a TCP connection agreed on, and
where packets were lost.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.growing import Kept, widened
from analyzer.net.tcp_flags import RST, SYN

_UNKNOWN, _NONE = -1, -2
"""of an option: no SYN was seen; it was, without the option"""
_MSS, _SCALE, _SACK, _OFFERED_NS, _WIDEST = range(5)
OPTIONS = ("mss", "window_scale", "sack_permitted")


class TcpOptionsOffered:
    """Of each TCP flow: what its latest SYN offered, and the largest window that it announced."""

    def __init__(self) -> None:
        self._state = np.full((5, 0), _UNKNOWN, np.int64)

    def make_room(self, flows: int) -> None:
        """There are so many flows."""
        self._state = widened(self._state, flows, _UNKNOWN)

    def keep(self, kept: Kept) -> None:
        """Only these flows."""
        self._state = self._state[:, kept.flows]

    def see(self, segments: pl.DataFrame, flow: npt.NDArray[np.int64]) -> None:
        """Windows: of segments with flags and window."""
        plain = (segments["flags"].to_numpy() & (SYN | RST)) == 0
        window = segments["window"].to_numpy()[plain].astype(np.int64)
        np.maximum.at(self._state[_WIDEST], flow[plain], window)

    def hear(self, offers: pl.DataFrame, flow: npt.NDArray[np.int64]) -> None:
        """OPTIONS of SYNs, with ts_ns."""
        order = np.argsort(offers["ts_ns"].to_numpy(), kind="stable")
        ts, flow = offers["ts_ns"].to_numpy()[order], flow[order]
        newer = ts >= self._state[_OFFERED_NS, flow]
        order, flow = order[newer], flow[newer]
        self._state[_OFFERED_NS, flow] = ts[newer]
        for row, name in zip((_MSS, _SCALE, _SACK), OPTIONS, strict=True):
            offered = offers[name].cast(pl.Int64).fill_null(_NONE).to_numpy()
            self._state[row, flow] = offered[order]

    def table(self) -> pl.DataFrame:
        """[conversations] OPTIONS and window_max_bytes, as ``…_0`` and ``…_1`` by direction.

        A window is scaled where both ends offered to (RFC 7323, 2.2), and not known where a SYN
        was not seen.
        """
        state = self._state
        both = np.minimum(state[_SCALE, 0::2], state[_SCALE, 1::2])
        columns: dict[str, Any] = {}
        for side in (0, 1):
            flows = state[:, side::2]
            shift = np.where(both >= 0, np.minimum(flows[_SCALE], 14), 0)
            window = flows[_WIDEST] << np.maximum(shift, 0)
            scaled = (both != _UNKNOWN) & (flows[_WIDEST] >= 0)
            columns |= {
                f"mss_{side}": _where(flows[_MSS], flows[_MSS] >= 0),
                f"window_scale_{side}": _where(flows[_SCALE], flows[_SCALE] >= 0),
                f"sack_permitted_{side}": _where(flows[_SACK] == 1, flows[_OFFERED_NS] >= 0),
                f"window_max_bytes_{side}": _where(window, scaled),
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

    def keep(self, kept: Kept) -> None:
        """Only these conversations."""
        places = enumerate(kept.conversations.tolist())
        self.counts = {new: self.counts[old] for new, old in places if old in self.counts}


def _where(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> pl.Series:
    """The values; null where they are not valid."""
    return pl.Series(values).set(pl.Series(~valid), None)
