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
from analyzer.decode.dhcp import PORTS as DHCP_PORTS
from analyzer.decode.dhcp import dhcp_messages
from analyzer.decode.dns import dns_messages
from analyzer.decode.icmp import ICMP, ICMPV6
from analyzer.decode.inner import is_icmp_error, quoted_packets
from analyzer.decode.neighbour import neighbour_messages
from analyzer.decode.rows import transport_rows
from analyzer.decode.tcp_options import tcp_options
from analyzer.decode.udp import UDP
from analyzer.flows.checksums import count_unfinished
from analyzer.flows.conversation_statistics import OPTIONS
from analyzer.flows.frame_notes import FrameNotes
from analyzer.model.batch import Columns
from analyzer.model.frames import FrameChunk

_SYN = 0x02
QUOTED = (
    "ip_version",
    "protocol",
    "src_hi",
    "src_lo",
    "dst_hi",
    "dst_lo",
    "src_port",
    "dst_port",
    "ip_id",
    "tcp_seq",
    "icmp_id",
    "icmp_seq",
    "l4_offset",
)


@dataclass(slots=True)
class Depth:
    """The notes of one analysis."""

    dns: FrameNotes = field(default_factory=FrameNotes)
    neighbours: FrameNotes = field(default_factory=FrameNotes)
    dhcp: FrameNotes = field(default_factory=FrameNotes)
    errors: FrameNotes = field(default_factory=FrameNotes)
    offers: FrameNotes = field(default_factory=FrameNotes)
    """options of TCP SYNs"""
    corrupt: FrameNotes = field(default_factory=FrameNotes)
    unfinished: dict[int, int] = field(default_factory=dict)
    """vantage → frames whose checksum offload left unfinished"""

    def peek(self, chunk: FrameChunk, frames: Columns) -> None:
        """See a chunk just decoded; frames: with ``number``."""
        kinds: tuple[tuple[FrameNotes, Read, bool], ...] = (
            (self.dns, dns_messages, True),
            (self.neighbours, neighbour_messages, _has(frames, ICMPV6)),
            (self.dhcp, dhcp_messages, _has(frames, UDP, *DHCP_PORTS)),
            (self.errors, _quoted, _has_errors(frames)),
            (self.offers, _offers, True),
        )
        for noted, read, there in kinds:
            if there:
                _note(noted, read(chunk, frames), frames)
        states = checksum_states(chunk, frames)
        count_unfinished(self.unfinished, frames["vantage"], states == UNFINISHED)
        wrong = pl.DataFrame({"row": np.flatnonzero(states == WRONG).astype(np.uint32)})
        _note(self.corrupt, wrong, frames)


Read = Callable[[FrameChunk, Columns], pl.DataFrame]


def _has(frames: Columns, protocol: int, *ports: int) -> bool:
    return len(transport_rows(frames, protocol, *ports)) > 0


def _has_errors(frames: Columns) -> bool:
    rows = np.flatnonzero((frames["protocol"] == ICMP) | (frames["protocol"] == ICMPV6))
    names = ("protocol", "icmp_type", "l4_offset")
    return bool(is_icmp_error({name: frames[name][rows] for name in names}).any())


def _note(noted: FrameNotes, rows: pl.DataFrame, frames: Columns) -> None:
    if rows.is_empty():
        return
    at = rows["row"].to_numpy()
    places = {name: pl.Series(frames[name][at]) for name in ("number", "ts_ns")}
    noted.note(rows.drop("row").with_columns(**places))


def _offers(chunk: FrameChunk, frames: Columns) -> pl.DataFrame:
    """row and the options of SYNs."""
    syn = (frames["tcp_flags"] & _SYN != 0) & (frames["l4_offset"] != 0)
    rows = np.flatnonzero(syn)
    if not len(rows):
        return pl.DataFrame()
    return tcp_options(chunk, frames, rows).select("row", *OPTIONS)


def _quoted(chunk: FrameChunk, frames: Columns) -> pl.DataFrame:
    """row, rest (see `quoted_packets`), and QUOTED as quoted_…."""
    rows, found = quoted_packets(chunk, frames)
    columns = {f"quoted_{name}": pl.Series(found[name]) for name in QUOTED}
    return pl.DataFrame({"row": pl.Series(rows, dtype=pl.UInt32), "rest": found["rest"], **columns})
