"""What a capture has counted: in all, and in the present file of a rotation."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import numpy as np
from msgspec.structs import replace

from analyzer.capture.encode import Counters
from analyzer.capture.recorder import Recorder
from analyzer.capture.roster import Roster
from analyzer.capture.stats import CaptureCounts, CaptureStats, FileStats, RingStats, VantageStats


class Counting:
    """Begins when it is made, and once more by `begin`."""

    def __init__(self, roster: Roster, recorder: Recorder, *, rotates: bool) -> None:
        self._roster, self._recorder, self._rotates = roster, recorder, rotates
        self._start_ns = self._file_start_ns = time.time_ns()
        self._end_ns = 0
        self._before_file: dict[int, tuple[int, int]] = {}
        """open source → what its ring had received and dropped when the present file was begun"""
        self._older = 0
        """sources that there were by then"""

    def begin(self) -> None:
        """All rings hear from now on."""
        self._start_ns = self._file_start_ns = time.time_ns()

    def end(self) -> None:
        """Nothing comes any more. The end is that of what the files hold of all rings."""
        writer, complete_ns = self._recorder.writer, self._roster.complete_ns
        self._end_ns = (writer.last_ns if writer.finished else complete_ns) or time.time_ns()

    def counts(self) -> CaptureCounts:
        """The counts so far, in short."""
        return CaptureCounts(
            frames=int(self._recorder.counters[:, 0].sum()),
            dropped=self._roster.dropped,
            file_bytes=self._recorder.writer.series.size,
            vantages=len(self._roster.living()),
        )

    def stats(self, stopped: str, warnings: Sequence[str]) -> CaptureStats:
        """The counts so far."""
        roster, series = self._roster, self._recorder.writer.series
        return CaptureStats(
            vantages=tuple(map(self._in_all, range(len(roster.vantages)))),
            rings=tuple(source.stats() for source in roster.sources),
            start_ns=self._start_ns,
            end_ns=self._end_ns or time.time_ns(),
            file_bytes=series.size,
            files=tuple(series.names),
            stopped=stopped,
            warnings=tuple(warnings),
        )

    def of_file(self, sources: Collection[int] | None = None) -> FileStats:
        """Of the present file alone, and of what is described in it: not of all that ever was.

        sources: only of their vantages.
        """
        ids, roster = self._recorder.writer.head.ids, self._roster
        numbers = [
            number
            for number in np.flatnonzero(ids >= 0).tolist()
            if sources is None or roster.vantages[number].ring in sources
        ]
        rings = {ring: self._of_ring(ring) for ring in {roster.vantages[n].ring for n in numbers}}
        counters = self._recorder.writer.in_file if self._rotates else self._recorder.counters
        vantages = {
            int(ids[number]): self._of_vantage(
                number, counters, rings[roster.vantages[number].ring].dropped
            )
            for number in numbers
        }
        end_ns = self._end_ns or time.time_ns()
        return FileStats(vantages, rings, self._file_start_ns, end_ns)

    def end_file(self) -> FileStats:
        """Of the present file, which ends here; from now on the next one is counted."""
        recorder, roster = self._recorder, self._roster
        end_ns = recorder.writer.complete_until(self._file_start_ns, recorder.waiting)
        ended = replace(self.of_file(), end_ns=end_ns)
        self._file_start_ns = end_ns
        self._before_file = {
            one.number: (one.ring.received, one.ring.dropped) for one in roster.open_sources
        }
        self._older = len(roster.sources)
        return ended

    def _of_ring(self, number: int) -> RingStats:
        """Since the present file was begun; of one that was closed before, that is nothing."""
        ring = self._roster.sources[number].stats()
        closed = (ring.received, ring.dropped) if number < self._older else (0, 0)
        received, dropped = self._before_file.get(number, closed)
        return replace(ring, received=ring.received - received, dropped=ring.dropped - dropped)

    def _in_all(self, number: int) -> VantageStats:
        dropped = self._roster.source_of(number).ring.dropped
        return self._of_vantage(number, self._recorder.counters, dropped)

    def _of_vantage(self, number: int, counters: Counters, ring_dropped: int) -> VantageStats:
        """What a vantage dropped is known where its ring dropped nothing, or has no other."""
        frames, size = counters[number].tolist()
        roster = self._roster
        is_known = not ring_dropped or roster.source_of(number).alone
        dropped = ring_dropped if is_known else None
        received = None if dropped is None else frames + dropped
        begun, ended = roster.begun.get(number), roster.ended.get(number)
        joined = begun if begun and begun > self._start_ns else None
        vantage = roster.vantages[number]
        return VantageStats(vantage, frames, size, received, dropped, ended, joined)
