"""Packets that leave the host with a private source that nobody translated, and what came for it.

An address that is the same at a packet's first and its last frame was not translated in between.
Only packets that are routed through the host's own interfaces beside its bridges are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec import Struct

from analyzer.model.batch import Batch
from analyzer.model.journeys import Evidence
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ip import address_value

MOST = 10_000
"""flows that are told apart"""
_GROUP = ["inward", "protocol", "source", "vantage", "src", "dst"]
_OF_THE_HOST = (Role.BRIDGE, Role.HOST, Role.UPLINK)


class Untranslated(Struct):
    """Flows through outer interfaces whose inner address is the same on either side."""

    _table: pl.DataFrame | None = None

    def add(self, batch: Batch) -> None:
        """Count the packets of one batch."""
        outer = outer_vantages(batch.vantages)
        if not outer.any():
            return
        both = [] if self._table is None else [self._table]
        both += [_flows(batch, outer, inward=inward) for inward in (False, True)]
        sums = (pl.col("count").sum(), pl.col("first_ns").min(), pl.col("last_ns").max())
        self._table = pl.concat(both).group_by(_GROUP, maintain_order=True).agg(*sums).head(MOST)

    def rows(self) -> list[dict[str, Any]]:
        """_GROUP, count, first_ns, last_ns, in order of appearance.

        inward: it came in from outside for ``dst``, an address that is not the host's; vantage: the
        outer one; source: its name; src, dst: the low halves of IPv4 addresses.
        """
        return [] if self._table is None else self._table.to_dicts()


def host_namespaces(vantages: Sequence[Vantage]) -> set[int]:
    """Where the host's own devices are."""
    return {v.netns for v in vantages if v.role in _OF_THE_HOST}


def outer_vantages(vantages: Sequence[Vantage]) -> npt.NDArray[np.bool_]:
    """[v] interfaces of the host with an address, that are no bridge's, and what is behind them."""
    hosts = host_namespaces(vantages)
    exits = {
        v.name
        for v in vantages
        if v.netns in hosts
        and v.addresses
        and not (v.is_bridge or v.master_ifindex or v.bridge or v.is_tunnel)
    }
    return np.array([v.name in exits or v.peer in exits for v in vantages], np.bool_)


def _flows(batch: Batch, outer: npt.NDArray[np.bool_], *, inward: bool) -> pl.DataFrame:
    """Those of one direction, a row a packet."""
    packets, frames = batch.packets, batch.frames
    at = packets["first_vantage" if inward else "last_vantage"].to_numpy()
    rows = np.flatnonzero(outer[at])
    chosen = packets[rows]
    first, last = (chosen[f"{end}_frame"].to_numpy() for end in ("first", "last"))
    side = "dst" if inward else "src"
    inner, evidence = frames[f"{side}_lo"][first], chosen["evidence"].to_numpy()
    keep = (inner == frames[f"{side}_lo"][last]) & (frames["ip_version"][first] == 4)
    keep &= (evidence & (Evidence.STRAY | Evidence.TUNNELLED)) == 0
    keep &= ~np.isin(inner, _own(batch.vantages))
    if not inward:
        keep &= (evidence & Evidence.ROUTED) != 0
    return chosen.select(
        pl.lit(inward).alias("inward"),
        pl.col("protocol", "source").cast(pl.String),
        pl.Series("vantage", at[rows].astype(np.int64)),
        pl.Series("src", frames["src_lo"][last]),
        pl.Series("dst", frames["dst_lo"][last]),
        pl.lit(1, pl.Int64).alias("count"),
        pl.col("ts_ns").alias("first_ns"),
        pl.col("ts_ns").alias("last_ns"),
    ).filter(pl.Series(keep))


def _own(vantages: Sequence[Vantage]) -> npt.NDArray[np.uint64]:
    """The host's IPv4 addresses."""
    hosts = host_namespaces(vantages)
    texts = {a.partition("/")[0] for v in vantages if v.netns in hosts for a in v.addresses}
    return np.array([address_value(text)[1] for text in texts if ":" not in text], np.uint64)
