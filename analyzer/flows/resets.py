"""TCP resets: who made each, told by where it was first seen, and what it answered (RFC 9293).

An RST for a SYN has the sequence number 0 and acknowledges the SYN: nothing listens there. Who
sends it is not who its address says: a REJECT rule of the host answers in the container's name,
and such an RST is first seen on its way out of a port, never coming in. Where addresses differ
between its first and its last vantage, a published port was asked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from msgspec import Struct

from analyzer.model.batch import Batch
from analyzer.model.frames import FLAG_DIRECTION
from analyzer.net.tcp_flags import ACK, RST

_EGRESS = 2
MOST = 10_000
"""kinds of resets that are told apart; a port scan ends there"""
_SIDES = ("src", "dst")
_GROUP = [
    "refusal",
    "source",
    "destination",
    "vantage",
    "egress",
    "port",
    "as_hi",
    "as_lo",
    "as_port",
    "hi",
    "lo",
]


class Resets(Struct):
    """The resets of a capture: a row a kind, with how many there were."""

    _table: pl.DataFrame | None = None

    def add(self, batch: Batch) -> None:
        """Count the resets of one batch."""
        first = batch.packets["first_frame"].to_numpy()
        flags = batch.frames["tcp_flags"][first]
        rows = np.flatnonzero(flags & RST)
        if len(rows):
            new = _resets(batch, batch.packets[rows]).filter(~pl.col("stray"))
            both = [new.drop("stray")] if self._table is None else [self._table, new.drop("stray")]
            groups = pl.concat(both).group_by(_GROUP, maintain_order=True)
            counted = groups.agg(pl.col("count").sum(), pl.col("first_ns").min())
            self._table = counted.head(MOST)

    def rows(self) -> list[dict[str, Any]]:
        """_GROUP, count and first_ns, in order of appearance."""
        return [] if self._table is None else self._table.to_dicts()


def _resets(batch: Batch, packets: pl.DataFrame) -> pl.DataFrame:
    frames = batch.frames
    first, last = (packets[f"{end}_frame"].to_numpy() for end in ("first", "last"))
    flags = frames["tcp_flags"][first]
    refusal = (flags & ACK != 0) & (frames["tcp_seq"][first] == 0)
    ports = {side: frames[f"{side}_port"][first].astype(np.int32) for side in _SIDES}
    # of a connection the lower one is the service's, as good as always
    service = np.where(refusal, ports["src"], np.minimum(ports["src"], ports["dst"]))
    is_source = ports["src"] == service
    return packets.select(
        pl.Series("refusal", refusal),
        pl.col("source", "destination").cast(pl.String),
        pl.col("first_vantage").alias("vantage"),
        pl.Series("egress", (frames["flags"][first] & FLAG_DIRECTION) == _EGRESS),
        pl.Series("port", service),
        pl.Series("as_hi", frames["src_hi"][last]),
        pl.Series("as_lo", frames["src_lo"][last]),
        pl.Series("as_port", np.where(is_source, frames["src_port"][last], 0).astype(np.int32)),
        pl.Series("hi", frames["src_hi"][first]),
        pl.Series("lo", frames["src_lo"][first]),
        pl.lit(1, pl.Int64).alias("count"),
        pl.col("ts_ns").alias("first_ns"),
        "stray",
    )
