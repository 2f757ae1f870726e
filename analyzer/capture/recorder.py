"""From rings to file: encode, order, count, keep to the limits, survive a full disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from analyzer.capture import describe, ring_loops
from analyzer.capture.direct_merge import DirectMerge
from analyzer.capture.encode import STRANGER, Bytes, Counters
from analyzer.capture.merge import (
    Staging,
    count_blocks,
    cut_blocks,
    rewrite_blocks,
    uncount_blocks,
)
from analyzer.capture.options import CaptureOptions
from analyzer.capture.pending_interfaces import EXPIRES_NS, PendingInterface, PendingInterfaces
from analyzer.capture.series import Series
from analyzer.capture.source import Source
from analyzer.errors import CaptureError, UsageProblem
from analyzer.model.vantage import Vantage

_SLACK_MS = 20
"""beyond two retire times, until a frame of another ring has surely been walked"""
_UNLIMITED = 1 << 62
_UNSEEN_NS = 500_000_000
"""many times what a frame takes into the staging while we keep up"""


class Recorder:
    """Owns the files and the counts of what is in them."""

    def __init__(
        self,
        series: Series,
        options: CaptureOptions,
        on_batch: Callable[[Bytes], None] | None,
        closing: Callable[[], bytes],
    ) -> None:
        """``closing``: the blocks that end a file when the next one is begun."""
        self.series = series
        self.counters: Counters = np.zeros((0, 2), np.int64)
        """per interface id: frames and bytes in the files, and until `flush` in staging; behind
        those of the files' interfaces stand those of the pending"""
        self.in_file: Counters = np.zeros((0, 2), np.int64)
        """per interface id, with a rotation: frames and bytes in the present file"""
        self.finished = ""
        """packets, filesize, files, pipe, error: nothing more goes in; empty while it does"""
        self.problem: CaptureError | None = None
        self._options = options
        self._on_batch = on_batch
        self._closing = closing
        self._staging = Staging(hold_ns=0)
        self._straight: DirectMerge | None = None
        """where the rings are long enough for frames to wait in them"""
        self._staged_only = False
        self._strangers = PendingInterfaces()
        self._frames = 0
        self._now_ns = self._begun_ns = 0
        self._latest_ns = 0
        """greatest stamp that was written, with a rotation"""
        self._head = [describe.section(options.comment)]
        ring_loops.warm()

    def begin(self, now_ns: int) -> None:
        """Write the section header. ``now_ns``: the monotonic clock, here as everywhere."""
        self._now_ns = self._begun_ns = now_ns
        self._write(self._head[0])

    def describe(self, blocks: bytes) -> None:
        """Write blocks that every file begins with."""
        if blocks:
            self._head.append(blocks)
            self._write(blocks)

    def introduce(self, vantages: Sequence[Vantage], rings: int) -> None:
        """Write the IDBs of new vantages; from two rings on, frames are ordered by time."""
        options, first = self._options, self._strangers.first
        self.describe(
            b"".join(describe.interface(one, options.snaplen, options.filter) for one in vantages)
        )
        self.in_file = np.vstack([self.in_file, np.zeros((len(vantages), 2), np.int64)])
        hold_ms = 2 * options.ring.inside(rings).retire_ms + _SLACK_MS
        self._staging.hold_ns = hold_ms * 1_000_000 if rings > 1 else 0
        if self._straight:
            self._straight.hold_ns = self._staging.hold_ns
        numbers = {(one.ring, one.ifindex): first + at for at, one in enumerate(vantages)}
        self._resolve(lambda stranger: numbers.get(stranger.key), len(vantages))

    def ignore(self, source: Source, ifindexes: set[int]) -> None:
        """These interfaces are none of ours: what was kept of them goes."""
        source.ignore(ifindexes)
        if self._strangers:
            keys = {(source.number, ifindex) for ifindex in ifindexes}
            self._resolve(lambda stranger: -1 if stranger.key in keys else None, 0)

    def end(self, blocks: bytes) -> None:
        """Write the last blocks; also after a limit was reached, never after a failure."""
        self._write(blocks)

    def told_until(self, start_ns: int) -> int:
        """Until when the present file, begun at ``start_ns``, has all frames (ns since the epoch).

        What waits is for the next file; a frame is surely in the staging a moment after its stamp.
        """
        if not self.waiting:
            return max(start_ns, self._latest_ns, time.time_ns() - _UNSEEN_NS)
        return max(start_ns, self._latest_ns)

    @property
    def waiting(self) -> bool:
        """Whether frames wait for their turn."""
        return self._staging.waiting or bool(self._straight and self._straight.waiting)

    @property
    def straight(self) -> bool:
        """Whether `flush` looks after the rings itself, and nobody need `walk` them."""
        return self._straight is not None and not self._strangers

    def attend(self, sources: Sequence[Source]) -> None:
        """These are the rings from now on: again whenever one is new, and before one is closed."""
        fits = DirectMerge.fits(sources) and not self._staged_only
        marks = self._straight.marks if self._straight else None
        self._straight = DirectMerge(sources, self._staging.hold_ns, marks) if fits else None

    def stage(self) -> None:
        """From now on all rings are walked by `walk`, for good."""
        self._staged_only, self._straight = True, None

    def walk(self, source: Source, now_ns: int, *, urgent: bool = False) -> None:
        """Encode the blocks that a ring has handed over, at most once around.

        urgent: also where `flush` would look after them, when they are due.
        """
        if self.straight and not urgent:
            return
        ring = source.ring
        for _ in range(ring.settings.block_count):
            if not ring.has_block():
                return
            while not self._staging.fill(ring, source.table, self.counters, self._options.snaplen):
                if ring.cursor[STRANGER]:
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
        if self.straight:
            self._go_straight(now_ns)
        seconds = self._options.rotation and self._options.rotation.max_seconds
        if seconds and not self.finished and now_ns - self._begun_ns >= seconds * 1e9:
            self._rotate()

    def _flush_staged(self, now_ns: int, everything: bool = False) -> bool:
        """Write the staged frames that are due; False where all wait for a stranger."""
        self._now_ns = now_ns
        if self._strangers:
            hurry = everything or self._staging.pressed
            if not hurry and self._strangers.patient(now_ns, self.counters):
                return False
            self._strangers.set_aside(self._staging, self.counters)
            if everything:
                self._resolve(lambda stranger: -1, 0)
            else:
                self._expire(now_ns)
        # Where the rings are no longer walked, what waits of them comes before what they hold.
        self._record(self._staging.take(now_ns, everything or self.straight))
        return True

    def _go_straight(self, now_ns: int) -> None:
        """From the rings into the file."""
        rings = self._straight
        assert rings
        limit, more = rings.look(now_ns), True
        while limit >= 0 and more and not self.finished:
            batch, more, met = rings.take(limit, self.counters, self._options.snaplen)
            self._record(batch)
            if met:
                self._meet(met, now_ns)
                return

    def _meet(self, source: Source, now_ns: int) -> None:
        ifindex = int(source.ring.cursor[STRANGER])
        source.ring.cursor[STRANGER] = 0
        self._strangers.meet(source, ifindex, now_ns)
        self.counters = np.vstack([self.counters, np.zeros((1, 2), np.int64)])

    def _resolve(self, known: Callable[[PendingInterface], int | None], fresh: int) -> None:
        """Move frames and counts of pending interfaces that are known now to where they belong."""
        waited = len(self._strangers)
        rows, resolved = self._strangers.resolve(known, fresh)
        before = self.counters
        self.counters = np.zeros((self._strangers.first + len(self._strangers), 2), np.int64)
        self.counters[rows[rows >= 0]] = before[rows >= 0]
        if waited:
            self._staging.renumber(rows)
        for one in resolved:
            if one.identifier < 0:
                one.stranger.source.skip(int(before[one.row, 0]))
                continue
            for blocks in one.stranger.aside:
                rewrite_blocks(blocks, one.identifier)
                self._record(blocks)

    def _expire(self, now_ns: int) -> None:
        """Nobody will tell any more what these are."""
        old = [one for one in self._strangers if now_ns - one.since_ns > EXPIRES_NS]
        for one in old:
            self.ignore(one.source, {one.ifindex})

    def _record(self, batch: Bytes) -> None:
        """Write frames as far as the limits allow."""
        if not len(batch):
            return
        kept, limit = self._within_limits(batch)
        done = self._write_frames(batch[:kept])
        self.finished = self.finished or limit
        uncount_blocks(batch[done:], self.counters)
        if self._on_batch and done:
            self._on_batch(batch[:done])
        if done < kept and not self.finished:
            self._fail()

    def _write_frames(self, batch: Bytes) -> int:
        """Write whole blocks to the present file, and to the next ones; how many bytes went in."""
        if self._options.rotation is None:
            return self.series.current.write(batch) if len(batch) else 0
        done = 0
        while done < len(batch) and not self.finished:
            room, frames = self._room()
            part, _ = cut_blocks(batch[done:], room, frames)
            if not part and self.in_file[:, 0].any():
                self._rotate()
                continue
            if not part:  # a frame that is greater than a file has one of its own
                part, _ = cut_blocks(batch[done:], _UNLIMITED, 1)
            written = self.series.current.write(batch[done : done + part])
            latest = count_blocks(batch[done : done + written], self.in_file)
            self._latest_ns = max(self._latest_ns, latest)
            done += written
            if written < part:
                break
        return done

    def _room(self) -> tuple[int, int]:
        """Bytes and frames that the present file has room for."""
        rotation = self._options.rotation
        assert rotation is not None
        size, frames = _UNLIMITED, _UNLIMITED
        if rotation.max_kilobytes is not None:
            size = max(0, rotation.max_kilobytes * 1000 - self.series.current.size)
        if rotation.max_packets is not None:
            frames = rotation.max_packets - int(self.in_file[:, 0].sum())
        return size, frames

    def _rotate(self) -> None:
        """End the present file and begin the next, or end it all."""
        most = self._options.limits.max_files
        if most is not None and self.series.number >= most:
            self.finished = "files"
            return
        self._write(self._closing())
        try:
            self.series.advance()
        except UsageProblem as error:
            self.finished = "error"
            self.problem = CaptureError(f"no further file: {error}")
            return
        self._begun_ns = self._now_ns
        self.in_file[:] = 0
        self._write(b"".join(self._head))

    def _within_limits(self, batch: Bytes) -> tuple[int, str]:
        """How many bytes of the batch may go in, and the limit that they reach."""
        if self.finished:
            return 0, ""
        limits = self._options.limits
        if limits.max_packets is None and limits.max_kilobytes is None:
            return len(batch), ""
        frames = _UNLIMITED if limits.max_packets is None else limits.max_packets - self._frames
        room = _UNLIMITED
        if limits.max_kilobytes is not None:
            room = max(0, limits.max_kilobytes * 1000 - self.series.size)
        kept, count = cut_blocks(batch, room, frames)
        self._frames += count
        if count == frames:
            return kept, "packets"
        return kept, "filesize" if kept < len(batch) else ""

    def _write(self, blocks: bytes) -> None:
        """Blocks that are no frames."""
        output = self.series.current
        if blocks and not output.failure and output.write(blocks) < len(blocks):
            self._fail()

    def _fail(self) -> None:
        """The output takes no more: forget what waits, and say what the files hold."""
        output = self.series.current
        self.finished = "pipe" if output.broken_pipe else "error"
        uncount_blocks(self._staging.take(0, everything=True), self.counters)
        failure = output.failure
        if self.finished == "error" and failure is not None:
            whole = self.counters if self._options.rotation is None else self.in_file
            self.problem = CaptureError(
                f"cannot write on to {output.name}: {failure.strerror}; it holds "
                f"{int(whole[:, 0].sum())} whole frames ({output.size} bytes) and is "
                "readable; make room or write elsewhere (-w)"
            )
