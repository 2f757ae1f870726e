"""``analyzer.read``: the tables of the whole analysis, with names instead of codes and indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl
from msgspec import Struct

from analyzer.analysis.capture_analysis import analyse_files
from analyzer.analysis.capture_tables import build_tables
from analyzer.analysis.kept_tables import KeptTables
from analyzer.analysis.reading import Reading
from analyzer.analysis.report_tables import report_tables
from analyzer.errors import SavefileError
from analyzer.model.batch import Aggregator
from analyzer.report.build import build_report
from analyzer.savefile.pipes import rereadable


class Analysis(Struct, frozen=True):
    """The tables of one capture. Times are integers of nanoseconds, addresses are text."""

    frames: pl.DataFrame
    """a row a frame, in file order: the columns of `analyzer.read_frames`, and its packet"""
    packets: pl.DataFrame
    """a row a packet: see `analyzer.analysis.tables.packet_table`"""
    journeys: pl.DataFrame
    """a row a frame of each packet: see `analyzer.analysis.tables.journey_table`"""
    tables: Mapping[str, pl.DataFrame]
    """the rows of the report's JSON by their keys: hops, each kind of flow, losses, vantages"""

    def __getattr__(self, name: str) -> pl.DataFrame:
        """``found.dns`` is short for ``found.tables["dns"]``."""
        if name == "tables" or name not in self.tables:
            raise AttributeError(f"no table is called {name!r}")
        return self.tables[name]


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
        tables=report_tables(build_report(build_tables(analysis))),
    )
