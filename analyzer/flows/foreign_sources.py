"""Packets that a container sent with a MAC or an address that is not its own.

What they bear is kept by the interface that shows who sent them; whose it is, is asked at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.doors import OUTWARD, find_doors, passing
from analyzer.model.batch import Batch
from analyzer.model.vantage import Role, Vantage
from analyzer.native.keys import mixed
from analyzer.net.ethernet import GROUP_BIT
from analyzer.net.ip import address_value

MOST = 10_000
"""groups that are kept; random addresses end there"""
_GROUP = ["vantage", "mac", "hi", "lo"]


class ForeignSources:
    """Of each (interface, MAC, address): how many packets, when."""

    def __init__(self) -> None:
        self._rows: pl.DataFrame | None = None
        self._known = 0
        self._own = np.empty(0, np.uint64)

    def add(self, batch: Batch) -> None:
        """Count the packets of one batch."""
        packets, frames = batch.packets, batch.frames
        first = packets["first_frame"].to_numpy()
        doors = find_doors(batch.vantages)
        sent = passing(frames, first, doors, OUTWARD) > 0
        at = first[sent & ~packets["stray"].to_numpy()]
        vantage, mac = frames["vantage"][at], frames["eth_src"][at]
        self._learn(batch.vantages)
        hi, lo = frames["src_hi"][at], frames["src_lo"][at]
        bare = frames["ip_version"][at] == 0
        own = bare | np.isin(mixed(hi, lo, vantage), self._own)
        foreign = np.flatnonzero((mac & GROUP_BIT == 0) & ((mac != doors.mac[vantage]) | ~own))
        if len(foreign):
            self._count(batch, at[foreign])

    def _learn(self, vantages: Sequence[Vantage]) -> None:
        """Take the addresses of the interfaces inside."""
        if len(vantages) != self._known:
            self._known = len(vantages)
            keys = [_own_keys(at, vantage) for at, vantage in enumerate(vantages)]
            self._own = np.concatenate([np.empty(0, np.uint64), *keys])

    def _count(self, batch: Batch, rows: npt.NDArray[np.int32]) -> None:
        frames = batch.frames
        new = pl.DataFrame(
            {
                "vantage": frames["vantage"][rows],
                "mac": frames["eth_src"][rows],
                "hi": frames["src_hi"][rows],
                "lo": frames["src_lo"][rows],
                "first_ns": frames["ts_ns"][rows],
            }
        ).with_columns(packets=pl.lit(1, pl.Int64))
        both = new if self._rows is None else pl.concat([self._rows, new])
        grouped = both.group_by(_GROUP, maintain_order=True)
        self._rows = grouped.agg(pl.col("first_ns").min(), pl.col("packets").sum()).head(MOST)

    def rows(self) -> list[dict[str, Any]]:
        """vantage (whose container sent it), mac, hi, lo, first_ns, packets."""
        return [] if self._rows is None else self._rows.sort("first_ns").to_dicts()


def _own_keys(at: int, vantage: Vantage) -> npt.NDArray[np.uint64]:
    inside = vantage.role is Role.CONTAINER
    told = vantage.addresses if inside else vantage.peer_addresses
    values = [address_value(text) for text in told]
    return mixed(
        np.array([hi for hi, _ in values], np.uint64),
        np.array([lo for _, lo in values], np.uint64),
        np.full(len(values), at, np.int32),
    )
