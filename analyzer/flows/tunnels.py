"""What went into VXLAN tunnels and came to their ends (RFC 7348), by the MACs of the frames inside.

A packet arrives wrapped, and a VXLAN device unwraps it; or the device sends it, and it leaves
wrapped. Where the second does not follow, the tunnel's end did not take it, or knew no far end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec import Struct

from analyzer.decode.inner import tunnel_ends
from analyzer.decode.rows import has_transport
from analyzer.flows.frame_notes import FrameNotes, FrameReader, FrameReaders
from analyzer.model.batch import Batch, Columns
from analyzer.model.frames import EGRESS, FLAG_DIRECTION, INGRESS
from analyzer.net.ip import UDP
from analyzer.net.ports import VXLAN_PORTS

MOST = 10_000
"""rows of either table"""
_ARRIVED = ["vantage", "vni", "src_hi", "src_lo", "eth_src"]
_SENT = ["vantage", "eth_dst", "eth_src"]


def _has_tunnels(frames: Columns) -> bool:
    return has_transport(frames, UDP, *VXLAN_PORTS)


READER = FrameReader("tunnel ends", tunnel_ends, _has_tunnels)


class Tunnels(Struct):
    """Counts, batch by batch."""

    _noted: FrameNotes
    _arrived: pl.DataFrame | None = None
    _sent: pl.DataFrame | None = None

    @classmethod
    def reading(cls, readers: FrameReaders) -> Tunnels:
        """Of the frames that the readers see."""
        return cls(readers.notes(READER))

    def add(self, batch: Batch) -> None:
        """Count a batch's packets, at the interfaces where they arrive and at VXLAN devices."""
        wrapped = self._noted.take_frames(batch)
        device = np.array([vantage.is_tunnel for vantage in batch.vantages], np.bool_)
        if not device.any():
            return
        frames, packet = batch.frames, batch.journeys.packet
        direction = frames["flags"] & FLAG_DIRECTION
        at_device = np.flatnonzero(device[frames["vantage"]] & (packet >= 0))
        taken = packet[at_device[direction[at_device] == INGRESS]]
        sent = at_device[direction[at_device] == EGRESS]
        rows = np.empty(0, np.int64) if wrapped is None else wrapped["frame"].to_numpy()
        if wrapped is not None:
            arrives = (direction[rows] == INGRESS) & ~device[frames["vantage"][rows]]
            new = _facts(batch, rows[arrives], np.isin(packet[rows[arrives]], taken))
            inner = wrapped.filter(pl.Series(arrives)).select("vni", "eth_src")
            new = new.drop("eth_src", "eth_dst").hstack(inner)
            self._arrived = _counted(self._arrived, new, _ARRIVED)
        new = _facts(batch, sent, np.isin(packet[sent], packet[rows]))
        self._sent = _counted(self._sent, new, _SENT)

    def arrivals(self) -> list[dict[str, Any]]:
        """vantage, vni, src_hi, src_lo (of the tunnel's other end), eth_src (of the frame inside),
        packets, through (of these, as many came out of a VXLAN device), first_ns."""
        return [] if self._arrived is None else self._arrived.sort("first_ns").to_dicts()

    def departures(self) -> list[dict[str, Any]]:
        """vantage (a VXLAN device), eth_dst, eth_src, packets, through (of these, as many were seen
        wrapped), first_ns."""
        return [] if self._sent is None else self._sent.sort("first_ns").to_dicts()


def _facts(
    batch: Batch, rows: npt.NDArray[np.int64], through: npt.NDArray[np.bool_]
) -> pl.DataFrame:
    frames = batch.frames
    names = ("vantage", "src_hi", "src_lo", "eth_src", "eth_dst")
    return pl.DataFrame({name: frames[name][rows] for name in names}).with_columns(
        pl.Series("first_ns", frames["ts_ns"][rows]),
        pl.Series("through", through).cast(pl.Int64),
        packets=pl.lit(1, pl.Int64),
    )


def _counted(before: pl.DataFrame | None, new: pl.DataFrame, group: list[str]) -> pl.DataFrame:
    columns = [*group, "first_ns", "through", "packets"]
    both = new.select(columns) if before is None else pl.concat([before, new.select(columns)])
    return (
        both.group_by(group, maintain_order=True)
        .agg(pl.col("first_ns").min(), pl.col("through", "packets").sum())
        .head(MOST)
    )
