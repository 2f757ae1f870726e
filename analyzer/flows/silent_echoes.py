"""Echo requests that came to their end and brought no reply at all, counted by where that was.

A request is counted when it is seen and taken back with its first reply, so that nothing is kept
of those that are answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.live_numbers import ROWS, LiveNumbers, new_numbers
from analyzer.model.frames import EXAMPLE
from analyzer.model.journeys import Status
from analyzer.native.keys import mixed

LAST = ("last_eth_dst", *(f"last_{end}_{half}" for end in ("src", "dst") for half in ("hi", "lo")))
"""MAC to which a message's last frame went, and its addresses"""
_NAMES = ("protocol", "source", "destination")


class SilentEchoes:
    """By protocol, ends and the vantage that the requests reached."""

    def __init__(self) -> None:
        self._numbers = LiveNumbers(ROWS)
        self._rows: list[pl.DataFrame] = []
        self.counts = np.zeros(0, np.int64)
        self._first_ns, self._last_ns = self.counts, self.counts

    def groups_of(self, events: pl.DataFrame) -> npt.NDArray[np.int64]:
        """[n] the group of each delivered request, -1 for other messages, and for requests to many:
        nobody has to answer those."""
        delivered = events["asked"] & ~events["to_group"] & (events["status"] == Status.DELIVERED)
        rows = np.flatnonzero(delivered.to_numpy())
        ends = (events[name].to_numpy()[rows] for name in ("pair", "last_vantage"))
        numbers, fresh = self._numbers.take(mixed(*ends))
        named = events[rows[fresh]].select(
            *_NAMES, "ttl", *LAST, pl.col("last_vantage").alias("at"), began="first_vantage"
        )
        if len(named):
            self._rows.append(named.with_columns(pl.col(_NAMES).cast(pl.String)))
        self.counts = np.concatenate([self.counts, np.zeros(len(fresh), np.int64)])
        stamps = events["ts_ns"].to_numpy()[rows]
        self._first_ns = np.concatenate([self._first_ns, stamps[fresh]])
        self._last_ns = np.concatenate([self._last_ns, np.zeros(len(fresh), np.int64)])
        np.minimum.at(self._first_ns, numbers, stamps)
        np.maximum.at(self._last_ns, numbers, stamps)
        groups = np.full(len(events), -1, np.int64)
        groups[rows] = numbers
        return groups

    def shed(self) -> npt.NDArray[np.int64] | None:
        """[groups] the new numbers, -1 of those that are forgotten, where there were too many."""
        count = self._numbers.count
        kept = self._numbers.shed()
        if kept is None:
            return None
        self._rows = [pl.concat(self._rows)[kept]]
        self.counts = self.counts[kept]
        self._first_ns, self._last_ns = self._first_ns[kept], self._last_ns[kept]
        return new_numbers(kept, count)

    def rows(
        self,
        may_be_answered: npt.NDArray[np.int64],
        unanswered: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    ) -> Iterator[dict[str, Any]]:
        """protocol, source, destination, at, began (where the first of them was first seen),
        packets, first_ns, last_ns (of all requests there, answered ones too), times_ns (when those
        that brought no reply were sent, as far as their numbers were not used again), and example:
        EXAMPLE of one of them.

        may_be_answered: groups of requests sent so late that nobody can say. unanswered: groups of
        the others without a reply, and when each was sent.
        """
        left = self.counts - np.bincount(may_be_answered, minlength=len(self.counts))
        order = np.lexsort(unanswered[::-1])
        groups, sent_ns = (column[order] for column in unanswered)
        parts = np.split(sent_ns, np.searchsorted(groups, np.arange(1, len(self.counts))))
        spans = zip(self._first_ns.tolist(), self._last_ns.tolist(), strict=True)
        rows = pl.concat(self._rows).iter_rows(named=True) if self._rows else ()
        for row, count, span, times in zip(rows, left.tolist(), spans, parts, strict=False):
            if count:
                example = {
                    **dict.fromkeys(EXAMPLE, 0),
                    **{name.removeprefix("last_"): row[name] for name in LAST},
                    "ip_version": 6 if row["protocol"] == "icmpv6" else 4,
                    "ttl": row["ttl"],
                }
                named = {name: row[name] for name in (*_NAMES, "at", "began")}
                about = dict(zip(("first_ns", "last_ns"), span, strict=True))
                about["times_ns"] = times.tolist()
                yield {**named, "packets": count, "example": example, **about}
