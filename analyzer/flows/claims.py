"""What was said of whose an address is: a row an (address, MAC), a handful of each address.

Whoever sends forged replies can make up as many MACs as there are frames: beyond the bounds the
rest is counted.
"""

from __future__ import annotations

import polars as pl
from msgspec import Struct

_PLACE = ["segment", "hi", "lo"]
_KEY = [*_PLACE, "mac"]
MOST = 100_000
"""claims that are kept, the latest; a scan or a flood of forged ones ends there"""
HANDFUL = 8
"""claims of one address that are kept: half of them those that were made most often, half the
latest; of the others it is counted how many there were"""

Place = tuple[int, int, int]
"""segment and address"""


class Claim(Struct, frozen=True):
    """All that one MAC said of one address."""

    mac: int
    first_ns: int
    last_ns: int
    vantage: int
    """where it was first seen"""
    replies: int
    unasked: int
    """of these, to nobody who had asked just before"""
    announced: int
    """gratuitous, to everybody"""


class Claims(Struct):
    """What was claimed, a row an (address, MAC)."""

    _table: pl.DataFrame | None = None
    _others: pl.DataFrame | None = None
    """by place, how many claims were left out"""

    def take(self, rows: pl.DataFrame) -> None:
        """rows: _KEY, ts, vantage, and ``unasked``, ``announced``, ``reply`` (bool)."""
        new = rows.select(
            *_KEY,
            pl.col("ts").alias("first_ns"),
            pl.col("ts").alias("last_ns"),
            "vantage",
            *(pl.col(n).cast(pl.Int64).alias(n) for n in ("reply", "unasked", "announced")),
        )
        both = new if self._table is None else pl.concat([self._table, new])
        self._table = self._handful(
            both.group_by(_KEY, maintain_order=True).agg(
                pl.col("first_ns").min(),
                pl.col("last_ns").max(),
                pl.col("vantage").first(),
                pl.col("reply", "unasked", "announced").sum(),
            )
        )

    def _handful(self, table: pl.DataFrame) -> pl.DataFrame:
        """Of each address no more than `HANDFUL`, and `MOST` in all; the others are counted."""
        if not table.select((pl.len().over(_PLACE) > HANDFUL).any()).item():
            return table if len(table) <= MOST else _latest(table)
        often = (pl.col("reply") + pl.col("announced")).rank("ordinal", descending=True)
        late = pl.col("last_ns").rank("ordinal", descending=True)
        few = pl.len().over(_PLACE) <= HANDFUL
        kept = few | (often.over(_PLACE) <= HANDFUL // 2) | (late.over(_PLACE) <= HANDFUL // 2)
        marked = table.with_columns(kept.alias("kept"))
        out = marked.filter(~pl.col("kept")).group_by(_PLACE).agg(pl.len().alias("others"))
        both = out if self._others is None else pl.concat([self._others, out])
        self._others = both.group_by(_PLACE, maintain_order=True).agg(pl.col("others").sum())
        return _latest(marked.filter("kept").drop("kept"))

    def others(self) -> dict[Place, int]:
        """Of addresses that more MACs claimed than are kept: how many others there were, at the
        most (one that came back is counted again)."""
        rows = self._others.iter_rows() if self._others is not None else ()
        return {(segment, high, low): count for segment, high, low, count in rows}

    def by_place(self) -> dict[Place, list[Claim]]:
        """The claims of each address, in order of appearance."""
        claims_at: dict[Place, list[Claim]] = {}
        for row in self._table.iter_rows() if self._table is not None else ():
            segment, high, low, mac, first, last, vantage, replies, unasked, announced = row
            claim = Claim(mac, first, last, vantage, replies, unasked, announced)
            claims_at.setdefault((segment, high, low), []).append(claim)
        return claims_at


def _latest(table: pl.DataFrame) -> pl.DataFrame:
    """The `MOST` claims that were made last, in the same order."""
    if len(table) <= MOST:
        return table
    return table.filter(pl.col("last_ns").rank("ordinal", descending=True) <= MOST)
