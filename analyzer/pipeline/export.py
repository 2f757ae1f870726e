"""``export``: read a capture file and hand it on, as pcap, as annotated pcapng or as tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from analyzer.errors import SavefileError, UsageProblem
from analyzer.export.pcap import PcapFiles
from analyzer.export.tables import STDOUT, Sink, all_or_nothing
from analyzer.frames_table import frame_tables
from analyzer.pipeline.analyse import analyse
from analyzer.pipeline.annotate import FrameNotes, count_frames, write_annotated
from analyzer.pipeline.library import report_tables
from analyzer.pipeline.load import foreign_vantage, load, told_vantage
from analyzer.pipeline.tables import journey_table, packet_table
from analyzer.report.build import build_report
from analyzer.savefile.interfaces import SavefileInterface
from analyzer.savefile.read import Savefile, open_savefile
from analyzer.savefile.source import is_rereadable

TABLES = (
    "packets", "frames", "journeys", "hops", "flows", "icmp", "arp", "losses", "vantages",
)  # fmt: skip


@dataclass(slots=True)
class Exported:
    """What was written."""

    paths: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    error: SavefileError | None = None
    """where the file is damaged: its readable prefix was exported"""


def export_pcap(path: str, directory: str) -> Exported:
    """One nanosecond pcap per vantage into ``directory``. Raises UsageProblem, SavefileError."""
    savefile = open_savefile(path)
    with PcapFiles(directory) as files:
        for chunk in savefile.chunks():
            _expect(files, savefile.interfaces)
            files.write(chunk)
        _expect(files, savefile.interfaces)
    return Exported(files.paths, files.counts, savefile.error)


def _expect(files: PcapFiles, interfaces: Any) -> None:
    names = [i.name or f"interface{i.index}" for i in interfaces]
    files.expect(names, [i.linktype for i in interfaces], [i.snaplen for i in interfaces])


def export_tables(
    path: str, open_sinks: Sequence[Callable[[], Sink]], chosen: Collection[str] = TABLES
) -> tuple[dict[str, int], SavefileError | None]:
    """The chosen of TABLES into every sink: (table → its rows, where the file is damaged).

    The sinks are opened when the file has turned out to be a capture file. Raises as `load`,
    and UsageProblem where a sink cannot be written.
    """
    if "frames" in chosen and len(set(chosen)) > 1:
        _twice(path)
    savefile = open_savefile(path)
    counts = dict.fromkeys((name for name in TABLES if name in chosen), 0)
    with all_or_nothing([make() for make in open_sinks]) as sinks:
        for name, rows in _pieces(savefile, chosen):
            counts[name] += len(rows)
            for sink in sinks:
                sink.write(name, rows)
    return counts, savefile.error


def export_annotated(path: str, target: str) -> Exported:
    """One pcapng with ``epb_packetid`` and a hop comment on each frame. Raises as `load`."""
    _twice(path)
    frames, error = count_frames(path)
    notes = FrameNotes(frames)
    loaded = load([path])
    notes.add(analyse(loaded).whole)
    count = write_annotated(path, target, notes, loaded.vantages)
    return Exported([target], [count], error)


def _twice(path: str) -> None:
    """Raises UsageProblem where the file cannot be read twice."""
    if path == STDOUT or (os.path.exists(path) and not is_rereadable(path)):
        raise UsageProblem(f"{path}: a pipe can be read only once; save it to a file")


def _pieces(savefile: Savefile, chosen: Collection[str]) -> Iterator[tuple[str, pl.DataFrame]]:
    """(table, a piece of it) until all is told."""
    if "frames" in chosen:
        pieces = frame_tables(savefile, _namer(savefile.path), depth=True)
        yield from (("frames", piece) for piece in pieces)
    if not set(chosen) - {"frames"}:
        return
    loaded = load([savefile.path])
    savefile.error = next(iter(loaded.errors), None)
    tables = analyse(loaded)
    batch, names = tables.whole, [vantage.name for vantage in loaded.vantages]
    if "packets" in chosen:
        yield "packets", packet_table(batch, names)
    if "journeys" in chosen:
        yield "journeys", journey_table(batch, names)
    told = report_tables(build_report(tables, packets=False))
    told["flows"] = flow_table(told)
    yield from ((name, told[name]) for name in TABLES if name in chosen and name in told)


def _namer(path: str) -> Callable[[SavefileInterface], str]:
    """What the vantage of an interface is called in all tables."""

    def name(interface: SavefileInterface) -> str:
        return (told_vantage(interface, 0) or foreign_vantage(interface, path)).name

    return name


def flow_table(told: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """The conversations of TCP and UDP in one table, ``protocol`` first."""
    parts = [told[name].select(pl.lit(name).alias("protocol"), pl.all()) for name in ("tcp", "udp")]
    return pl.concat(parts, how="diagonal")
