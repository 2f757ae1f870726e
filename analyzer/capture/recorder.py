"""From rings to file: encode, order, count, keep to the limits, survive a full disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from analyzer.capture import describe
from analyzer.capture.encode import Bytes, Counters
from analyzer.capture.merge import Staging, cut_blocks, uncount_blocks
from analyzer.capture.options import CaptureOptions
from analyzer.capture.output import Output
from analyzer.capture.source import Source
from analyzer.errors import CaptureError
from analyzer.model.vantage import Vantage

_SLACK_MS = 20
"""beyond two retire times, until a frame of another ring has surely been walked"""
_UNLIMITED = 1 << 62


class Recorder:
    """Owns the file and the counts of what is in it."""

    def __init__(
        self, output: Output, options: CaptureOptions, on_batch: Callable[[Bytes], None] | None
    ) -> None:
        self.output = output
        self.counters: Counters = np.zeros((0, 2), np.int64)
        """per interface id: frames and bytes in the file, and until `flush` in staging"""
        self.finished = ""
        """packets, filesize, pipe, error: nothing more goes in; empty while it does"""
        self.problem: CaptureError | None = None
        self._options = options
        self._on_batch = on_batch
        self._staging = Staging(hold_ns=0)
        self._frames = 0
        self._hold_ns = (2 * options.ring.retire_ms + _SLACK_MS) * 1_000_000

    def begin(self) -> None:
        """Write the section header."""
        self.write(describe.section(self._options.comment))

    def introduce(self, vantages: Sequence[Vantage], rings: int) -> None:
        """Write the IDBs of new vantages; from two rings on, frames are ordered by time."""
        options = self._options
        self.write(
            b"".join(describe.interface(one, options.snaplen, options.filter) for one in vantages)
        )
        self.counters = np.vstack([self.counters, np.zeros((len(vantages), 2), np.int64)])
        self._staging.hold_ns = self._hold_ns if rings > 1 else 0

    def write(self, blocks: bytes) -> None:
        """Blocks that are no frames; also after a limit was reached, never after a failure."""
        if blocks and not self.output.failure and self.output.write(blocks) < len(blocks):
            self._fail()

    @property
    def waiting(self) -> bool:
        """Whether frames wait for their turn."""
        return self._staging.waiting

    def walk(self, source: Source, now_ns: int) -> None:
        """Encode the blocks that a ring has handed over, at most once around."""
        ring = source.ring
        for _ in range(ring.settings.block_count):
            if not ring.has_block():
                return
            while not self._staging.fill(ring, source.table, self.counters, self._options.snaplen):
                self.flush(now_ns)
            ring.release()
            if self._staging.pressed:
                self.flush(now_ns)

    def flush(self, now_ns: int, everything: bool = False) -> None:
        """Write the frames that are due. ``now_ns``: the monotonic clock."""
        batch = self._staging.take(now_ns, everything)
        if not len(batch):
            return
        kept = self._within_limits(batch)
        done = self.output.write(batch[:kept]) if kept else 0
        uncount_blocks(batch[done:], self.counters)
        if self._on_batch and done:
            self._on_batch(batch[:done])
        if done < kept:
            self._fail()

    def _within_limits(self, batch: Bytes) -> int:
        """How many bytes of the batch may go in; the limit reached is the end."""
        if self.finished:
            return 0
        options = self._options
        if options.max_packets is None and options.max_kilobytes is None:
            return len(batch)
        frames = _UNLIMITED if options.max_packets is None else options.max_packets - self._frames
        room = _UNLIMITED
        if options.max_kilobytes is not None:
            room = max(0, options.max_kilobytes * 1000 - self.output.size)
        kept, count = cut_blocks(batch, room, frames)
        self._frames += count
        if count == frames:
            self.finished = "packets"
        elif kept < len(batch):
            self.finished = "filesize"
        return kept

    def _fail(self) -> None:
        """The output takes no more: forget what waits, and say what the file holds."""
        self.finished = "pipe" if self.output.broken_pipe else "error"
        uncount_blocks(self._staging.take(0, everything=True), self.counters)
        failure = self.output.failure
        if self.finished == "error" and failure is not None:
            self.problem = CaptureError(
                f"cannot write on to {self.output.name}: {failure.strerror}; it holds "
                f"{int(self.counters[:, 0].sum())} whole frames ({self.output.size} bytes) and is "
                "readable; make room or write elsewhere (-w)"
            )
