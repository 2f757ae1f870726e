"""Unicast that a bridge floods: it does not know where the MAC is."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from analyzer.model.batch import Batch
from analyzer.model.journeys import Evidence
from analyzer.net.ethernet import GROUP_BIT


class Flooding:
    """Unicast that a bridge sent out of several ports, for want of an FDB entry: by MAC."""

    def __init__(self) -> None:
        self._rows: pl.DataFrame | None = None

    def add(self, batch: Batch) -> None:
        """Count the flooded packets of one batch."""
        packets = batch.packets
        which = np.flatnonzero(packets["evidence"].to_numpy() & Evidence.FLOODED)
        if not len(which):
            return
        flooded = packets[which].filter(~pl.col("stray"))
        mac = pl.Series("mac", batch.frames["eth_dst"][flooded["first_frame"].to_numpy()])
        new = flooded.select(
            mac, "number", "in_port", pl.col("source").cast(pl.String), packets=pl.lit(1)
        ).filter(pl.col("mac") & GROUP_BIT == 0)
        both = new if self._rows is None else pl.concat([self._rows, new])
        self._rows = (
            both.sort("number")
            .group_by("mac", maintain_order=True)
            .agg(pl.col("number", "in_port", "source").first(), pl.col("packets").sum())
        )

    def rows(self) -> list[dict[str, Any]]:
        """mac, number, in_port, source, packets: one a MAC, in order of appearance."""
        return [] if self._rows is None else self._rows.sort("number").to_dicts()
