"""ICMP and ICMPv6 errors, each tied to the packet that caused it (RFC 792, 1191, 4443).

An error quotes the beginning of that packet as its receiver had sent it: the addresses, the IP
id, ports and sequence numbers tell which it was. It is looked for among the packets of the last
seconds before the error; the latest that fits is meant.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.decode.inner import is_icmp_error, quoted_packets
from analyzer.flows.frame_notes import FrameNotes, FrameReader
from analyzer.flows.kind import AggregatorInputs, FlowKind, SheetForm
from analyzer.formatting.pieces import Piece, count_piece
from analyzer.model.batch import Batch, Columns, InOrder
from analyzer.model.bundles import bundle
from analyzer.model.frames import FrameChunk
from analyzer.model.report import IcmpErrorRow
from analyzer.native.compiled import compiled, piece
from analyzer.native.keys import KeyNumbers, mix, mixed
from analyzer.net.icmp import FRAGMENTATION_NEEDED, PACKET_TOO_BIG, UNREACHABLE, error_name
from analyzer.net.ip import ICMP, ICMPV6, PROTOCOL_NAMES, TCP, UDP, address_text

_BEFORE_NS = 5_000_000_000
"""how long before an error its cause may lie: three times asking for an address takes 3 s"""
_MOST = 1 << 21
"""packets that are kept to be looked through"""
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
_ERRORS, _TIED, _CAUSE, _MTU, _FIRST = range(5)


class IcmpErrors:
    """The errors of a capture: a row for each who reports what to whom about which destination."""

    def __init__(self, noted: FrameNotes) -> None:
        """noted: of `analyzer.decode.inner.quoted_packets`, columns as quoted_…"""
        self._noted = noted
        self._order = InOrder()
        self._recent: list[tuple[npt.NDArray[Any], ...]] = []
        self._groups = KeyNumbers()
        self._counts = np.zeros((5, 0), np.int64)
        self._rows: list[pl.DataFrame] = []

    def add(self, batch: Batch) -> None:
        """Take in the errors of one batch, and remember its packets."""
        self._remember(batch)
        found = self._noted.take(batch, "last_frame")
        rows = self._order.held if found is None else _errors(batch, found)
        if rows is not None:
            rows = rows.clear() if found is None else rows
            settled = self._order.release(rows, batch.settled_ns)
            if len(settled):
                self._take(settled.sort("ts_ns", "number"))
        self._forget(batch.settled_ns)

    def _remember(self, batch: Batch) -> None:
        first = batch.packets["first_frame"].to_numpy().astype(np.intp)
        if len(first):
            keys = np.empty(len(first), np.uint64)
            site = batch.journeys.site[batch.frames["vantage"][first]]
            _identify(bundle(_Headers, batch.frames), first, site, keys)
            numbers = batch.packets["number"].to_numpy()
            self._recent.append((keys, numbers, batch.packets["ts_ns"].to_numpy()))

    def _forget(self, settled_ns: int) -> None:
        held = self._order.held
        waits = settled_ns if held is None or held.is_empty() else min(held["ts_ns"])
        while self._recent and int(self._recent[0][2].max()) < waits - _BEFORE_NS:
            self._recent.pop(0)
        while sum(len(part[0]) for part in self._recent[1:]) > _MOST:
            self._recent.pop(0)

    def _take(self, rows: pl.DataFrame) -> None:
        cause = self._causes(rows)
        groups, fresh = self._groups.take(mixed(*(rows[name].to_numpy() for name in _GROUP)))
        self._rows.append(rows[fresh])
        more = np.zeros((5, self._groups.count - self._counts.shape[1]), np.int64)
        self._counts = np.concatenate([self._counts, more], axis=1)
        _tally(self._counts, groups, cause, rows["mtu"].to_numpy(), rows["number"].to_numpy())

    def _causes(self, rows: pl.DataFrame) -> npt.NDArray[np.int64]:
        """[n] number of the packet that caused each error, from 1; 0: not found."""
        wanted = rows["key"].to_numpy()
        parts = []
        for keys, numbers, ts in self._recent:
            fits = np.isin(keys, wanted)
            columns = (keys[fits], numbers[fits], ts[fits])
            parts.append(pl.DataFrame(dict(zip(("key", "cause", "ts_ns"), columns, strict=True))))
        if not parts:
            return np.zeros(len(rows), np.int64)
        known = pl.concat(parts).sort("ts_ns", "cause")
        tied = rows.select("key", "ts_ns").join_asof(
            known,
            on="ts_ns",
            by="key",
            strategy="backward",
            tolerance=_BEFORE_NS,
            check_sortedness=False,
        )
        found: npt.NDArray[np.int64] = (tied["cause"] + 1).fill_null(0).to_numpy()
        return found

    def rows(self) -> list[IcmpErrorRow]:
        """The report's rows, in order of appearance."""
        if not self._rows:
            return []
        table = pl.concat(self._rows).iter_rows(named=True)
        found = [_row(row, self._counts[:, at]) for at, row in enumerate(table)]
        return [found[at] for at in np.argsort(self._counts[_FIRST], kind="stable")]


