"""ICMP and ICMPv6 errors, each tied to the packet that caused it (RFC 792, 1191, 4443).

An error quotes the beginning of that packet as its receiver had sent it: the addresses, the IP
id, ports and sequence numbers tell which it was. It is looked for among the packets of the last
seconds before the error; the latest that fits is meant.

Of an error that passes a NAT (`analyzer.flows.error_copies`), the row has who reported it and about
which destination from where it came from, and to whom it was from where it came to.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.decode.inner import is_icmp_error, quoted_packets
from analyzer.flows.error_causes import RecentPackets, quoted_keys
from analyzer.flows.error_copies import ErrorCopies
from analyzer.flows.frame_notes import FrameNotes, FrameReader
from analyzer.flows.growing import widened
from analyzer.flows.kind import AggregatorInputs, FlowKind, SheetForm, forgotten
from analyzer.flows.live_numbers import ROWS, LiveNumbers, new_numbers
from analyzer.formatting.pieces import Piece, count_piece
from analyzer.model.batch import Batch, Columns, InOrder
from analyzer.model.flow_rows import IcmpErrorRow
from analyzer.model.frames import FrameChunk
from analyzer.native.compiled import compiled
from analyzer.native.keys import mixed
from analyzer.net.icmp import (
    FRAGMENTATION_NEEDED,
    PACKET_TOO_BIG,
    TIME_EXCEEDED,
    TIME_EXCEEDED_V6,
    UNREACHABLE,
    error_name,
)
from analyzer.net.ip import ICMP, ICMPV6, PROTOCOL_NAMES, TCP, UDP, address_text

_GROUP = (
    "site",
    "reporter_hi",
    "reporter_lo",
    "quoted_src_hi",
    "quoted_src_lo",
    "quoted_dst_hi",
    "quoted_dst_lo",
    "quoted_protocol",
    "quoted_dst_port",
    "icmp_type",
    "icmp_code",
)
PROBE = ["site", "quoted_src_hi", "quoted_src_lo", "quoted_dst_hi", "quoted_dst_lo"]
PROBE += ["quoted_icmp_id"]
MOST_PROBES = 100_000
_ERRORS, _TIED, _CAUSE, _MTU, _FIRST = range(5)


class IcmpErrors:
    """The errors of a capture: a row for each who reports what to whom about which destination."""

    def __init__(self, noted: FrameNotes) -> None:
        """noted: of `analyzer.decode.inner.quoted_packets`, columns as quoted_…"""
        self._noted = noted
        self._order = InOrder()
        self._recent = RecentPackets()
        self._groups = LiveNumbers(ROWS)
        self._counts = np.zeros((5, 0), np.int64)
        self._rows: list[pl.DataFrame] = []
        self._expired: pl.DataFrame | None = None
        self._copies = ErrorCopies()

    def add(self, batch: Batch) -> None:
        """Take in the errors of one batch, and remember its packets."""
        self._recent.remember(batch)
        noted = self._noted.take(batch, "last_frame")
        rows = self._order.held if noted is None else _errors(batch, noted)
        if rows is not None:
            rows = rows.clear() if noted is None else rows
            settled = self._order.release(rows, batch.settled_ns)
            if len(settled):
                self._take(settled.sort("ts_ns", "number"))
        held = self._order.held
        waiting = [] if held is None else held["ts_ns"].to_list()
        self._recent.forget(min(waiting, default=batch.settled_ns))

    def _take(self, rows: pl.DataFrame) -> None:
        cause = self._recent.find(rows)
        groups, fresh = self._groups.take(mixed(*(rows[name].to_numpy() for name in _GROUP)))
        self._rows.append(rows[fresh])
        self._counts = widened(self._counts, self._groups.count)
        self._note_expired(rows.filter(pl.Series(cause > 0)))
        one = ~self._copies.take(rows, cause, groups, mixed(*_quoted(rows)))
        numbers = (rows[name].to_numpy()[one] for name in ("mtu", "number"))
        _tally(self._counts, groups[one], cause[one], *numbers)
        count = self._groups.count
        kept = self._groups.shed()
        if kept is not None:
            self._rows = [pl.concat(self._rows)[kept]]
            self._counts = self._counts[:, kept]
            self._copies.renumber(new_numbers(kept, count))

    @property
    def forgotten(self) -> int:
        """Rows of which nothing is told: there were too many."""
        return self._groups.forgotten

    def _note_expired(self, rows: pl.DataFrame) -> None:
        ran_out = pl.col("icmp_type") == pl.col("expired"), pl.col("icmp_code") == 0
        probes = rows.filter(*ran_out, pl.col("quoted_icmp_id") > 0)
        probes = probes.select(*PROBE, "quoted_icmp_seq")
        both = probes if self._expired is None else pl.concat([self._expired, probes])
        self._expired = both.unique(maintain_order=True).head(MOST_PROBES)

    def expired_echoes(self) -> dict[tuple[int, ...], int]:
        """PROBE → echo requests whose hop limit ran out on the way, as a traceroute has it."""
        if self._expired is None:
            return {}
        counts = self._expired.group_by(PROBE).len()
        return {tuple(row[:-1]): row[-1] for row in counts.iter_rows()}

    def rows(self) -> list[IcmpErrorRow]:
        """The report's rows, in order of appearance."""
        if not self._rows:
            return []
        table, counts = pl.concat(self._rows).to_dicts(), [self._counts.copy()]
        for first, group, count, cause, number in self._copies.pairs():
            names = ("destination", "quoted_src_hi", "quoted_src_lo")
            table.append(table[first] | {name: table[group][name] for name in names})
            counts[0][[_ERRORS, _TIED], first] -= count
            counts.append(np.array([[count, count, cause, counts[0][_MTU, first], number]]).T)
        both = np.concatenate(counts, axis=1)
        rows = [_row(row, both[:, at]) for at, row in enumerate(table)]
        order = np.argsort(both[_FIRST], kind="stable")
        return [rows[at] for at in order if rows[at].errors]


