"""Fragments of TCP and UDP packets: which datagram each belongs to, and what counts as one.

Only the first fragment has ports; the others get its ports, whichever comes first. Counted is the
datagram, by its first fragment. A fragment that was seen a moment ago, byte for byte, is a
duplicate. Fragments of which the first one was never seen have no ports at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from analyzer.model.journeys import Status
from analyzer.net.ip import UDP

WHOLE, FIRST, OTHER, DUPLICATE = range(4)
"""what a row is, its ``piece``: a datagram, its first fragment, another one, one once more"""
DATAGRAM = ["protocol", "site", "src_hi", "src_lo", "dst_hi", "dst_lo", "ip_id"]
"""what all fragments of a datagram have in common (RFC 791)"""
_REASSEMBLY_NS = 30_000_000_000
"""how long fragments wait for each other (net.ipv4.ipfrag_time)"""
_AGAIN_NS = 100_000_000
"""a fragment that looks the same is the same again within this time: identifications come round"""
_MOST_WAITING = 100_000
"""fragments that wait for their first one, and first ones that others may belong to"""
_PORTS = ["src_port", "dst_port"]


class Fragments:
    """Fragments other than the first have no ports: they get those of the first one."""

    def __init__(self) -> None:
        self._heads: pl.DataFrame | None = None
        self._pieces: pl.DataFrame | None = None
        self._seen: pl.DataFrame | None = None

    def with_ports(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows of `transport_packets` that have ports, and all fragments of which the first one
        is known by now, each with its ``piece``. Fragments of which it was not seen yet wait.
        """
        fragment = rows["more"] | ~rows["headed"]
        headed = rows.with_columns(pl.lit(WHOLE, pl.UInt8).alias("piece"))
        ported = pl.col("headed") & ((pl.col("src_port") > 0) | (pl.col("dst_port") > 0))
        if not rows.select(ported.all()).item():
            headed = headed.filter(ported)
        if self._pieces is None and not fragment.any():
            return headed
        names = pl.col("source", "destination").cast(pl.String)  # they outlive the batch
        headed = headed.with_columns(names)
        fragments = self._marked(rows.filter(fragment).with_columns(names))
        pieces = fragments.filter(~pl.col("headed"))
        return self._join(headed.filter(~pl.col("more")), fragments.filter(ported), pieces)

    def unheaded(self) -> Iterator[dict[str, Any]]:
        """Of UDP datagrams of which no first fragment was seen: by both ends, source, destination,
        src_hi …, packets (datagrams), bytes, fragments and duplicate_fragments."""
        if self._pieces is None or self._pieces.is_empty():
            return
        distinct = pl.col("piece") != DUPLICATE
        ends = ["source", "destination", *DATAGRAM[1:-1]]
        yield from (
            self._pieces.filter(kind=UDP)
            .with_columns(pl.col("source", "destination").cast(pl.String))
            .group_by(ends, maintain_order=True)
            .agg(
                pl.col("ip_id").n_unique().alias("packets"),
                pl.col("payload_len").filter(distinct).sum().alias("bytes"),
                distinct.sum().alias("fragments"),
                (~distinct).sum().alias("duplicate_fragments"),
            )
            .iter_rows(named=True)
        )

    def _marked(self, fragments: pl.DataFrame) -> pl.DataFrame:
        """With ``piece``; those that were seen a moment ago are duplicates."""
        looks = fragments.select("ts_ns", "l3key", pl.lit(True).alias("new"))
        old = looks.clear() if self._seen is None else self._seen
        both = pl.concat([old.with_columns(new=pl.lit(False)), looks])
        again = _again(both).filter(both["new"])
        self._seen = both.tail(_MOST_WAITING)
        kind = pl.when("headed").then(FIRST).otherwise(OTHER)
        return fragments.with_columns(
            pl.when(again).then(DUPLICATE).otherwise(kind).cast(pl.UInt8).alias("piece")
        )

    def _join(self, whole: pl.DataFrame, heads: pl.DataFrame, pieces: pl.DataFrame) -> pl.DataFrame:
        self._heads = _joined(self._heads, heads.select("ts_ns", *DATAGRAM, *_PORTS))
        self._pieces = _joined(self._pieces, pieces.drop(_PORTS)).sort("ts_ns")
        parts = [whole, heads]
        if not self._pieces.is_empty():
            parts.append(self._tied(self._heads).select(whole.columns))
        self._heads = self._heads.tail(_MOST_WAITING)
        return _lost_once(pl.concat(parts))

    def _tied(self, heads: pl.DataFrame) -> pl.DataFrame:
        """The waiting fragments that get ports now; the others go on waiting."""
        assert self._pieces is not None
        tied = self._pieces.join_asof(
            heads.sort("ts_ns"),
            on="ts_ns",
            by=DATAGRAM,
            strategy="nearest",
            tolerance=_REASSEMBLY_NS,
            check_sortedness=False,
        )
        self._pieces = tied.filter(pl.col("src_port").is_null()).drop(_PORTS).tail(_MOST_WAITING)
        return tied.drop_nulls(_PORTS)


def _again(looks: pl.DataFrame) -> pl.Series:
    """[n] whether one that looks the same (l3key) was seen just before (ts_ns)."""
    twice = looks["l3key"].is_duplicated()
    since = pl.col("ts_ns") - pl.col("ts_ns").shift(1).over("l3key", order_by="ts_ns")
    soon = looks.filter(twice).select(soon=(since <= _AGAIN_NS).fill_null(False))["soon"]
    again = np.zeros(len(looks), np.bool_)
    again[twice.to_numpy()] = soon.to_numpy()
    return pl.Series(again)


def _joined(before: pl.DataFrame | None, rows: pl.DataFrame) -> pl.DataFrame:
    return rows if before is None else pl.concat([before, rows])


def _lost_once(rows: pl.DataFrame) -> pl.DataFrame:
    """A datagram of which several fragments were lost is lost once, and no duplicate is."""
    lost = (pl.col("status") == Status.LOST) & (pl.col("piece") != WHOLE)
    again = pl.col("piece") == DUPLICATE
    if rows.select(lost.any()).item():
        again |= lost & ~pl.struct(*DATAGRAM, lost.alias("lost")).is_first_distinct()
    unmatched = pl.lit(Status.UNMATCHED, rows.schema["status"])
    return rows.with_columns(pl.when(again).then(unmatched).otherwise("status").alias("status"))