def _errors(batch: Batch, found: pl.DataFrame) -> pl.DataFrame:
    """One row an error, as its receiver got it."""
    frames = batch.frames
    first, last = (found[f"{end}_frame"].to_numpy().astype(np.intp) for end in ("first", "last"))
    site = batch.journeys.site[frames["vantage"][last]]
    keys = np.empty(len(found), np.uint64)
    quoted = _Headers(*(found[f"quoted_{name}"].to_numpy() for name in _Headers._fields))
    _identify(quoted, np.arange(len(found), dtype=np.intp), site, keys)
    kind, code = frames["icmp_type"][last], frames["icmp_code"][last]
    version = frames["ip_version"][last]
    told = (version == 4) & (kind == UNREACHABLE) & (code == FRAGMENTATION_NEEDED)
    told |= (version == 6) & (kind == PACKET_TOO_BIG)
    rest = found["rest"].to_numpy() & np.where(version == 4, 0xFFFF, 0xFFFFFFFF)
    return found.select(
        "number",
        "ts_ns",
        pl.col("source", "destination").cast(pl.String),
        pl.Series("site", site),
        pl.Series("reporter_hi", frames["src_hi"][first]),
        pl.Series("reporter_lo", frames["src_lo"][first]),
        *(name for name in _GROUP if name.startswith("quoted_")),
        pl.Series("icmp_type", kind),
        pl.Series("icmp_code", code),
        pl.Series("version", version),
        pl.Series("mtu", np.where(told, rest, 0).astype(np.int64)),
        pl.Series("key", keys),
    )


class _Headers(NamedTuple):
    """Of a packet, what an error quotes at least: the IP header and eight bytes behind it.

    [frames] of each, see `analyzer.model.frames.DECODED`.
    """

    src_hi: npt.NDArray[np.uint64]
    src_lo: npt.NDArray[np.uint64]
    dst_hi: npt.NDArray[np.uint64]
    dst_lo: npt.NDArray[np.uint64]
    protocol: npt.NDArray[np.uint8]
    ip_id: npt.NDArray[np.uint32]
    src_port: npt.NDArray[np.uint16]
    dst_port: npt.NDArray[np.uint16]
    tcp_seq: npt.NDArray[np.uint32]
    icmp_id: npt.NDArray[np.uint16]
    icmp_seq: npt.NDArray[np.uint16]
    l4_offset: npt.NDArray[np.uint16]


@compiled
def _identify(headers: _Headers, rows: Any, site: Any, keys: Any) -> None:
    """[packets] the key of each packet: its row in ``headers``, and where addresses are unique."""
    for at in range(len(rows)):
        row = rows[at]
        source = mix(headers.src_hi[row], headers.src_lo[row])
        key = mix(source, mix(headers.dst_hi[row], headers.dst_lo[row]))
        key = mix(key, np.uint64(site[at]) << np.uint64(40) | np.uint64(headers.ip_id[row]))
        protocol = headers.protocol[row]
        rest = np.uint64(0)
        if headers.l4_offset[row]:
            if protocol == TCP:
                rest = np.uint64(headers.tcp_seq[row])
            elif protocol in (ICMP, ICMPV6):
                rest = _both(headers.icmp_id[row], headers.icmp_seq[row])
            if protocol in (TCP, UDP):
                key = mix(key, _both(headers.src_port[row], headers.dst_port[row]))
        keys[at] = mix(key, rest << np.uint64(8) | np.uint64(protocol))


@piece
def _both(high: Any, low: Any) -> Any:
    """Two numbers of 16 bits in one."""
    return np.uint64(high) << np.uint64(16) | np.uint64(low)


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
    rows, found = quoted_packets(chunk, frames)
    columns = {f"quoted_{name}": pl.Series(found[name]) for name in QUOTED}
    return pl.DataFrame({"row": pl.Series(rows, dtype=pl.UInt32), "rest": found["rest"], **columns})


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
    ),
)
