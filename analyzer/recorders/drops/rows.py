"""From the walked ring to rows of the file: names for numbers, the time of day for the trace's."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.recorders.drops import page_layout
from analyzer.recorders.drops.record import ROW, UNKNOWN, Drops
from analyzer.recorders.drops.symbols import Symbols

Table = npt.NDArray[np.uint64]
_SECOND_NS = 1_000_000_000
_TRIES = 5


class Naming:
    """What turns the numbers of one trace into names and times."""

    def __init__(self, symbols: Symbols, reasons: Mapping[int, str], clock: str) -> None:
        """clock: the trace's, ``tai`` or ``mono``."""
        self.symbols = symbols
        self.reasons = reasons
        self.clock = clock

    def reason(self, number: int) -> str:
        return self.reasons.get(number, UNKNOWN)

    def clock_now(self) -> dict[str, Any]:
        """The trace's clock, and what is added to its times at present."""
        return {"trace": self.clock, "offset_ns": self.offset_ns()}

    def offset_ns(self) -> int:
        """What to add to the trace's time to get the time of day, now.

        The clock is read between two readings of the other, and the closest pair counts.
        Between TAI and the time of day there are whole seconds.
        """
        number = time.CLOCK_TAI if self.clock == "tai" else time.CLOCK_MONOTONIC
        best = (1 << 62, 0)
        for _ in range(_TRIES):
            before = time.clock_gettime_ns(number)
            now = time.time_ns()
            after = time.clock_gettime_ns(number)
            best = min(best, (after - before, now - (before + after) // 2))
        offset = best[1]
        return round(offset / _SECOND_NS) * _SECOND_NS if self.clock == "tai" else offset


def name_tally(tally: Table, naming: Naming) -> dict[tuple[str, str, int], int]:
    """(reason, location, EtherType) → count; tally: [m, TALLY] of `recorders.drops.pages`."""
    counts: dict[tuple[str, str, int], int] = {}
    for location, reason, protocol, count in tally.tolist():
        if count:
            key = (naming.reason(reason), naming.symbols.name(location), protocol)
            counts[key] = counts.get(key, 0) + count
    return counts


def build_rows(out: Table, cpu: int, naming: Naming) -> Drops:
    """The drops of one CPU; out: [n, OUT] as `analyzer.recorders.drops.pages` fills it."""
    rows = np.zeros(len(out), ROW)
    offset = naming.offset_ns()
    seen = out[:, page_layout.OUT_SEEN].astype(np.int64)
    rows["ts_ns"] = out[:, page_layout.OUT_TS].astype(np.int64) + offset
    rows["seen_ns"] = np.where(seen > 0, seen + offset, 0)
    rows["len_bytes"] = out[:, page_layout.OUT_LEN]
    rows["protocol"] = out[:, page_layout.OUT_PROTOCOL]
    rows["tie"] = out[:, page_layout.OUT_TIE]
    rows["cpu"] = cpu
    devices, rows["device"] = _distinct(
        out[:, [page_layout.OUT_NAME_LOW, page_layout.OUT_NAME_HIGH]]
    )
    locations, rows["location"] = _distinct(out[:, [page_layout.OUT_LOCATION]])
    reasons, rows["reason"] = _distinct(out[:, [page_layout.OUT_REASON]])
    return Drops(
        rows,
        devices=[device_name(low, high) for low, high in devices],
        locations=[naming.symbols.name(address) for (address,) in locations],
        reasons=[naming.reason(number) for (number,) in reasons],
        clock={"trace": naming.clock, "offset_ns": offset},
    )


def _distinct(columns: Table) -> tuple[list[list[int]], npt.NDArray[Any]]:
    """The distinct rows, and each row's place in them."""
    distinct, place = np.unique(columns, axis=0, return_inverse=True)
    return distinct.tolist(), place.reshape(-1)


def device_name(low: int, high: int) -> str:
    name = low.to_bytes(8, "little") + high.to_bytes(8, "little")
    return name.split(b"\0")[0].decode("utf-8", "replace")
