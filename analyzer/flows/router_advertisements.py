"""Who advertised itself as an IPv6 router (RFC 4861): the port that it came by tells who it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from analyzer.flows.doors import OUTWARD, find_doors, passing
from analyzer.model.batch import Batch
from analyzer.net.icmp import ROUTER_ADVERTISEMENT
from analyzer.net.ip import ICMPV6

MOST = 1_000
_GROUP = ["sender", "vantage", "mac", "hi", "lo"]


class RouterAdvertisements:
    """Of each container that sent some: how many, since when."""

    def __init__(self) -> None:
        self._rows: pl.DataFrame | None = None

    def add(self, batch: Batch) -> None:
        """Count the advertisements of one batch."""
        frames, packets = batch.frames, batch.packets
        first = packets["first_frame"].to_numpy()
        is_one = frames["protocol"][first] == ICMPV6
        is_one &= frames["icmp_type"][first] == ROUTER_ADVERTISEMENT
        rows = first[is_one & ~packets["stray"].to_numpy()]
        if not len(rows):
            return
        doors = find_doors(batch.vantages)
        owner = passing(frames, rows, doors, OUTWARD)
        rows, owner = rows[owner > 0], owner[owner > 0]
        new = pl.DataFrame(
            {
                "sender": np.array(doors.owners, object)[owner].tolist(),
                "vantage": frames["vantage"][rows],
                "mac": frames["eth_src"][rows],
                "hi": frames["src_hi"][rows],
                "lo": frames["src_lo"][rows],
                "first_ns": frames["ts_ns"][rows],
            },
            schema_overrides={"sender": pl.String},
        ).with_columns(packets=pl.lit(1, pl.Int64))
        both = new if self._rows is None else pl.concat([self._rows, new])
        grouped = both.group_by(_GROUP, maintain_order=True)
        self._rows = grouped.agg(pl.col("first_ns").min(), pl.col("packets").sum()).head(MOST)

    def rows(self) -> list[dict[str, Any]]:
        """sender (a container), vantage, mac, hi, lo (its address), first_ns, packets."""
        return [] if self._rows is None else self._rows.sort("first_ns").to_dicts()
