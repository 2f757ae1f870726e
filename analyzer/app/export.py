"""``export``: read a capture file and hand it on, as pcap, as annotated pcapng or as tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from typing import Any

import polars as pl
from msgspec import Struct, field

from analyzer.analysis.capture_analysis import analyse_files
from analyzer.analysis.capture_tables import build_tables
from analyzer.analysis.frames_table import frame_tables
from analyzer.analysis.notes import named_vantage
from analyzer.analysis.options import DEFAULTS
from analyzer.analysis.report_tables import report_tables
from analyzer.analysis.stream import stream_files
from analyzer.analysis.table_names import CONVERSATIONS, TABLES
from analyzer.analysis.tables import journey_table, packet_table, without_untimed
from analyzer.app.annotate import FrameNotes, count_frames, write_annotated
from analyzer.app.restore import restored
from analyzer.errors import SavefileError, UsageProblem
from analyzer.export.pcap import PcapFiles
from analyzer.export.tables import STDOUT, Sink, all_or_nothing
from analyzer.model.batch import Batch
from analyzer.report.build import build_report
from analyzer.savefile.interfaces import SavefileInterface
from analyzer.savefile.read import CaptureFile, open_savefile
from analyzer.savefile.source import is_rereadable

Put = Callable[[str, pl.DataFrame], None]
"""takes a piece of the table of this name"""


class Exported(Struct):
    """What was written."""

    paths: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    error: SavefileError | None = None
    """where the file is damaged: its readable prefix was exported"""


def export_pcap(path: str | CaptureFile, directory: str) -> Exported:
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

    The sinks are opened when the file has turned out to be a capture file. Raises as
    `open_savefile`, and UsageProblem where a sink cannot be written.
    """
    if "frames" in chosen and len(set(chosen)) > 1:
        _twice(path)
    savefile = open_savefile(path)
    counts = dict.fromkeys((name for name in TABLES if name in chosen), 0)
    with all_or_nothing([make() for make in open_sinks]) as sinks:

        def put(name: str, rows: pl.DataFrame) -> None:
            if name not in counts:
                return
            counts[name] += len(rows)
            for sink in sinks:
                sink.write(name, rows)

        if "frames" in counts:
            for piece in frame_tables(savefile, _namer(path), depth=True):
                put("frames", piece)
        if set(counts) - {"frames"}:
            savefile.error = _put_analysis(path, put)
    return counts, savefile.error


def _put_analysis(path: str, put: Put) -> SavefileError | None:
    """Packets and journeys as they are closed, then the tables of the report; the damage."""
    analysis = analyse_files([path], more_sinks=lambda _: [_Packets(put)], once=True)
    tables = report_tables(build_report(build_tables(analysis)))
    for name, rows in {**tables, CONVERSATIONS: flow_table(tables)}.items():
        put(name, rows)
    return next(iter(analysis.reading.errors), None)


class _Packets(Struct):
    """A sink that keeps nothing: each batch's packets are handed on."""

    put: Put

    def add(self, batch: Batch) -> None:
        names = [vantage.name for vantage in batch.vantages]
        self.put("packets", without_untimed(packet_table(batch, names)))
        self.put("journeys", journey_table(batch, names))


def export_packets(
    path: str, pcap: str | None, pcapng: str | None, *, restore_payload: bool = False
) -> list[Exported]:
    """`export_pcap` and `export_annotated`, each where a target is given.

    restore_payload: frames that were cut get the payload that another vantage has.
    """
    if not restore_payload:
        return _export_packets(path, pcap, pcapng)
    _twice(path)
    with restored(path) as (file, error):
        done = _export_packets(file, pcap, pcapng)
    for one in done:
        one.error = one.error or error
    return done


def _export_packets(
    path: str | CaptureFile, pcap: str | None, pcapng: str | None
) -> list[Exported]:
    done = [export_pcap(path, pcap)] if pcap else []
    return done + ([export_annotated(path, pcapng)] if pcapng else [])


def export_annotated(path: str | CaptureFile, target: str) -> Exported:
    """One pcapng with ``epb_packetid`` and a hop comment on each frame.

    Raises as `open_savefile`, and UsageProblem where ``target`` cannot be written.
    """
    if isinstance(path, str):
        _twice(path)
    frames, error = count_frames(path)
    if error and not error.offset:
        raise error  # not even its first block can be read
    notes = FrameNotes(frames)
    assembly = stream_files([path], DEFAULTS, lambda *_: [notes])
    count = write_annotated(path, target, notes, assembly.reading.vantages)
    return Exported([target], [count], error)


def _twice(path: str) -> None:
    """Raises UsageProblem where the file cannot be read twice."""
    if path == STDOUT or (os.path.exists(path) and not is_rereadable(path)):
        raise UsageProblem(f"{path}: a pipe can be read only once; save it to a file")


def _namer(path: str) -> Callable[[SavefileInterface], str]:
    """What the vantage of an interface is called in all tables."""

    def name(interface: SavefileInterface) -> str:
        return named_vantage(interface, path).name

    return name


def flow_table(tables: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """The conversations of TCP and UDP in one table, ``protocol`` first."""
    parts = [
        tables[name].select(pl.lit(name).alias("protocol"), pl.all()) for name in ("tcp", "udp")
    ]
    return pl.concat(parts, how="diagonal")
