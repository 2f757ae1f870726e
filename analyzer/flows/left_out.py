"""Conversations that become no row of a report: counted together, by service."""

from __future__ import annotations

import polars as pl

from analyzer.flows.transport import Conversations
from analyzer.model.ranks import largest_traffic
from analyzer.model.report import LeftOut, OtherService

SERVICES = 20
"""of the conversations that are not told one by one; the rest is not told by service"""


def largest_talks(
    table: pl.DataFrame, protocol: str, top: int | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(the conversations that become rows, in their order; the others). Those that lost packets
    come first, then those with most packets."""
    ours = table.filter(pl.col("protocol") == protocol)
    if ours.is_empty():
        return ours, ours
    chosen = largest_traffic(ours["packets"].to_numpy(), ours["lost"].to_numpy(), top)
    return ours.filter(chosen), ours.filter(~chosen)


def left_out(protocol: str, talks: Conversations, top: int | None) -> LeftOut:
    """Conversations that are followed and become no row, and those that are not."""
    _, rest = largest_talks(talks.table(), protocol, top)
    unfollowed = talks.others().filter(pl.col("protocol") == protocol)
    parts = [unfollowed.drop("protocol")]
    if len(rest):
        sums = (pl.col(name).cast(pl.Int64).sum() for name in ("packets", "bytes", "lost"))
        port = pl.col("server_port").cast(pl.Int64).alias("port")
        counted = rest.group_by(port).agg(pl.len().cast(pl.Int64).alias("conversations"), *sums)
        parts.append(counted)
    both = pl.concat(parts).group_by("port").agg(pl.all().sum())
    largest = both.sort("packets", "port", descending=[True, False]).head(SERVICES)
    services = [OtherService(**row) for row in largest.iter_rows(named=True)]
    return LeftOut(int(both["conversations"].sum()), services)
