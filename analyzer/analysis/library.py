"""``analyzer.read``: the tables of the whole analysis, with names instead of codes and indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import polars as pl

from analyzer.analysis.capture_analysis import analyse_files
from analyzer.analysis.capture_tables import build_tables
from analyzer.analysis.kept_tables import KeptTables
from analyzer.analysis.reading import Reading
from analyzer.errors import SavefileError
from analyzer.model.batch import Aggregator
from analyzer.model.report import (
    ArpRow,
    DhcpRow,
    DnsRow,
    HopRow,
    IcmpErrorRow,
    IcmpRow,
    LossRow,
    NatRow,
    ProxyRow,
    Report,
    TcpRow,
    UdpRow,
    VantageRow,
)
from analyzer.report.build import build_report
from analyzer.savefile.pipes import rereadable

_TYPES = {
    "str": pl.String(),
    "bool": pl.Boolean(),
    "int": pl.Int64(),
    "int | None": pl.Int64(),
    "bool | None": pl.Boolean(),
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
    """a row a packet: see `analyzer.analysis.tables.packet_table`"""
    journeys: pl.DataFrame
    """a row a frame of each packet: see `analyzer.analysis.tables.journey_table`"""
    hops: pl.DataFrame
    icmp: pl.DataFrame
    arp: pl.DataFrame
    nd: pl.DataFrame
    icmp_errors: pl.DataFrame
    nat: pl.DataFrame
    proxied: pl.DataFrame
    dns: pl.DataFrame
    dhcp: pl.DataFrame
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
    kept = KeptTables([])

    def keep(reading: Reading) -> Sequence[Aggregator]:
        nonlocal kept
        kept = KeptTables(reading.vantages)
        return [kept]

    try:
        with rereadable([str(path)]) as files:
            analysis = analyse_files(files, more_sinks=keep)
        if analysis.reading.errors:
            raise analysis.reading.errors[0]
    except SavefileError as error:
        error.frames = kept.frames()
        raise
    frames, packets, journeys = kept.take()
    return Analysis(
        frames=frames,
        packets=packets,
        journeys=journeys,
        **report_tables(build_report(build_tables(analysis))),
    )


def report_tables(report: Report) -> dict[str, pl.DataFrame]:
    """The report's rows as tables, by their names in its JSON."""
    return {
        "hops": _table(report.hops, HopRow),
        "icmp": _table(report.icmp, IcmpRow, "echoes"),
        "arp": _table(report.arp, ArpRow),
        "nd": _table(report.nd, ArpRow),
        "icmp_errors": _table(report.icmp_errors, IcmpErrorRow),
        "nat": _table(report.nat, NatRow),
        "proxied": _table(report.proxied, ProxyRow),
        "dns": _table(report.dns, DnsRow),
        "dhcp": _table(report.dhcp, DhcpRow),
        "tcp": _table(report.tcp, TcpRow),
        "udp": _table(report.udp, UdpRow),
        "losses": _table(report.losses, LossRow),
        "vantages": _table(report.vantages, VantageRow),
    }


def _table(rows: Sequence[Any], kind: type, *left_out: str) -> pl.DataFrame:
    """The report's rows of one kind, the columns named as in its JSON; typed without rows, too."""
    names = [field for field in fields(kind) if field.name not in left_out]
    schema = {field.name: _TYPES[str(field.type)] for field in names}
    table = pl.DataFrame([asdict(row) for row in rows], schema=schema)
    return table.rename({name: name.rstrip("_") for name in schema})
