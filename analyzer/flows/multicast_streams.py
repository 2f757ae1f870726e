"""What was sent to multicast groups by UDP, and who got it.

Groups of link scope are left out: bridges flood them, whoever has joined (RFC 4541, 2.1.2).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.kind import AggregatorInputs, FlowContext, FlowKind, SheetForm, forgotten
from analyzer.flows.live_numbers import ROWS, latest_rows
from analyzer.flows.multicast_receivers import MulticastStreamRow, stream_rows
from analyzer.formatting.pieces import Piece, count_piece
from analyzer.model.batch import Batch
from analyzer.model.frames import FLAG_DIRECTION
from analyzer.net.ethernet import GROUP_BIT_U64
from analyzer.net.ip import MAPPED, UDP

_STREAM = ["segment", "src_hi", "src_lo", "dst_hi", "dst_lo"]
_SHOWN = 5
"""names"""
_PLACES = 200_000
"""that are kept of all streams together, where each is seen at very many: (interface, direction)"""
_LINK_SCOPE = 2
"""of IPv6: node, interface and link (RFC 4291, 2.7)"""


class MulticastStreams:
    """Of each (sender, group): packets, and frames by interface and direction."""

    def __init__(self) -> None:
        self._packets: pl.DataFrame | None = None
        self._frames: pl.DataFrame | None = None
        self.forgotten = 0
        """streams of which nothing is told: there were too many"""

    def add(self, batch: Batch) -> None:
        """Count the packets of one batch."""
        frames, packet = batch.frames, batch.journeys.packet
        rows = np.flatnonzero((frames["eth_dst"] & GROUP_BIT_U64 > 0) & (packet >= 0))
        rows = rows[frames["protocol"][rows] == UDP]
        rows = rows[_is_flooded_by_membership(frames["dst_hi"][rows], frames["dst_lo"][rows])]
        rows = rows[~batch.packets["stray"].to_numpy()[packet[rows]]]
        if not len(rows):
            return
        seen = self._keys(batch, rows).with_columns(
            pl.Series("vantage", frames["vantage"][rows]),
            pl.Series("direction", frames["flags"][rows] & FLAG_DIRECTION),
            pl.lit(1, pl.Int64).alias("frames"),
        )
        place = [*_STREAM, "vantage", "direction"]
        self._frames = _merged(self._frames, seen, place, [pl.col("frames").sum()])
        packets = np.unique(packet[rows])
        chosen = batch.packets[packets]
        first = chosen["first_frame"].to_numpy()
        new = self._keys(batch, first).with_columns(
            chosen["source"].cast(pl.String),
            chosen["first_vantage"],
            chosen["ts_ns"].alias("first_ns"),
            chosen["last_ts_ns"].alias("last_ns"),
            pl.lit(1, pl.Int64).alias("packets"),
        )
        totals = [
            pl.col("source", "first_vantage").first(),
            pl.col("first_ns").min(),
            pl.col("last_ns").max(),
            pl.col("packets").sum(),
        ]
        packets_of = _merged(self._packets, new, _STREAM, totals)
        places = -(-len(self._frames) // len(packets_of))
        most = max(min(ROWS, _PLACES // places), 2)
        self._packets = latest_rows(packets_of, "last_ns", most)
        if len(self._packets) < len(packets_of):
            self.forgotten += len(packets_of) - len(self._packets)
            kept = self._packets.select(_STREAM)
            self._frames = self._frames.join(kept, on=_STREAM, how="semi", maintain_order="left")

    def _keys(self, batch: Batch, rows: npt.NDArray[Any]) -> pl.DataFrame:
        frames = batch.frames
        segment = batch.journeys.segment[frames["vantage"][rows]]
        columns = {name: frames[name][rows] for name in _STREAM[1:]}
        return pl.DataFrame({"segment": segment, **columns})

    def rows(self) -> list[dict[str, Any]]:
        """source, src_hi, src_lo, first_vantage, segment, dst_hi, dst_lo, first_ns, last_ns,
        packets, and seen: (vantage, direction) → frames; in order of appearance."""
        if self._packets is None or self._frames is None:
            return []
        seen: dict[tuple[int, ...], dict[tuple[int, int], int]] = {}
        for *key, vantage, direction, count in self._frames.iter_rows():
            seen.setdefault(tuple(key), {})[vantage, direction] = count
        rows = self._packets.sort("first_ns", maintain_order=True).to_dicts()
        return [row | {"seen": seen.get(tuple(row[n] for n in _STREAM), {})} for row in rows]


def _is_flooded_by_membership(
    hi: npt.NDArray[np.uint64], lo: npt.NDArray[np.uint64]
) -> npt.NDArray[np.bool_]:
    """[n] whether a bridge that snoops sends it to members only."""
    four = (hi == 0) & (lo >> np.uint64(28) == (MAPPED | 0xE000_0000) >> 28)
    four &= (lo >> np.uint64(8)) & np.uint64(0xFFFFFF) != 0xE00000
    six = (hi >> np.uint64(56) == 0xFF) & ((hi >> np.uint64(48)) & np.uint64(0xF) > _LINK_SCOPE)
    wanted: npt.NDArray[np.bool_] = four | six
    return wanted


def _merged(
    before: pl.DataFrame | None, new: pl.DataFrame, group: list[str], totals: list[pl.Expr]
) -> pl.DataFrame:
    both = new if before is None else pl.concat([before, new.select(before.columns)])
    return both.group_by(group, maintain_order=True).agg(totals)


def _aggregator(inputs: AggregatorInputs) -> MulticastStreams:
    return MulticastStreams()


def _rows(streams: MulticastStreams, context: FlowContext) -> list[MulticastStreamRow]:
    return stream_rows(streams.rows(), context)


def _cells(row: MulticastStreamRow) -> Iterable[Piece]:
    yield Piece(row.source)
    yield Piece(row.group)
    got = [one.name for one in row.receivers if one.packets]
    without = [one.name for one in row.receivers if one.packets == 0 and one.joined]
    yield Piece(_some(got))
    yield Piece(_some(without), "bad" if without else "")
    yield count_piece(row.packets)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN}" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


KINDS = (
    FlowKind(
        name="multicast_streams",
        row=MulticastStreamRow,
        about="what one node sent to one multicast group by UDP, and which containers got it",
        aggregator=_aggregator,
        rows=_rows,
        nested=("receivers",),
        sheet=SheetForm(
            place=11,
            title="Multicast streams",
            note="who was sent what came for a group",
            words=("source", "group", "got it", "joined and did not"),
            numbers=("pkts",),
            cells=_cells,
            noun="stream",
            size=lambda row: row.packets,
        ),
        left_out=forgotten,
    ),
)
