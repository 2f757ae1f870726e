"""The analysis of frames that a test made up: without bytes, as one chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from analyzer.analysis.capture_analysis import CaptureAnalysis, partials_for
from analyzer.analysis.capture_tables import build_tables
from analyzer.analysis.frame_room import FrameRoom
from analyzer.analysis.notes import VantageNotes
from analyzer.analysis.options import DEFAULTS, AnalysisOptions
from analyzer.analysis.packet_assembly import PacketAssembly
from analyzer.analysis.packet_selection import SelectedPackets
from analyzer.analysis.reading import DecodedChunk, Reading
from analyzer.analysis.window_edges import WindowEdges
from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.report import Report
from analyzer.model.vantage import Vantage
from analyzer.net.link_types import ETHERNET
from analyzer.recorders.evidence.record import encode_moment
from analyzer.report.build import build_report
from analyzer.savefile.read import CaptureFile

Frames = Mapping[str, npt.NDArray[Any]]


class GivenFrames(FrameRoom):
    """Not a room for frames that are read, but these."""

    def __init__(self, frames: Frames) -> None:
        self._given = frames

    def with_carried(self, carried: Frames | None) -> Frames:
        """Nothing is carried into the only chunk."""
        assert carried is None
        return self._given


def report_on_frames(
    frames: Frames,
    vantages: Sequence[Vantage],
    notes: Sequence[VantageNotes],
    options: AnalysisOptions = DEFAULTS,
    evidence: Sequence[NamespaceEvidence] = (),
) -> Report:
    """The report on these frames, in file order."""
    reading = Reading([CaptureFile("x")], list(vantages), list(notes))
    reading.evidence += [encode_moment(moment) for moment in evidence]
    count = len(frames["ts_ns"])
    numbered = {
        "number": np.arange(count, dtype=np.int64),
        "linktype": np.full(count, ETHERNET, np.int32),
        **frames,
    }
    edges = WindowEdges(options.window) if options.window else None
    assembly, partials = PacketAssembly(reading, edges), partials_for(options, reading, edges)
    selected = SelectedPackets(options.choice)
    batch = assembly.close(DecodedChunk(numbered, GivenFrames(numbered), now_ns=0, final=True))
    for sink in (partials, selected):
        sink.add(batch)
    tables = build_tables(CaptureAnalysis(assembly, partials), options.bridge)
    return build_report(
        replace(tables, packets=selected.rows),
        packets=options.lists_packets,
    )
