"""Which packets came to the container that they were for."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from analyzer.model.journeys import Status
from analyzer.model.vantage import Role, Vantage


def arrived(outcomes: pl.DataFrame, vantages: Sequence[Vantage]) -> pl.Series:
    """[rows] whether they were delivered, and not to another container than their destination."""
    ends = {v.container for v in vantages if v.role in (Role.HOST_VETH, Role.CONTAINER)} - {""}
    at = pl.Series([v.container for v in vantages], dtype=pl.String).gather(
        outcomes["last_vantage"]
    )
    known = outcomes["destination"].cast(pl.String).is_in(list(ends)) & (at != "")
    astray = known & (at != outcomes["destination"]) & (at != outcomes["source"])
    return (outcomes["status"] == Status.DELIVERED) & ~astray
