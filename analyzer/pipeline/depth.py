"""What a report needs from the bytes of few frames: read while a chunk is in memory.

Second passes (`analyzer.decode.rows`) find it; each kind is noted for the flows that tie it to
packets. All of it costs a look at some columns where there is nothing of a kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from analyzer.decode.checksums import UNFINISHED, WRONG, checksum_states
from analyzer.decode.dhcp import dhcp_messages
from analyzer.decode.dns import dns_messages
from analyzer.decode.inner import quoted_packets
from analyzer.decode.neighbour import neighbour_messages
from analyzer.flows.checksums import count_unfinished
from analyzer.flows.noted import Noted
from analyzer.model.batch import Columns
from analyzer.model.frames import FrameChunk

QUOTED = (
    "ip_version", "protocol", "src_hi", "src_lo", "dst_hi", "dst_lo", "src_port", "dst_port",
    "ip_id", "tcp_seq", "icmp_id", "icmp_seq", "l4_offset",
)  # fmt: skip


@dataclass(slots=True)
class Depth:
    """The notes of one analysis."""

    dns: Noted = field(default_factory=Noted)
    neighbours: Noted = field(default_factory=Noted)
    dhcp: Noted = field(default_factory=Noted)
    errors: Noted = field(default_factory=Noted)
    corrupt: Noted = field(default_factory=Noted)
    unfinished: dict[int, int] = field(default_factory=dict)
    """vantage → frames whose checksum offload left unfinished"""

    def peek(self, chunk: FrameChunk, frames: Columns) -> None:
        """See a chunk just decoded; frames: with ``number``."""
        kinds = (
            (self.dns, dns_messages),
            (self.neighbours, neighbour_messages),
            (self.dhcp, dhcp_messages),
            (self.errors, _quoted),
        )
        for noted, read in kinds:
            _note(noted, read(chunk, frames), frames)
        states = checksum_states(chunk, frames)
        count_unfinished(self.unfinished, frames["vantage"], states == UNFINISHED)
        wrong = pl.DataFrame({"row": np.flatnonzero(states == WRONG).astype(np.uint32)})
        _note(self.corrupt, wrong, frames)


Read = Callable[[FrameChunk, Columns], pl.DataFrame]


def _note(noted: Noted, rows: pl.DataFrame, frames: Columns) -> None:
    if rows.is_empty():
        return
    at = rows["row"].to_numpy()
    places = {name: pl.Series(frames[name][at]) for name in ("number", "ts_ns")}
    noted.note(rows.drop("row").with_columns(**places))


def _quoted(chunk: FrameChunk, frames: Columns) -> pl.DataFrame:
    """row, rest (see `quoted_packets`), and QUOTED as quoted_…."""
    rows, found = quoted_packets(chunk, frames)
    columns = {f"quoted_{name}": pl.Series(found[name]) for name in QUOTED}
    return pl.DataFrame({"row": pl.Series(rows, dtype=pl.UInt32), "rest": found["rest"], **columns})
