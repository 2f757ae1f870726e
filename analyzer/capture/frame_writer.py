"""The files of a capture: whole frames go in, as far as limits, rotation and disk allow."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from analyzer.capture.encode import Bytes, Counters
from analyzer.capture.file_head import FileHead
from analyzer.capture.merge import count_blocks, cut_blocks, last_stamp, uncount_blocks
from analyzer.capture.options import CaptureOptions
from analyzer.capture.series import Series
from analyzer.errors import CaptureError, UsageProblem

LOG = logging.getLogger("vethscope")
_UNLIMITED = 1 << 62
_LOOK_NS = 1_000_000_000
"""between looks at the file's name"""
_UNSEEN_NS = 500_000_000
"""many times what a frame takes into the staging while we keep up"""


class FrameWriter:
    """Owns the files; says by ``finished`` when nothing more goes in."""

    def __init__(
        self,
        series: Series,
        options: CaptureOptions,
        file_end: Callable[[], bytes],
        forget_waiting: Callable[[], Counters],
        living: Callable[[], Iterable[int]],
    ) -> None:
        """``file_end``: the blocks that end a file when the next one is begun.

        ``forget_waiting``: drops the frames that wait to be written, after a failure, and gives
        the counts of those that are in the files. ``living``: interface ids of those that there
        are, for the next file.
        """
        self.series = series
        self.in_file: Counters = np.zeros((0, 2), np.int64)
        """per interface id, with a rotation: frames and bytes in the present file"""
        self.finished = ""
        """packets, filesize, files, pipe, error: nothing more goes in; empty while it does"""
        self.problem: CaptureError | None = None
        self.last_ns = 0
        """stamp of the last frame that went in, ns since the epoch"""
        self._limits, self._rotation = options.limits, options.rotation
        self._file_end = file_end
        self._forget_waiting = forget_waiting
        self._frames = 0
        self._now_ns = self._begun_ns = 0
        self._looked_ns = 0
        self._latest_ns = 0
        """greatest stamp that was written, with a rotation"""
        self.head = FileHead()
        self._living = living
        self._warned = False

    def begin(self, section: bytes, now_ns: int) -> None:
        """Write the section header. ``now_ns``: the monotonic clock, here as everywhere."""
        self._now_ns = self._begun_ns = now_ns
        self.describe(section)

    def describe(self, block: bytes, *, always: bool = True) -> None:
        """Write a block that the next files begin with, too: see `FileHead.describe`."""
        if block:
            self.write(self.head.describe(block, always=always))

    def introduce(self, blocks: Sequence[bytes]) -> None:
        """Write the descriptions of further interfaces."""
        self.in_file = np.vstack([self.in_file, np.zeros((len(blocks), 2), np.int64)])
        self.write(self.head.introduce(blocks))

    def write(self, blocks: bytes) -> None:
        """Write blocks that are no frames; also after a limit was reached, not after a failure."""
        output = self.series.current
        if blocks and not output.failure and output.write(blocks) < len(blocks):
            self._fail()

    def record(self, batch: Bytes, counters: Counters, now_ns: int) -> int:
        """Write frames as far as the limits allow; how many bytes of them went in.

        Those that did not are taken off ``counters``.
        """
        self._now_ns = now_ns
        kept, limit = self._within_limits(batch)
        done = self._write_frames(batch[:kept])
        if done:
            self.last_ns = last_stamp(batch[:done])
        self.finished = self.finished or limit
        uncount_blocks(batch[done:], counters)
        if done < kept and not self.finished:
            self._fail()
        return done

    def advance(self, now_ns: int) -> None:
        """So late is it now: begin the next file where the present one is old enough."""
        self._now_ns = now_ns
        if now_ns - self._looked_ns >= _LOOK_NS:
            self._looked_ns = now_ns
            self.look()
        seconds = self._rotation and self._rotation.max_seconds
        if seconds and not self.finished and now_ns - self._begun_ns >= seconds * 1e9:
            self._rotate()

    def look(self, *, last: bool = False) -> None:
        """Whether the present file still has a name: what is written to it would be gone.

        Where files follow each other the next one is begun, unless this is the last look.
        """
        name = self.series.current.name
        if self.finished or not self.series.current.is_deleted:
            return
        if self._rotation is not None:
            LOG.warning("%s was deleted while it was written: its frames are gone", name)
            if not last:
                self._rotate()
            return
        self.finished = "error"
        self.problem = CaptureError(f"{name} was deleted while it was written: its frames are gone")

    def complete_until(self, start_ns: int, waiting: bool) -> int:
        """Until when the present file, begun at ``start_ns``, has all frames (ns since the epoch).

        What waits is for the next file; a frame is surely in the staging a moment after its stamp.
        """
        if not waiting:
            return max(start_ns, self._latest_ns, time.time_ns() - _UNSEEN_NS)
        return max(start_ns, self._latest_ns)

    def _write_frames(self, batch: Bytes) -> int:
        """Write whole blocks to the present file, and to the next ones; how many bytes went in."""
        if self._rotation is None:
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
            written = self._write_part(batch[done : done + part])
            latest = count_blocks(batch[done : done + written], self.in_file)
            self._latest_ns = max(self._latest_ns, latest)
            done += written
            if written < part:
                break
        return done

    def _write_part(self, part: Bytes) -> int:
        """Frames that the present file has room for; how many bytes of them went in."""
        if self.head.is_plain:
            return self.series.current.write(part)
        counts = np.zeros_like(self.in_file)
        count_blocks(part, counts)
        before, fitting = self.head.fit(part, np.flatnonzero(counts[:, 0]))
        self.write(before)
        return self.series.current.write(fitting)

    def _file_bytes(self, kilobytes: int) -> int:
        """How long a file may get: at least as many bytes of frames as of its head are in it."""
        least = 2 * self.head.size
        if least > kilobytes * 1000 and not self._warned:
            self._warned = True
            LOG.warning(
                "-b filesize:%d is less than twice what a file takes to say what was captured: "
                "files get %d kB and more",
                kilobytes,
                -(-least // 1000),
            )
        return max(kilobytes * 1000, least)

    def _room(self) -> tuple[int, int]:
        """Bytes and frames that the present file has room for."""
        rotation = self._rotation
        assert rotation is not None
        size, frames = _UNLIMITED, _UNLIMITED
        if rotation.max_kilobytes is not None:
            size = max(0, self._file_bytes(rotation.max_kilobytes) - self.series.current.size)
        if rotation.max_packets is not None:
            frames = rotation.max_packets - int(self.in_file[:, 0].sum())
        return size, frames

    def _rotate(self) -> None:
        """End the present file and begin the next, or end it all."""
        most = self._limits.max_files
        if most is not None and self.series.number >= most:
            self.finished = "files"
            return
        self.write(self._file_end())
        try:
            self.series.advance()
        except UsageProblem as error:
            self.finished = "error"
            self.problem = CaptureError(f"no further file: {error}")
            return
        self._begun_ns = self._now_ns
        self.in_file[:] = 0
        self.write(self.head.begin(self._living()))

    def _within_limits(self, batch: Bytes) -> tuple[int, str]:
        """How many bytes of the batch may go in, and the limit that they reach."""
        if self.finished:
            return 0, ""
        limits = self._limits
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

    def _fail(self) -> None:
        """The output takes no more: say what the files hold."""
        output = self.series.current
        self.finished = "pipe" if output.broken_pipe else "error"
        counters = self._forget_waiting()
        failure = output.failure
        if self.finished == "error" and failure is not None:
            whole = counters if self._rotation is None else self.in_file
            self.problem = CaptureError(
                f"cannot write on to {output.name}: {failure.strerror}; it holds "
                f"{int(whole[:, 0].sum())} whole frames ({output.size} bytes) and is "
                "readable; make room or write elsewhere (-w)"
            )
