"""Delay and loss per hop: every parent→child edge of every journey, grouped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.model.journeys import Hop, Journeys, Status

GROUP = ["protocol", "source", "destination", "from", "to"]


def build_edges(frames: Mapping[str, npt.NDArray[Any]], journeys: Journeys) -> pl.DataFrame:
    """One row an edge: frame, packet, from, to (vantages), hop, delay_ns. Copies are left out."""
    child = np.flatnonzero((journeys.parent >= 0) & (journeys.hop != Hop.COPY))
    parent = journeys.parent[child]
    return pl.DataFrame(
        {
            "frame": child.astype(np.int32),
            "packet": journeys.packet[child],
            "from": frames["vantage"][parent],
            "to": frames["vantage"][child],
            "hop": journeys.hop[child],
            "delay_ns": frames["ts_ns"][child] - frames["ts_ns"][parent],
        }
    )


def summarise_hops(edges: pl.DataFrame, packets: pl.DataFrame) -> pl.DataFrame:
    """One row a (protocol, source, destination, from, to): packets, lost, delays; vantage indices.

    kind is the hop's name; a hop on which every packet was lost has no delays.
    """
    who = packets.select("packet", "protocol", "source", "destination")
    delay = pl.col("delay_ns")
    timed = (
        edges.join(who, on="packet", how="left")
        .group_by([*GROUP, "hop"], maintain_order=True)
        .agg(
            pl.len().alias("packets"),
            pl.col("frame").min(),
            delay.min().alias("min_ns"),
            delay.quantile(0.5, "nearest").cast(pl.Int64).alias("p50_ns"),
            delay.quantile(0.9, "nearest").cast(pl.Int64).alias("p90_ns"),
            delay.quantile(0.99, "nearest").cast(pl.Int64).alias("p99_ns"),
            delay.max().alias("max_ns"),
            delay.mean().alias("mean_ns"),
        )
    )
    lost = (
        packets.filter(pl.col("status") == Status.LOST)
        .group_by(
            "protocol", "source", "destination",
            pl.col("last_vantage").alias("from"), pl.col("expected").alias("to"),
        )
        .agg(
            pl.len().alias("lost"),
            pl.col("last_frame").min().alias("lost_frame"),
        )
    )  # fmt: skip
    return (
        timed.join(lost, on=GROUP, how="full", coalesce=True)
        .with_columns(
            pl.col("packets", "lost").fill_null(0),
            pl.coalesce("frame", "lost_frame").alias("frame"),
        )
        .sort("frame", maintain_order=True)
    )


def expected_kind(
    from_is_port: bool, to_is_port: bool, from_is_bridge: bool, to_is_bridge: bool
) -> str:
    """What a hop that no packet passed would have been."""
    if from_is_port and to_is_port:
        return "bridge"
    if from_is_bridge or to_is_bridge:
        return "originate" if from_is_bridge else "deliver"
    return "veth"
