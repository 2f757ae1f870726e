"""Addresses that were translated on the way: which became which, and between which vantages.

Told from the packets themselves: a journey whose ends differ. Packets are counted by connection,
in the direction that was seen first; a connection is one that connection tracking told of, or one
that is guessed from the packets alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.kind import AggregatorInputs, FlowKind, SheetForm, forgotten
from analyzer.flows.live_numbers import LiveNumbers
from analyzer.flows.nat_tuples import PARTS, end_text, translations, tuple_at, tuple_columns
from analyzer.formatting.pieces import Piece, count_piece
from analyzer.model.batch import Batch, Columns
from analyzer.model.flow_rows import NatRow
from analyzer.model.journeys import Status
from analyzer.model.nat_entries import ENDED, NatEntries
from analyzer.model.vantage import Vantage
from analyzer.native.keys import mixed
from analyzer.net.ip import ICMP_PROTOCOLS, address_text

CONNTRACK, PACKETS = "conntrack", "packets"
_WITH_PORTS = ("tcp", "udp")
_NEVER = (1 << 63) - 1
_SERVICE = ("src_hi", "src_lo", "dst_hi", "dst_lo", "dst_port")
"""of a tuple: what the connections of a row have in common; a client's port is another each time"""


class Translations:
    """The translated connections of all batches, each direction for itself."""

    def __init__(self) -> None:
        self._numbers = LiveNumbers()
        self._rows: list[pl.DataFrame] = []
        self._counts = np.zeros((2, 0), np.int64)
        """packets, and the least number of one"""

    def add(self, batch: Batch) -> None:
        """Look at the packets of one batch that were translated."""
        journeys, frames = batch.journeys, batch.frames
        changed = translations(frames, journeys)
        number, first = np.unique(journeys.packet[changed], return_index=True)
        last = len(changed) - 1 - np.unique(journeys.packet[changed][::-1], return_index=True)[1]
        packet = batch.packets[number]
        counted = ~(packet["stray"] | (packet["status"] == Status.UNMATCHED)).to_numpy()
        if not counted.any():
            return
        packet = packet.filter(pl.Series(counted))
        before, after = journeys.parent[changed[first[counted]]], changed[last[counted]]
        there, back = _connection_keys(frames, before, after)
        numbers, fresh = self._numbers.take(there)
        rows = packet.select(pl.col("protocol", "source", "destination").cast(pl.String))
        self._rows.append(
            rows.with_columns(
                *tuple_columns(frames, before, "before"),
                *tuple_columns(frames, after, "after"),
                pl.Series("from", frames["vantage"][before]),
                pl.Series("to", frames["vantage"][after]),
                pl.Series("there", there),
                pl.Series("back", back),
            )[fresh]
        )
        more = np.array([[0], [_NEVER]]).repeat(len(fresh), axis=1)
        self._counts = np.concatenate([self._counts, more], axis=1)
        np.add.at(self._counts[0], numbers, 1)
        np.minimum.at(self._counts[1], numbers, packet["number"].to_numpy())
        kept = self._numbers.shed()
        if kept is not None:
            self._rows, self._counts = [pl.concat(self._rows)[kept]], self._counts[:, kept]

    @property
    def forgotten(self) -> int:
        """Connections of which nothing is told: there were too many."""
        return self._numbers.forgotten

    def rows(self, vantages: Sequence[Vantage], entries: NatEntries) -> list[NatRow]:
        """One row a translation: its connections have all but the client's port in common."""
        if not self._rows:
            return []
        shared = [f"{name}_{when}" for when in ("before", "after") for name in _SERVICE]
        group = ["protocol", "source", "destination", *shared, "from", "to", "told_by"]
        translated = (
            self._connections(entries)
            .sort("number")
            .group_by(group, maintain_order=True)
            .agg(
                pl.len().alias("connections"),
                pl.col("packets", "answers").sum(),
                pl.col("src_port_before", "src_port_after").first(),
            )
        )
        return [_row(row, vantages) for row in translated.iter_rows(named=True)]

    def _connections(self, entries: NatEntries) -> pl.DataFrame:
        """A row a connection, in the direction that was seen first."""
        rows = pl.concat(self._rows)
        in_conntrack = pl.Series(np.isin(rows["there"].to_numpy(), _entry_keys(entries)))
        rows = rows.with_columns(
            pl.Series("packets", self._counts[0]),
            pl.Series("number", self._counts[1]),
            pl.when(in_conntrack)
            .then(pl.lit(CONNTRACK))
            .otherwise(pl.lit(PACKETS))
            .alias("told_by"),
        )
        other = rows.select("back", other="number", answers="packets")
        both = rows.join(other, left_on="there", right_on="back", how="left")
        return both.with_columns(pl.col("answers").fill_null(0)).filter(
            pl.col("other").is_null() | (pl.col("number") < pl.col("other"))
        )


