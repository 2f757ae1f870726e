"""From rings to files: encode, put in order, count; what then goes in `FrameWriter` decides."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from analyzer.capture import describe, ring_loops
from analyzer.capture.direct_merge import DirectMerge
from analyzer.capture.encode import NEWCOMER, Bytes, Counters
from analyzer.capture.frame_writer import FrameWriter
from analyzer.capture.merge import Staging, rewrite_blocks, uncount_blocks
from analyzer.capture.options import CaptureOptions
from analyzer.capture.pending_interfaces import EXPIRES_NS, PendingInterface, PendingInterfaces
from analyzer.capture.series import Series
from analyzer.capture.source import Source
from analyzer.model.vantage import Vantage

_SLACK_MS = 20
"""beyond two retire times, until a frame of another ring has surely been walked"""


class Recorder:
    """Owns the files and the counts of what is in them."""

    def __init__(
        self,
        series: Series,
        options: CaptureOptions,
        on_batch: Callable[[Bytes], None] | None,
        closing: Callable[[], bytes],
        living: Callable[[], Iterable[int]],
    ) -> None:
        """``closing``: the blocks that end a file when the next one is begun.

        ``living``: interface ids of the vantages that did not vanish.
        """
        self.writer = FrameWriter(series, options, closing, self._forget_waiting, living)
        self.counters: Counters = np.zeros((0, 2), np.int64)
        """per interface id: frames and bytes in the files, and until `flush` in staging; behind
        those of the files' interfaces stand those of the pending"""
        self._options = options
        self._on_batch = on_batch
        self._staging = Staging(hold_ns=0)
        self._direct: DirectMerge | None = None
        """where the rings are long enough for frames to wait in them"""
        self._staged_only = False
        self._pending = PendingInterfaces()
        self._now_ns = 0
        ring_loops.warm()

    def begin(self, now_ns: int) -> None:
        """Write the section header. ``now_ns``: the monotonic clock, here as everywhere."""
        self._now_ns = now_ns
        self.writer.begin(describe.section(self._options.comment), now_ns)

    def introduce(self, vantages: Sequence[Vantage], rings: int) -> None:
        """Write the IDBs of new vantages; from two rings on, frames are ordered by time."""
        options, first = self._options, self._pending.first
        blocks = [describe.interface(one, options.snaplen, options.filter) for one in vantages]
        self.writer.introduce(blocks)
        hold_ms = 2 * options.ring.inside(rings).retire_ms + _SLACK_MS
        hold_ns = hold_ms * 1_000_000 if rings > 1 else 0
        self._staging.hold(hold_ns)
        if self._direct:
            self._direct.hold(hold_ns)
        numbers = {(one.ring, one.ifindex): first + at for at, one in enumerate(vantages)}
        self._resolve(lambda one: numbers.get(one.key), len(vantages))

    def ignore(self, source: Source, ifindexes: set[int]) -> None:
        """These interfaces are none of ours: what was kept of them goes."""
        source.ignore(ifindexes)
        if self._pending:
            keys = {(source.number, ifindex) for ifindex in ifindexes}
            self._resolve(lambda one: -1 if one.key in keys else None, 0)

    @property
    def waiting(self) -> bool:
        """Whether frames wait for their turn."""
        return self._staging.waiting or bool(self._direct and self._direct.waiting)

    @property
    def direct(self) -> bool:
        """Whether `flush` looks after the rings itself, and nobody need `walk` them."""
        return self._direct is not None and not self._pending

    def attend(self, sources: Sequence[Source]) -> None:
        """These are the rings from now on: again whenever one is new, and before one is closed."""
        fits = DirectMerge.fits(sources) and not self._staged_only
        marks = self._direct.marks if self._direct else None
        self._direct = DirectMerge(sources, self._staging.hold_ns, marks) if fits else None

    def stage(self) -> None:
        """From now on all rings are walked by `walk`, for good."""
        self._staged_only, self._direct = True, None

    def walk(self, source: Source, now_ns: int, *, urgent: bool = False) -> None:
        """Encode the blocks that a ring has handed over, at most once around.

        urgent: also where `flush` would look after them, when they are due.
        """
        if self.direct and not urgent:
            return
        ring = source.ring
        for _ in range(ring.settings.block_count):
            if not ring.has_block():
                return
            while not self._staging.fill(ring, source.table, self.counters, self._options.snaplen):
                if ring.cursor[NEWCOMER]:
                    self._meet(source, now_ns)
                else:
                    self._flush_staged(now_ns)
            ring.release()
            if self._staging.pressed:
                self._flush_staged(now_ns)

    def flush(self, now_ns: int, everything: bool = False) -> None:
        """Write the frames that are due."""
        if not self._flush_staged(now_ns, everything):
            return
        if self.direct:
            self._merge_directly(now_ns)
        self.writer.advance(now_ns)

    def _flush_staged(self, now_ns: int, everything: bool = False) -> bool:
        """Write the staged frames that are due; False where all wait for an introduction."""
        self._now_ns = now_ns
        if self._pending:
            hurry = everything or self._staging.pressed
            if not hurry and self._pending.patient(now_ns, self.counters):
                return False
            self._pending.set_aside(self._staging, self.counters)
            if everything:
                self._resolve(lambda one: -1, 0)
            else:
                self._expire(now_ns)
        # Where the rings are no longer walked, what waits of them comes before what they hold.
        self._record(self._staging.take(now_ns, everything or self.direct))
        return True

    def _merge_directly(self, now_ns: int) -> None:
        """From the rings into the file."""
        rings = self._direct
        assert rings
        limit, more = rings.look(now_ns), True
        while limit >= 0 and more and not self.writer.finished:
            batch, more, met = rings.take(limit, self.counters, self._options.snaplen)
            self._record(batch)
            if met:
                self._meet(met, now_ns)
                return

    def _meet(self, source: Source, now_ns: int) -> None:
        ifindex = int(source.ring.cursor[NEWCOMER])
        source.ring.cursor[NEWCOMER] = 0
        self._pending.meet(source, ifindex, now_ns)
        self.counters = np.vstack([self.counters, np.zeros((1, 2), np.int64)])

    def _resolve(self, known: Callable[[PendingInterface], int | None], fresh: int) -> None:
        """Move frames and counts of pending interfaces that are known now to where they belong."""
        waited = len(self._pending)
        rows, resolved = self._pending.resolve(known, fresh)
        before = self.counters
        self.counters = np.zeros((self._pending.first + len(self._pending), 2), np.int64)
        self.counters[rows[rows >= 0]] = before[rows >= 0]
        if waited:
            self._staging.renumber(rows)
        for one in resolved:
            if one.identifier < 0:
                one.interface.source.skip(int(before[one.row, 0]))
                continue
            for blocks in one.interface.aside:
                rewrite_blocks(blocks, one.identifier)
                self._record(blocks)

    def _expire(self, now_ns: int) -> None:
        """Nobody will tell any more what these are."""
        old = [one for one in self._pending if now_ns - one.since_ns > EXPIRES_NS]
        for one in old:
            self.ignore(one.source, {one.ifindex})

    def _record(self, batch: Bytes) -> None:
        """Hand frames on."""
        if not len(batch):
            return
        done = self.writer.record(batch, self.counters, self._now_ns)
        if self._on_batch and done:
            self._on_batch(batch[:done])

    def _forget_waiting(self) -> Counters:
        """Staged frames that nobody can write any more; what is in the files."""
        uncount_blocks(self._staging.take(0, everything=True), self.counters)
        return self.counters