def _quoted(rows: pl.DataFrame) -> list[npt.NDArray[Any]]:
    return [rows[name].to_numpy() for name in _GROUP if name.startswith("quoted_")]


def _errors(batch: Batch, noted: pl.DataFrame) -> pl.DataFrame:
    """One row an error, as its receiver got it."""
    frames = batch.frames
    first, last = (noted[f"{end}_frame"].to_numpy().astype(np.intp) for end in ("first", "last"))
    site = batch.journeys.site[frames["vantage"][last]]
    keys = quoted_keys(noted, site)
    kind, code = frames["icmp_type"][last], frames["icmp_code"][last]
    version = frames["ip_version"][last]
    has_mtu = (version == 4) & (kind == UNREACHABLE) & (code == FRAGMENTATION_NEEDED)
    has_mtu |= (version == 6) & (kind == PACKET_TOO_BIG)
    rest = noted["rest"].to_numpy() & np.where(version == 4, 0xFFFF, 0xFFFFFFFF)
    return noted.select(
        "number",
        "ts_ns",
        pl.col("source", "destination").cast(pl.String),
        pl.Series("site", site),
        pl.Series("reporter_hi", frames["src_hi"][first]),
        pl.Series("reporter_lo", frames["src_lo"][first]),
        *(name for name in _GROUP if name.startswith("quoted_")),
        "quoted_icmp_id",
        "quoted_icmp_seq",
        pl.Series("expired", np.where(version == 4, TIME_EXCEEDED, TIME_EXCEEDED_V6)),
        pl.Series("icmp_type", kind),
        pl.Series("icmp_code", code),
        pl.Series("version", version),
        pl.Series("mtu", np.where(has_mtu, rest, 0).astype(np.int64)),
        pl.Series("key", keys),
    )


@compiled
def _tally(counts: Any, groups: Any, cause: Any, mtu: Any, number: Any) -> None:
    for row in range(len(groups)):
        group = groups[row]
        if counts[_ERRORS, group] == 0:
            counts[_FIRST, group] = number[row]
        counts[_ERRORS, group] += 1
        if mtu[row] and (counts[_MTU, group] == 0 or mtu[row] < counts[_MTU, group]):
            counts[_MTU, group] = mtu[row]
        if cause[row]:
            counts[_TIED, group] += 1
            if counts[_CAUSE, group] == 0:
                counts[_CAUSE, group] = cause[row]


def _row(row: dict[str, Any], counts: npt.NDArray[np.int64]) -> IcmpErrorRow:
    protocol, port = row["quoted_protocol"], row["quoted_dst_port"]
    return IcmpErrorRow(
        reporter=row["source"],
        reporter_ip=address_text(row["reporter_hi"], row["reporter_lo"]),
        source=row["destination"],
        source_ip=address_text(row["quoted_src_hi"], row["quoted_src_lo"]),
        destination_ip=address_text(row["quoted_dst_hi"], row["quoted_dst_lo"]),
        destination_port=port if protocol in (TCP, UDP) else None,
        protocol=PROTOCOL_NAMES.get(protocol, "other"),
        error=error_name(row["version"], row["icmp_type"], row["icmp_code"]),
        mtu=int(counts[_MTU]) or None,
        errors=int(counts[_ERRORS]),
        tied=int(counts[_TIED]),
        cause=int(counts[_CAUSE]) or None,
    )


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
"""columns that are decoded of the packet in an error"""


def read_quoted(chunk: FrameChunk, frames: Columns) -> pl.DataFrame:
    """row, rest (see `quoted_packets`), and QUOTED as quoted_…."""
    rows, quoted = quoted_packets(chunk, frames)
    columns = {f"quoted_{name}": pl.Series(quoted[name]) for name in QUOTED}
    return pl.DataFrame(
        {"row": pl.Series(rows, dtype=pl.UInt32), "rest": quoted["rest"], **columns}
    )


def _has_errors(frames: Columns) -> bool:
    rows = np.flatnonzero((frames["protocol"] == ICMP) | (frames["protocol"] == ICMPV6))
    names = ("protocol", "icmp_type", "l4_offset")
    return bool(is_icmp_error({name: frames[name][rows] for name in names}).any())


_READER = FrameReader("icmp errors", read_quoted, _has_errors)


def _aggregator(inputs: AggregatorInputs) -> IcmpErrors:
    return IcmpErrors(inputs.readers.notes(_READER))


def _cells(row: IcmpErrorRow) -> Iterable[Piece]:
    mtu = f", MTU {row.mtu}" if row.mtu else ""
    port = "" if row.destination_port is None else f":{row.destination_port}"
    yield Piece(f"{row.reporter}: {row.error}{mtu}", "warn")
    yield Piece(row.source)
    yield Piece(f"{row.protocol} to {row.destination_ip}{port}")
    yield count_piece(row.errors)
    yield count_piece(row.tied)


KINDS = (
    FlowKind(
        name="icmp_errors",
        row=IcmpErrorRow,
        about="errors of one kind that one node reported about packets to one destination",
        aggregator=_aggregator,
        rows=lambda errors, context: errors.rows(),
        sheet=SheetForm(
            place=5,
            title="ICMP errors",
            note="",
            words=("who says what", "to", "about"),
            numbers=("errors", "tied"),
            cells=_cells,
            noun="kind",
            size=lambda row: row.errors,
        ),
        left_out=forgotten,
    ),
)