def changes(row: NatRow) -> list[str]:
    """``source 172.17.0.2 becomes 198.51.100.1``, and the same of the destination."""
    sides = (
        ("source", (row.source_ip, None), (row.new_source_ip, None)),
        (
            "destination",
            (row.destination_ip, row.destination_port),
            (row.new_destination_ip, row.new_destination_port),
        ),
    )
    return [
        f"{side} {end_text(*before)} becomes {end_text(*after)}"
        for side, before, after in sides
        if before != after
    ] or [f"source port {row.source_port} becomes {row.new_source_port}"]


def _connection_keys(
    frames: Columns, before: npt.NDArray[Any], after: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """(key in this direction, key in the other) of what was translated to what."""
    protocol = frames["protocol"][after]
    one, two = tuple_at(frames, before), tuple_at(frames, after)
    icmp = np.isin(protocol, ICMP_PROTOCOLS)
    return _key(protocol, one, two), _key(protocol, _turned(two, icmp), _turned(one, icmp))


def _entry_keys(entries: NatEntries) -> npt.NDArray[np.uint64]:
    """The same keys of connection tracking's entries, both directions."""
    rows = entries.rows[entries.rows["what"] != ENDED]
    protocol, icmp = rows["protocol"], np.isin(rows["protocol"], ICMP_PROTOCOLS)
    there = [rows[name] for name in PARTS]
    back = [rows[f"back_{name}"] for name in PARTS]
    for ends in (there, back):
        ends[5] = np.where(icmp, 0, ends[5])
    return np.concatenate(
        [
            _key(protocol, there, _turned(back, icmp)),
            _key(protocol, back, _turned(there, icmp)),
        ]
    )


def _turned(ends: list[npt.NDArray[Any]], icmp: npt.NDArray[np.bool_]) -> list[npt.NDArray[Any]]:
    src_hi, src_lo, dst_hi, dst_lo, source, target = ends
    return [
        dst_hi,
        dst_lo,
        src_hi,
        src_lo,
        np.where(icmp, source, target),
        np.where(icmp, target, source),
    ]


def _key(
    protocol: npt.NDArray[Any], one: list[npt.NDArray[Any]], two: list[npt.NDArray[Any]]
) -> npt.NDArray[np.uint64]:
    return mixed(protocol, *one, *two)


def _row(row: Mapping[str, Any], vantages: Sequence[Vantage]) -> NatRow:
    ports = row["protocol"] in _WITH_PORTS
    single = row["connections"] == 1

    def port(name: str, unambiguous: bool) -> int | None:
        return row[name] if ports and unambiguous else None

    return NatRow(
        protocol=row["protocol"],
        source=row["source"],
        destination=row["destination"],
        source_ip=address_text(row["src_hi_before"], row["src_lo_before"]),
        source_port=port("src_port_before", single),
        destination_ip=address_text(row["dst_hi_before"], row["dst_lo_before"]),
        destination_port=port("dst_port_before", True),
        new_source_ip=address_text(row["src_hi_after"], row["src_lo_after"]),
        new_source_port=port("src_port_after", single),
        new_destination_ip=address_text(row["dst_hi_after"], row["dst_lo_after"]),
        new_destination_port=port("dst_port_after", True),
        from_=vantages[row["from"]].name,
        to=vantages[row["to"]].name,
        connections=row["connections"],
        packets=row["packets"],
        answers=row["answers"],
        told_by=row["told_by"],
    )


def _aggregator(inputs: AggregatorInputs) -> Translations:
    return Translations()


def _cells(row: NatRow) -> Iterable[Piece]:
    yield Piece(f"{row.protocol} {row.source} → {row.destination}")
    before = [(row.source_ip, row.source_port), (row.destination_ip, row.destination_port)]
    after = [
        (row.new_source_ip, row.new_source_port),
        (row.new_destination_ip, row.new_destination_port),
    ]
    ways = (" → ".join(end_text(*end) for end in ends) for ends in (before, after))
    yield Piece(" becomes ".join(ways))
    yield Piece("conntrack") if row.told_by == CONNTRACK else Piece("packets: likely", "warn")
    yield count_piece(row.connections)
    yield count_piece(row.packets)
    yield count_piece(row.answers)


KINDS = (
    FlowKind(
        name="nat",
        row=NatRow,
        about="connections of which addresses or ports were translated, and to what",
        aggregator=_aggregator,
        rows=lambda translations, context: translations.rows(context.vantages, context.nat),
        sheet=SheetForm(
            place=4,
            title="NAT",
            note="what became of addresses and ports",
            words=("who → whom", "translation", "told by"),
            numbers=("conns", "pkts", "back"),
            cells=_cells,
            noun="translation",
            size=lambda row: row.packets,
        ),
        left_out=forgotten,
    ),
)
