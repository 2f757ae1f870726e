"""What a capture has counted: in all, and in the present file of a rotation."""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec.structs import replace

from analyzer.capture.encode import Counters
from analyzer.capture.recorder import Recorder
from analyzer.capture.roster import Roster
from analyzer.capture.stats import CaptureCounts, CaptureStats, VantageStats


class Counting:
    """Begins when it is made, and once more by `begin`."""

    def __init__(self, roster: Roster, recorder: Recorder, *, rotates: bool) -> None:
        self._roster, self._recorder, self._rotates = roster, recorder, rotates
        self._start_ns = self._file_start_ns = time.time_ns()
        self._end_ns = 0
        self._before_file: dict[int, tuple[int, int]] = {}
        """source → what its ring had received and dropped when the present file was begun"""

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
            dropped=sum(source.ring.dropped for source in self._roster.sources),
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

    def of_file(self, stats: CaptureStats) -> CaptureStats:
        """Of the present file alone, where there were others before it."""
        if not self._rotates:
            return stats
        rings = tuple(
            replace(ring, received=ring.received - received, dropped=ring.dropped - dropped)
            for number, ring in enumerate(stats.rings)
            for received, dropped in [self._before_file.get(number, (0, 0))]
        )
        in_file = self._recorder.writer.in_file
        vantages = tuple(
            self._of_vantage(number, in_file, rings[one.vantage.ring].dropped)
            for number, one in enumerate(stats.vantages)
        )
        return replace(stats, vantages=vantages, rings=rings, start_ns=self._file_start_ns)

    def end_file(self, stats: CaptureStats) -> CaptureStats:
        """Of the present file, which ends here; from now on the next one is counted."""
        recorder = self._recorder
        end_ns = recorder.writer.complete_until(self._file_start_ns, recorder.waiting)
        ended = replace(self.of_file(stats), end_ns=end_ns)
        self._file_start_ns = end_ns
        rings = enumerate(self._roster.sources)
        self._before_file = {n: (s.ring.received, s.ring.dropped) for n, s in rings}
        return ended

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
