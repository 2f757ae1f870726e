"""ARP requests that nobody answered of pairs that were answered before, or later.

A pair that was answered once is resolved; that the target was silent for a time, or is since, does
not show in that. Counted are the requests to all: one that polls a MAC may go to where nobody is
any more, and the next one is to all (RFC 1122, 2.3.2.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


class MissedRequests:
    """A row a pair; key: the columns that are a pair."""

    def __init__(self, key: Sequence[str]) -> None:
        self._key = list(key)
        self._table: pl.DataFrame | None = None

    def take(self, requests: pl.DataFrame) -> None:
        """Requests to which no reply can come any more, for the same pair asked again."""
        rows = self._missed(requests)
        if not rows.is_empty():
            self._table = self._merged(rows)

    def keep(self, kept: pl.DataFrame) -> None:
        """Only these pairs."""
        if self._table is not None:
            self._table = self._table.join(kept, on=self._key, how="semi", maintain_order="left")

    def table(self, latest: pl.DataFrame) -> pl.DataFrame:
        """The key, and missed, missed_first, missed_last (ns), missed_seen (vantages).

        latest: of each pair the latest request, as far as its time is over.
        """
        return self._merged(self._missed(latest))

    def _missed(self, requests: pl.DataFrame) -> pl.DataFrame:
        missed = ~pl.col("replied") & ~pl.col("gratuitous") & pl.col("asks")
        return requests.filter(missed, pl.col("polls") == 0).select(
            *self._key,
            pl.lit(1, pl.Int64).alias("missed"),
            pl.col("ts").alias("missed_first"),
            pl.col("ts").alias("missed_last"),
            pl.col("seen").alias("missed_seen"),
        )

    def _merged(self, rows: pl.DataFrame) -> pl.DataFrame:
        both = rows if self._table is None else pl.concat([self._table, rows])
        return both.group_by(self._key, maintain_order=True).agg(
            pl.col("missed").sum(),
            pl.col("missed_first").min(),
            pl.col("missed_last").max(),
            pl.col("missed_seen").explode().unique(maintain_order=True),
        )
