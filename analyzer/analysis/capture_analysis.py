"""A report's aggregators over all packets of a capture: what is known when its files are read.

`analyzer.analysis.stream` gives the packets; `analyzer.analysis.capture_tables` makes tables of
what the aggregators have come to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from analyzer.analysis.loss_diagnosis import LossDiagnosis
from analyzer.analysis.options import DEFAULTS, AnalysisOptions
from analyzer.analysis.packet_assembly import PacketAssembly
from analyzer.analysis.partials import Partials
from analyzer.analysis.reading import Reading
from analyzer.analysis.stream import stream_files
from analyzer.analysis.window_edges import WindowEdges
from analyzer.model.batch import Aggregator
from analyzer.savefile.read import CaptureFile


class CaptureAnalysis(Struct, frozen=True):
    """What is known when all files were read to their ends."""

    assembly: PacketAssembly
    partials: Partials

    @property
    def reading(self) -> Reading:
        """The files, and what they told of themselves."""
        return self.assembly.reading


def analyse_files(
    files: Sequence[str | CaptureFile],
    options: AnalysisOptions = DEFAULTS,
    more_sinks: Callable[[Reading], Sequence[Aggregator]] = lambda _: (),
    *,
    once: bool = False,
) -> CaptureAnalysis:
    """Give every packet to a report's aggregators, and to further sinks. Raises as `stream_files`.

    once: further sinks hand on what they get, so that they must get every packet exactly once.
    """
    partials = Partials()

    def sinks(reading: Reading, edges: WindowEdges | None) -> Sequence[Aggregator]:
        nonlocal partials
        partials = partials_for(options, reading, edges)
        return [partials, *more_sinks(reading)]

    assembly = stream_files(files, options, sinks, once=once)
    return CaptureAnalysis(assembly, partials)


def partials_for(options: AnalysisOptions, reading: Reading, edges: WindowEdges | None) -> Partials:
    """A report's aggregators, which keep what the options ask for."""
    return Partials(
        keep_echoes=options.lists_echoes,
        outside=edges or reading.gaps,
        loss_diagnosis=LossDiagnosis(
            keep=options.lists_packets and reading.explained, expected=reading.explained
        ),
    )
