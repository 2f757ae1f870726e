"""ICMP errors that are seen twice, since a NAT on their way translated them.

With an error, the packet that it quotes is translated (RFC 5508, 4.2). So two errors of one kind
about one packet, which quote different addresses of it, are one error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

_SOON_NS = 1_000_000_000
"""the translated error is seen so soon after the one that it was"""
_ABOUT = ["cause", "icmp_type", "icmp_code"]


class ErrorCopies:
    """Those of a capture, by the groups that the two belong to."""

    def __init__(self) -> None:
        self._recent: pl.DataFrame | None = None
        """errors of the last second: _ABOUT, group, quoted (a key), ts_ns"""
        self._pairs: dict[tuple[int, int], tuple[int, int, int]] = {}
        """(group of an error, group of the same one translated) → how many, the first one's cause,
        and its number"""

    def take(
        self,
        rows: pl.DataFrame,
        cause: npt.NDArray[np.int64],
        groups: npt.NDArray[Any],
        quoted: npt.NDArray[np.uint64],
    ) -> npt.NDArray[np.bool_]:
        """[n] whether each is another one translated. rows: errors in order of time; cause: the
        number of the packet that each is about, 0: not known; quoted: a key of what it quotes."""
        columns = {"cause": cause, "group": groups, "quoted": quoted}
        added = rows.select(
            "icmp_type", "icmp_code", "ts_ns", **{n: pl.Series(c) for n, c in columns.items()}
        )
        both = added if self._recent is None else pl.concat([self._recent, added])
        firsts = pl.col("group", "quoted", "ts_ns").first().over(_ABOUT).name.prefix("first_")
        both = both.with_columns(firsts).with_columns(
            copy=(pl.col("cause") > 0)
            & (pl.col("quoted") != pl.col("first_quoted"))
            & (pl.col("ts_ns") - pl.col("first_ts_ns") <= _SOON_NS)
        )
        fresh = both[-len(added) :]
        self._note(fresh.with_columns(rows["number"]).filter("copy"))
        recent = pl.col("ts_ns") >= int(rows["ts_ns"][-1]) - _SOON_NS
        self._recent = both.filter(recent, ~pl.col("copy")).select(added.columns)
        copies: npt.NDArray[np.bool_] = fresh["copy"].to_numpy()
        return copies

    def _note(self, copies: pl.DataFrame) -> None:
        first = pl.col("cause", "number").min()
        pairs = copies.group_by("first_group", "group").agg(pl.len(), first)
        for one, other, count, cause, number in pairs.iter_rows():
            before = self._pairs.get((one, other), (0, cause, number))
            least = min(before[1], cause), min(before[2], number)
            self._pairs[one, other] = before[0] + count, *least

    def renumber(self, new: npt.NDArray[np.int64]) -> None:
        """Give groups their new numbers; those that are gone have -1."""
        if self._recent is not None:
            numbers = pl.Series("group", new[self._recent["group"].to_numpy()])
            moved = self._recent.with_columns(numbers.cast(self._recent.schema["group"]))
            self._recent = moved.filter(pl.col("group") >= 0)
        moved_pairs = ((int(new[a]), int(new[b]), told) for (a, b), told in self._pairs.items())
        self._pairs = {(a, b): told for a, b, told in moved_pairs if a >= 0 and b >= 0}

    def pairs(self) -> Iterator[tuple[int, int, int, int, int]]:
        """(group of an error, group of it translated, how many, the first one's cause, its number),
        in order of the last."""
        for (one, other), told in sorted(self._pairs.items(), key=lambda pair: pair[1][2]):
            yield one, other, *told
