"""SYNs as requests: who asks for a connection, and what answers or refuses it."""

from __future__ import annotations

import numpy as np
import polars as pl

from analyzer.model.batch import Batch
from analyzer.net.ip import TCP
from analyzer.net.tcp_flags import RST, SYN, SYN_ACK


def opening_segments(batch: Batch, kind: int) -> pl.DataFrame:
    """SYNs, and what answers them or refuses them. kind: what requests of this kind are told by."""
    first = batch.packets["first_frame"].to_numpy()
    flags = batch.frames["tcp_flags"][first]
    opens = (batch.frames["protocol"][first] == TCP) & ((flags & (SYN | RST)) != 0)
    opens &= ~batch.packets["stray"].to_numpy()
    rows = np.flatnonzero(opens)
    asks = flags[rows] & (SYN_ACK | RST) == SYN
    return batch.packets[rows].with_columns(
        pl.Series("asks", asks, dtype=pl.Boolean),
        kind=pl.lit(kind, pl.UInt8),
        ident=pl.lit(0, pl.UInt64),
    )
