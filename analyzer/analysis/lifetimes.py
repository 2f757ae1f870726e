"""When each vantage's interface was there: by the file's statistics, and by its own frames.

A newcomer is heard before it is known whose it is, so its first frame counts where that came
earlier; when an interface vanished is noticed late, so its last frame is its last sign of life.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.analysis.notes import VantageNotes
from analyzer.model.batch import Columns
from analyzer.model.tenures import FOREVER_NS, Life
from analyzer.native.compiled import compiled


class Lifetimes:
    """The first and the last frame of each vantage, chunk by chunk."""

    def __init__(self) -> None:
        self._first = np.empty(0, np.int64)
        self._last = np.empty(0, np.int64)

    def add(self, frames: Columns, count: int) -> None:
        """count: of vantages."""
        more = count - len(self._first)
        if more > 0:
            self._first = np.concatenate([self._first, np.full(more, FOREVER_NS, np.int64)])
            self._last = np.concatenate([self._last, np.zeros(more, np.int64)])
        _extend(frames["vantage"], frames["ts_ns"], self._first, self._last)

    def first_ns(self, vantage: int) -> int:
        """Of its frames so far; FOREVER_NS without one."""
        return int(self._first[vantage]) if vantage < len(self._first) else FOREVER_NS

    def lives(self, notes: Sequence[VantageNotes], count: int, initial: int) -> list[Life]:
        """[count] of vantages, of which the first ``initial`` stood before any frame."""
        begins = [one.start_ns for one in notes if one.start_ns]
        begin_ns = min(begins, default=0)
        spare = [VantageNotes()] * (count - len(notes))
        seen = len(self._first)
        return [
            _life(
                one,
                at >= initial if one.start_ns is None else one.start_ns > begin_ns,
                int(self._first[at]) if at < seen else FOREVER_NS,
                int(self._last[at]) if at < seen else 0,
            )
            for at, one in enumerate([*notes, *spare][:count])
        ]


def _life(notes: VantageNotes, joined: bool, first_ns: int, last_ns: int) -> Life:
    """joined: after the capture had begun. first_ns, last_ns: FOREVER_NS and 0 without frames."""
    from_ns = min(first_ns, notes.start_ns or FOREVER_NS) if joined else 0
    stays = notes.ended and notes.gone_ns is None
    seen_ns = max(last_ns, from_ns, (notes.end_ns or 0) if stays else 0)
    return Life(from_ns, seen_ns, notes.gone_ns or FOREVER_NS)


@compiled
def _extend(vantage: Any, ts: Any, first: Any, last: npt.NDArray[np.int64]) -> None:
    for i in range(len(ts)):
        v = vantage[i]
        first[v], last[v] = min(first[v], ts[i]), max(last[v], ts[i])
