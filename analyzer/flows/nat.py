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

from analyzer.flows.kind import AggregatorInputs, FlowKind, SheetForm
from analyzer.formatting.pieces import Piece, count_piece
from analyzer.model.batch import Batch
from analyzer.model.journeys import Hop, Journeys, Status
from analyzer.model.nat_entries import ENDED, NatEntries
from analyzer.model.report import NatRow
from analyzer.model.vantage import Vantage
from analyzer.native.keys import KeyNumbers, mixed
from analyzer.net.ip import ICMP_PROTOCOLS, address_text

Columns = Mapping[str, npt.NDArray[Any]]
CONNTRACK, PACKETS = "conntrack", "packets"
_PARTS = ("src_hi", "src_lo", "dst_hi", "dst_lo", "src_port", "dst_port")
_WITH_PORTS = ("tcp", "udp")
_NEVER = (1 << 63) - 1
_SERVICE = ("src_hi", "src_lo", "dst_hi", "dst_lo", "dst_port")
"""of a tuple: what the connections of a row have in common; a client's port is another each time"""


class Translations:
    """The translated connections of all batches, each direction for itself."""

    def __init__(self) -> None:
        self._numbers = KeyNumbers()
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
                *_tuple_columns(frames, before, "before"),
                *_tuple_columns(frames, after, "after"),
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

    def rows(self, vantages: Sequence[Vantage], entries: NatEntries) -> list[NatRow]:
        """One row a translation: its connections have all but the client's port in common."""
        if not self._rows:
            return []
        shared = [f"{name}_{when}" for when in ("before", "after") for name in _SERVICE]
        group = ["protocol", "source", "destination", *shared, "from", "to", "told_by"]
        found = (
            self._connections(entries)
            .sort("number")
            .group_by(group, maintain_order=True)
            .agg(
                pl.len().alias("connections"),
                pl.col("packets", "answers").sum(),
                pl.col("src_port_before", "src_port_after").first(),
            )
        )
        return [_row(row, vantages) for row in found.iter_rows(named=True)]

    def _connections(self, entries: NatEntries) -> pl.DataFrame:
        """A row a connection, in the direction that was seen first."""
        rows = pl.concat(self._rows)
        told = pl.Series(np.isin(rows["there"].to_numpy(), _entry_keys(entries)))
        rows = rows.with_columns(
            pl.Series("packets", self._counts[0]),
            pl.Series("number", self._counts[1]),
            pl.when(told).then(pl.lit(CONNTRACK)).otherwise(pl.lit(PACKETS)).alias("told_by"),
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


def end_text(address: str, port: int | None) -> str:
    """``172.17.0.2:80``, ``[fd00::2]:80``; without a port the address alone."""
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def translations(frames: Columns, journeys: Journeys) -> npt.NDArray[np.intp]:
    """Frames that differ from what they came from in addresses, ports or an ICMP query's id.

    In order of time. On a route, or between a bridge's port and another one or the bridge. What a
    tunnel wraps has other addresses outside than inside, and is not translated.
    """
    hop = journeys.hop
    after = np.flatnonzero((hop != Hop.COPY) & (hop != Hop.TUNNEL) & (journeys.parent >= 0))
    after = after[(journeys.packet[after] >= 0)]
    after = after[frames["l2key"][after] != frames["l2key"][journeys.parent[after]]]
    before = journeys.parent[after]
    differs = np.zeros(len(after), np.bool_)
    for name in (*_PARTS, "icmp_id"):
        differs |= frames[name][before] != frames[name][after]
    found = after[differs & (frames["ip_version"][after] > 0)]
    order: npt.NDArray[np.intp] = found[np.argsort(frames["ts_ns"][found], kind="stable")]
    return order


def tuple_texts(frames: Columns, before: npt.NDArray[Any], after: npt.NDArray[Any]) -> pl.Series:
    """[n] ``172.17.0.2:5000 → 198.51.100.2:80 becomes 198.51.100.1:5000 → …``; each made once."""
    names = [f"{name}_{when}" for when in ("before", "after") for name in _PARTS]
    columns = [*_tuple_columns(frames, before, "before"), *_tuple_columns(frames, after, "after")]
    table = pl.DataFrame([*columns, pl.Series("protocol", frames["protocol"][after])])
    kinds = table.unique(maintain_order=True)
    texts = [_texts(row) for row in kinds.iter_rows(named=True)]
    both = table.join(
        kinds.with_columns(pl.Series("text", texts, pl.String)),
        on=[*names, "protocol"],
        how="left",
        maintain_order="left",
    )
    return both["text"]


def _texts(row: Mapping[str, Any]) -> str:
    return " becomes ".join(_way(row, when) for when in ("before", "after"))


def _way(row: Mapping[str, Any], when: str) -> str:
    icmp = row["protocol"] in ICMP_PROTOCOLS
    ends = []
    for side in ("src", "dst"):
        address = address_text(row[f"{side}_hi_{when}"], row[f"{side}_lo_{when}"])
        port = row[f"{side}_port_{when}"]
        ends.append(end_text(address, None if icmp or not port else port))
    identifier = f" id {row[f'src_port_{when}']}" if icmp else ""
    return " → ".join(ends) + identifier


def _tuple_columns(frames: Columns, rows: npt.NDArray[Any], when: str) -> list[pl.Series]:
    return [
        pl.Series(f"{name}_{when}", column)
        for name, column in zip(_PARTS, _tuple(frames, rows), strict=True)
    ]


def _tuple(frames: Columns, rows: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Addresses and ports; of ICMP the identifier stands for the source's port."""
    icmp = np.isin(frames["protocol"][rows], ICMP_PROTOCOLS)
    found = [frames[name][rows] for name in _PARTS]
    found[4] = np.where(icmp, frames["icmp_id"][rows], found[4])
    return found


def _connection_keys(
    frames: Columns, before: npt.NDArray[Any], after: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """(key in this direction, key in the other) of what was translated to what."""
    protocol = frames["protocol"][after]
    one, two = _tuple(frames, before), _tuple(frames, after)
    icmp = np.isin(protocol, ICMP_PROTOCOLS)
    return _key(protocol, one, two), _key(protocol, _turned(two, icmp), _turned(one, icmp))


def _entry_keys(entries: NatEntries) -> npt.NDArray[np.uint64]:
    """The same keys of connection tracking's entries, both directions."""
    rows = entries.rows[entries.rows["what"] != ENDED]
    protocol, icmp = rows["protocol"], np.isin(rows["protocol"], ICMP_PROTOCOLS)
    there = [rows[name] for name in _PARTS]
    back = [rows[f"back_{name}"] for name in _PARTS]
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

    def port(name: str, known: bool) -> int | None:
        return row[name] if ports and known else None

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
    ),
)
