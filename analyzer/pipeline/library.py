"""``analyzer.read``: the tables of the whole analysis, with names instead of codes and indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.errors import SavefileError
from analyzer.frames_table import table_of
from analyzer.model.journeys import HOP_NAMES, Evidence, Hop, Journeys, Status
from analyzer.model.report import (
    ArpRow,
    HopRow,
    IcmpRow,
    LossRow,
    Report,
    TransportRow,
    VantageRow,
)
from analyzer.pipeline.analyse import analyse
from analyzer.pipeline.frame_room import empty_frames
from analyzer.pipeline.load import Loaded, load
from analyzer.report.build import Tables, build_report

_TYPES = {
    "str": pl.String(),
    "bool": pl.Boolean(),
    "int": pl.Int64(),
    "int | None": pl.Int64(),
    "float | None": pl.Float64(),
    "list[str]": pl.List(pl.String()),
}
"""Polars types of the report's fields, by their annotations"""


@dataclass(frozen=True, slots=True)
class Analysis:
    """The tables of one capture. Times are integers of nanoseconds, addresses are text."""

    frames: pl.DataFrame
    """a row a frame, in file order: the columns of `analyzer.read_frames`, and its packet"""
    packets: pl.DataFrame
    """a row a packet: packet, ts_ns, last_ts_ns, protocol, source, destination, first_vantage,
    last_vantage, status (delivered, lost, unmatched), expected (the vantage that a lost packet
    should have come to), in_port, out_port, evidence (list), frames, certain, wirelen"""
    journeys: pl.DataFrame
    """a row a frame of each packet, in order of its path: packet, step (from 0), frame, vantage,
    direction, ts_ns, delta_ns (since the packet's first frame), kind (of the hop that led here:
    none, veth, bridge, deliver, originate, route, span; copy is docker0's), delay_ns (of that
    hop; null for the first frame and for a copy), certain"""
    hops: pl.DataFrame
    icmp: pl.DataFrame
    arp: pl.DataFrame
    tcp: pl.DataFrame
    udp: pl.DataFrame
    losses: pl.DataFrame
    vantages: pl.DataFrame
    """hops … vantages: the rows and keys of the report's JSON"""


def read(path: str | Path) -> Analysis:
    """The whole analysis of a pcap or pcapng file (compressed or not; ``-`` is standard input).

    Raises SavefileError where the file is damaged, cut or no capture file: ``frames`` then
    holds the table of the frames before the damage. Raises UsageProblem where it does not
    exist or may not be read.
    """
    try:
        loaded = load([str(path)])
    except SavefileError as error:
        error.frames = table_of(empty_frames(), []).with_row_index("frame", 1)
        raise
    frames = _frames(loaded)
    if loaded.errors:
        loaded.errors[0].frames = frames
        raise loaded.errors[0]
    tables = analyse(loaded)
    report = build_report(tables, packets=False)
    return Analysis(
        frames=frames.with_columns(pl.Series("packet", tables.whole.journeys.packet)),
        packets=_packets(tables),
        journeys=_journeys(tables, frames),
        **_report_tables(report),
    )


def _frames(loaded: Loaded) -> pl.DataFrame:
    names = [vantage.name for vantage in loaded.vantages]
    return table_of(loaded.frames, names).with_row_index("frame", 1)


def _report_tables(report: Report) -> dict[str, pl.DataFrame]:
    return {
        "hops": _table(report.hops, HopRow),
        "icmp": _table(report.icmp, IcmpRow, "echoes"),
        "arp": _table(report.arp, ArpRow),
        "tcp": _table(report.tcp, TransportRow),
        "udp": _table(report.udp, TransportRow),
        "losses": _table(report.losses, LossRow),
        "vantages": _table(report.vantages, VantageRow),
    }


def _table(rows: Sequence[Any], kind: type, *left_out: str) -> pl.DataFrame:
    """The report's rows of one kind, the columns named as in its JSON; typed without rows, too."""
    names = [field for field in fields(kind) if field.name not in left_out]
    schema = {field.name: _TYPES[str(field.type)] for field in names}
    found = pl.DataFrame([asdict(row) for row in rows], schema=schema)
    return found.rename({name: name.rstrip("_") for name in schema})


def _packets(tables: Tables) -> pl.DataFrame:
    places = ("first_vantage", "last_vantage", "expected", "in_port", "out_port")
    words = {bits: _evidence_words(bits) for bits in tables.whole.packets["evidence"].unique()}
    evidence = [words[bits] for bits in tables.whole.packets["evidence"]]
    return tables.whole.packets.select(
        "packet", "ts_ns", "last_ts_ns",
        pl.col("protocol", "source", "destination").cast(pl.String),
        *(_named(tables.whole.packets[name], tables).alias(name) for name in places),
        _words(tables.whole.packets["status"], [s.name.lower() for s in Status]).alias("status"),
        pl.Series("evidence", evidence, pl.List(pl.String)),
        "frames",
        (~pl.col("likely")).alias("certain"),
        pl.col("len_bytes").alias("wirelen"),
    )  # fmt: skip


def _evidence_words(bits: int) -> list[str]:
    return [bit.name.lower() for bit in Evidence if bits & bit]


def _named(index: pl.Series, tables: Tables) -> pl.Series:
    """Vantage names for indices; null for -1."""
    return _words(index, [vantage.name for vantage in tables.vantages])


def _words(codes: pl.Series, words: Sequence[str]) -> pl.Series:
    """words[code]; null where the code is negative."""
    number = codes.cast(pl.Int64).to_numpy()
    spare = pl.Series([*words, None], dtype=pl.String)
    return spare.gather(np.where(number < 0, len(words), number))


def _journeys(tables: Tables, frames: pl.DataFrame) -> pl.DataFrame:
    """The frames sorted by packet, then along the path; a copy follows what it is the copy of."""
    journeys, ts = tables.whole.journeys, tables.whole.frames["ts_ns"]
    kind, parent = journeys.hop, np.maximum(journeys.parent, 0)
    is_copy = kind == Hop.COPY
    order = np.lexsort((ts, ~is_copy, _depths(journeys), journeys.packet))
    rows = frames.select(
        pl.Series("packet", journeys.packet),
        "frame", "vantage", "direction", "ts_ns",
        pl.Series("delta_ns", ts - ts[journeys.first[journeys.packet]]),
        _words(pl.Series(kind), HOP_NAMES).alias("kind"),
        pl.when(pl.Series((kind != Hop.NONE) & ~is_copy))
        .then(pl.Series(ts - ts[parent])).alias("delay_ns"),
        pl.Series("certain", ~journeys.likely),
    )[order]  # fmt: skip
    step = pl.int_range(pl.len()).over("packet").alias("step")
    return rows.select("packet", step, pl.exclude("packet"))


def _depths(journeys: Journeys) -> npt.NDArray[np.int32]:
    """[n] how many frames lie before each frame on its path."""
    depth = np.zeros(len(journeys.parent), np.int32)
    up = journeys.parent
    while (there := up >= 0).any():
        depth += there
        up = np.where(there, journeys.parent[np.maximum(up, 0)], -1)
    return depth
