"""A capture from its first socket to its last block.

One loop polls the rings, a netlink socket per watched namespace and an eventfd by which
`CaptureSession.stop` reaches it from threads and signal handlers. Frames go from ring to
staging (encoded) to file (in order of time); nothing else touches the file meanwhile.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Self

from analyzer.capture import describe
from analyzer.capture.counting import Counting
from analyzer.capture.encode import Bytes
from analyzer.capture.keeping import Keeping
from analyzer.capture.listening import Listening
from analyzer.capture.options import CaptureOptions, Hooks
from analyzer.capture.output import Target
from analyzer.capture.payload import Payload
from analyzer.capture.pressure import Pressure
from analyzer.capture.recorder import Recorder
from analyzer.capture.ring import Ring
from analyzer.capture.roster import Roster
from analyzer.capture.series import Series
from analyzer.capture.source import close_all
from analyzer.capture.stamping import wait_for_stamps
from analyzer.capture.stats import CaptureCounts, CaptureStats
from analyzer.capture.wakeups import Wakeups
from analyzer.errors import CaptureError, VethscopeError
from analyzer.model.vantage import Vantage

_NO_STAMPS = (
    "cannot tell whether frames are stamped on receive: a bridge's copies may bear "
    "stamps of their own"
)


class CaptureSession:
    """Open, run (in this thread or another), stop (from anywhere), close.

    As a context manager it is open inside, and closed with a complete file behind.
    """

    def __init__(
        self,
        vantages: Sequence[Vantage],
        netns_paths: Mapping[int, str],
        output: Target,
        options: CaptureOptions | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        """``netns_paths``: namespace inode → a path that setns can open."""
        self._wanted, self._paths, self._target = vantages, netns_paths, output
        self._options = options or CaptureOptions()
        self._hooks = hooks or Hooks()
        self._roster = Roster(self._options)
        self._wakeups = Wakeups()
        self._warnings: list[str] = []
        may_cut = self._options.cut_bytes if self._options.payload is Payload.AUTO else 0
        self._pressure = Pressure(may_cut, lambda block: self.keep(lambda: block))
        self._stopped = ""
        self._series: Series | None = None
        self._recorder: Recorder
        self._listening: Listening
        self._counting: Counting
        self._is_open = False

    @property
    def vantages(self) -> tuple[Vantage, ...]:
        """As captured, ``ring`` and ``promiscuous`` filled in; in the order of the IDBs."""
        return tuple(self._roster.vantages)

    def open(self) -> Self:
        """Open sockets and file; when it returns, every frame from now on is captured.

        Raises UsageProblem (interface, filter, file), EnvironmentProblem (rights, memory),
        CaptureError; then nothing is left open, and the file is untouched unless it was the
        file that failed.
        """
        self._options.check()
        self._wakeups.open()
        try:
            fresh = self._roster.admit(self._wanted, self._paths)
            if not wait_for_stamps():
                self._warnings.append(_NO_STAMPS)
            self._begin()
            self._listening.welcome(fresh)
            self._counting.begin()
            self._recorder.writer.describe(describe.names(self._options.names))
            self._raise_problem()
        except BaseException:
            self._release()
            raise
        self._is_open = True
        return self

    def _begin(self) -> None:
        """Begin the file."""
        self._series = Series(self._target, self._options.rotation)
        on_batch = self._tell_batch if self._hooks.on_batch else None
        self._recorder = Recorder(
            self._series, self._options, on_batch, self._end_file, self._roster.living
        )
        rotates = self._options.rotation is not None
        self._counting = Counting(self._roster, self._recorder, rotates=rotates)
        self._listening = Listening(
            self._roster,
            self._recorder,
            self._wakeups,
            Keeping(self._roster, self._options, self._pressure),
            self._end_if_all_gone,
            self._tell_drops,
        )
        self._recorder.begin(time.monotonic_ns())

    def run(self, until: Callable[[], bool] | None = None) -> CaptureStats:
        """Capture until `stop`, a limit, ``until()`` or the last vantage's end.

        ``until`` is asked about ten times a second. Raises CaptureError when the output fails;
        the file then holds what the message says.
        """
        seconds = self._options.limits.max_seconds
        deadline = None if seconds is None else time.monotonic() + seconds
        self._pressure.start()
        while not self._stopped:
            self._listening.step(None if deadline is None else deadline - time.monotonic())
            if self._recorder.writer.finished:
                self._finish(self._recorder.writer.finished)
            if deadline is not None and time.monotonic() >= deadline:
                self._finish("duration")
            elif until is not None and until():
                self._finish("until")
        self._raise_problem()
        return self.stats()

    def stop(self) -> None:
        """End `run` soon. Safe in threads and signal handlers, before, during and after it."""
        self._wakeups.ask(partial(self._finish, "stop"))

    def give_up(self) -> None:
        """Write nothing more to a reader who does not read. Safe in threads."""
        if self._series:
            self._series.current.give_up()

    def hear(self, path: str, inode: int) -> Ring:
        """A ring in a new namespace that hears all, for `add`; in a thread, for it takes 20 ms.

        Raises as `Ring` does. Whoever does not hand it to `add` closes it.
        """
        return self._roster.reserve(path, inode)

    def add(
        self,
        vantages: Sequence[Vantage],
        netns_paths: Mapping[int, str],
        names: Mapping[str, str] | None = None,
        rings: Mapping[int, Ring] | None = None,
    ) -> None:
        """Capture further vantages from soon on. Safe in threads; what fails is a warning.

        names: address → container name. rings: inode → what `hear` gave.
        """
        request = partial(self._add, vantages, netns_paths, names or {}, dict(rings or {}))
        self._wakeups.ask(request)

    def keep(self, take: Callable[[], bytes]) -> None:
        """Put blocks that are no frames into the present file. Safe in threads.

        ``take`` gives them, in the capture's own thread, soon or, once it has ended, never.
        """
        self._wakeups.ask(lambda: self._recorder.writer.write(take()))

    def ignore(self, netns: int, ifindexes: Collection[int]) -> None:
        """These newcomers are not wanted. Safe in threads."""
        self._wakeups.ask(partial(self._ignore, netns, set(ifindexes)))

    def counts(self) -> CaptureCounts:
        """The same in short, for who asks again and again."""
        return self._counting.counts()

    def stats(self) -> CaptureStats:
        """The counts so far, from `open` on; complete after `close`."""
        return self._counting.stats(self._stopped, self._warnings)

    def close(
        self,
        bridge_fdb: Mapping[str, describe.Fdb] | None = None,
        notes: Mapping[str, str] | None = None,
        blocks: bytes = b"",
    ) -> CaptureStats:
        """Drain the rings, write the statistics, close everything; again: only the counts.

        ``bridge_fdb`` and ``notes``, by vantage name, go into the statistics' comments; further
        ``blocks`` before them. Raises CaptureError where the output fails only now.
        """
        if not self._is_open:
            return self.stats()
        writer = self._recorder.writer
        raised = writer.problem
        try:
            self._finish("stop")
            self._listening.drain()
            blocks = self._pressure.stop() + blocks
            self._counting.end()
            stats = self._counting.of_file()
            closing = describe.statistics(stats, bridge_fdb or {}, notes or {})
            writer.write(b"".join([blocks, *closing]))
            writer.look(last=True)
        finally:
            self._pressure.stop()
            self._release()
        if writer.problem is not raised:
            self._raise_problem()
        return self.stats()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(CaptureError) if error else contextlib.nullcontext():
            self.close()

    def _end_if_all_gone(self) -> None:
        if self._roster.all_gone and not self._stopped and not self._options.newcomers:
            self._warnings.append("all captured interfaces are gone: the capture ended by itself")
            self._finish("gone")

    def _add(
        self,
        vantages: Sequence[Vantage],
        paths: Mapping[int, str],
        names: Mapping[str, str],
        rings: dict[int, Ring],
    ) -> None:
        self._recorder.writer.describe(describe.names(names), always=False)
        self._listening.notice_all()  # what is gone may have had the same numbers
        for vantage in vantages:
            try:
                self._listening.welcome(self._roster.admit([vantage], paths, rings))
            except VethscopeError as error:
                self._warnings.append(f"{vantage.name} is not captured: {error}")
        close_all(rings.values())

    def _ignore(self, netns: int, ifindexes: set[int]) -> None:
        source = self._roster.serving(netns)
        if source is not None:
            self._recorder.ignore(source, ifindexes)

    def _finish(self, reason: str) -> None:
        self._stopped = self._stopped or reason

    def _raise_problem(self) -> None:
        if self._recorder.writer.problem is not None:
            raise self._recorder.writer.problem

    def _tell_batch(self, batch: Bytes) -> None:
        if self._hooks.on_batch:
            self._hooks.on_batch(batch, self._roster.vantages)

    def _tell_drops(self, sources: Collection[int]) -> None:
        """Statistics so far of the vantages of these sources: should we be killed, no more come."""
        stats = self._counting.of_file(sources)
        self._recorder.writer.write(b"".join(describe.statistics(stats, {}, {}, so_far=True)))

    def _end_file(self) -> bytes:
        """The blocks that end a file when another is begun."""
        self._listening.count()
        stats = self._counting.end_file()
        return b"".join([self._hooks.file_end(), *describe.statistics(stats, {}, {})])

    def _release(self) -> None:
        """Close whatever is open."""
        self._is_open = False
        self._wakeups.close()
        self._roster.close()
        if self._series:
            self._series.current.close()
