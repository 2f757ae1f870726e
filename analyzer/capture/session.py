"""A capture from its first socket to its last block.

One loop polls the rings, a netlink socket per watched namespace and an eventfd by which
`CaptureSession.stop` reaches it from threads and signal handlers. Frames go from ring to
staging (encoded) to file (in order of time); nothing else touches the file meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from analyzer.capture import describe
from analyzer.capture.encode import Bytes, Counters
from analyzer.capture.links import LinkWatch
from analyzer.capture.options import CaptureOptions, Hooks
from analyzer.capture.output import Target
from analyzer.capture.recorder import Recorder
from analyzer.capture.ring import Ring
from analyzer.capture.roster import Roster, close_all
from analyzer.capture.series import Series
from analyzer.capture.source import Source
from analyzer.capture.stamping import wait_for_stamps
from analyzer.capture.stats import CaptureStats, VantageStats
from analyzer.errors import CaptureError, VethscopeError
from analyzer.model.vantage import Vantage

_LOOK_NS = 1_000_000_000
"""how often the kernel's 32-bit counters are read, and containers' namespaces looked for"""
_LOOK_EACH_NS = 10_000_000
"""of many rings less often: a look takes some 10 µs each"""
_BREATH_S = 0.002
"""between two looks at rings that are long enough: not a look for each block"""
_TICK_S, _BUSY_TICK_S, _DRAIN_TICK_S = 0.1, 0.02, 0.005

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
        self._requests: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._warnings: list[str] = []
        self._stopped = ""
        self._stop_asked = False
        self._start_ns = self._file_start_ns = self._end_ns = self._looked_ns = 0
        self._before_file: dict[int, tuple[int, int]] = {}
        """source → what its ring had received and dropped when the present file was begun"""
        self._handlers: dict[int, Callable[[], None]] = {}
        self._edges = False
        """whether a ring wakes us only when it hands a further block over"""
        self._poll: select.epoll
        self._recorder: Recorder
        self._wake = -1
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
        self._poll, self._wake = select.epoll(), os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            self._listen(self._wake, self._woken)
            fresh = self._roster.admit(self._wanted, self._paths)
            if not wait_for_stamps():
                self._warnings.append(_NO_STAMPS)
            series = Series(self._target, self._options.rotation)
            on_batch = self._tell_batch if self._hooks.on_batch else None
            self._recorder = Recorder(series, self._options, on_batch, self._end_file)
            self._start_ns = self._file_start_ns = time.time_ns()
            self._recorder.begin(time.monotonic_ns())
            self._welcome(fresh)
            self._recorder.describe(describe.names(self._options.names))
            self._raise_problem()
        except BaseException:
            self._release()
            raise
        self._is_open = True
        return self

    def run(self, until: Callable[[], bool] | None = None) -> CaptureStats:
        """Capture until `stop`, a limit, ``until()`` or the last vantage's end.

        ``until`` is asked about ten times a second. Raises CaptureError when the output fails;
        the file then holds what the message says.
        """
        seconds = self._options.limits.max_seconds
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self._stopped:
            self._step(self._tick(deadline))
            if deadline is not None and time.monotonic() >= deadline:
                self._finish("duration")
            elif until is not None and until():
                self._finish("until")
        self._raise_problem()
        return self.stats()

    def stop(self) -> None:
        """End `run` soon. Safe in threads and signal handlers, before, during and after it."""
        self._stop_asked = True
        self._ring_bell()

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
        self._request(request)

    def keep(self, take: Callable[[], bytes]) -> None:
        """Put blocks that are no frames into the present file. Safe in threads.

        ``take`` gives them, in the capture's own thread, soon or, once it has ended, never.
        """
        self._request(lambda: self._recorder.end(take()))

    def ignore(self, netns: int, ifindexes: Collection[int]) -> None:
        """These newcomers are not wanted. Safe in threads."""
        self._request(partial(self._ignore, netns, set(ifindexes)))

    def stats(self) -> CaptureStats:
        """The counts so far, from `open` on; complete after `close`."""
        roster = self._roster
        return CaptureStats(
            vantages=tuple(map(self._vantage_stats, range(len(roster.vantages)))),
            rings=tuple(source.stats() for source in roster.sources),
            start_ns=self._start_ns,
            end_ns=self._end_ns or time.time_ns(),
            file_bytes=self._recorder.series.size,
            files=tuple(self._recorder.series.names),
            stopped=self._stopped,
            warnings=tuple(self._warnings),
        )

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
        told = self._recorder.problem
        try:
            self._finish("stop")
            self._drain()
            self._end_ns = time.time_ns()
            closing = describe.statistics(self._file_stats(), bridge_fdb or {}, notes or {})
            self._recorder.end(b"".join([blocks, *closing]))
        finally:
            self._release()
        if self._recorder.problem is not told:
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

    def _step(self, timeout: float) -> None:
        if self._edges and self._recorder.waiting:
            time.sleep(_BREATH_S)
        for fd, _ in self._poll.poll(timeout):
            # A handler before may have closed this one.
            if handler := self._handlers.get(fd):
                handler()
        now = time.monotonic_ns()
        self._recorder.flush(now)
        if now - self._looked_ns >= max(_LOOK_NS, len(self._roster.sources) * _LOOK_EACH_NS):
            self._looked_ns = now
            for source in self._open_sources():
                source.ring.count()
            self._end_if_alone(self._roster.dismiss_orphans())
        self._retire_hushed(now)
        if self._recorder.straight != self._edges:
            self._wake_by(edges=self._recorder.straight)
        if self._recorder.finished:
            self._finish(self._recorder.finished)

    def _tick(self, deadline: float | None) -> float:
        """How long to wait for the kernel, in seconds."""
        busy = self._recorder.waiting or any(source.hushed for source in self._roster.sources)
        tick = _BUSY_TICK_S if busy else _TICK_S
        return tick if deadline is None else max(0.0, min(tick, deadline - time.monotonic()))

    def _walk(self, source: Source) -> None:
        self._recorder.walk(source, time.monotonic_ns())

    def _notice(self, watch: LinkWatch) -> None:
        self._end_if_alone(self._roster.dismiss(watch))

    def _end_if_alone(self, fewer: bool) -> None:
        if fewer and self._roster.all_gone and not self._stopped and not self._options.newcomers:
            self._warnings.append("all captured interfaces are gone: the capture ended by itself")
            self._finish("gone")

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        while not self._requests.empty():
            self._requests.get()()
        if self._stop_asked:
            self._finish("stop")

    def _request(self, request: Callable[[], None]) -> None:
        """Have the capture's own thread do it."""
        self._requests.put(request)
        self._ring_bell()

    def _add(
        self,
        vantages: Sequence[Vantage],
        paths: Mapping[int, str],
        names: Mapping[str, str],
        rings: dict[int, Ring],
    ) -> None:
        self._recorder.describe(describe.names(names))
        for watch in self._roster.watches.values():
            self._notice(watch)  # what is gone may have had the same numbers
        for vantage in vantages:
            try:
                self._welcome(self._roster.admit([vantage], paths, rings))
            except VethscopeError as error:
                self._warnings.append(f"{vantage.name} is not captured: {error}")
        close_all(rings.values())

    def _ignore(self, netns: int, ifindexes: set[int]) -> None:
        source = self._roster.serving(netns)
        if source is not None:
            self._recorder.ignore(source, ifindexes)

    def _welcome(self, fresh: list[Vantage]) -> None:
        """Describe new vantages in the file, then listen to them."""
        self._recorder.introduce(fresh, len(self._roster.sources))
        for watch in self._roster.watches.values():
            self._listen(watch.fileno(), partial(self._notice, watch))
        for source in self._open_sources():
            if source.ring.fileno() not in self._handlers:
                self._listen(source.ring.fileno(), partial(self._walk, source))
                source.ring.start()
        self._recorder.attend(self._open_sources())
        self._wake_by(edges=self._recorder.straight)

    def _wake_by(self, *, edges: bool) -> None:
        """Frames that wait in the rings must not wake us again and again."""
        self._edges = edges
        for source in self._open_sources():
            if source.ring.fileno() in self._handlers:
                self._poll.modify(source.ring.fileno(), self._events)

    @property
    def _events(self) -> int:
        return select.EPOLLIN | (select.EPOLLET if self._edges else 0)

    def _retire_hushed(self, now_ns: int) -> None:
        """Close the rings of namespaces without a vantage, once nothing is left in them."""
        done = []
        for source in self._open_sources():
            if source.hushed:
                self._recorder.walk(source, now_ns, urgent=source.overdue(now_ns))
                if source.drained(now_ns):
                    done.append(source)
        for source in done:
            if self._handlers.pop(source.ring.fileno(), None):
                self._poll.unregister(source.ring.fileno())
        if done:
            self._recorder.attend([one for one in self._open_sources() if one not in done])
        close_all(done)

    def _drain(self) -> None:
        """Shut the door, wait until the kernel hands the last blocks over, write what came."""
        for source in self._open_sources():
            source.hush()
        self._recorder.stage()
        while self._open_sources() and not self._recorder.finished:
            time.sleep(_DRAIN_TICK_S)
            self._retire_hushed(time.monotonic_ns())
        self._recorder.flush(time.monotonic_ns(), everything=True)

    def _open_sources(self) -> list[Source]:
        return [source for source in self._roster.sources if source.is_open]

    def _listen(self, fd: int, handler: Callable[[], None]) -> None:
        if fd not in self._handlers:
            self._handlers[fd] = handler
            self._poll.register(fd, select.EPOLLIN)

    def _ring_bell(self) -> None:
        if self._wake >= 0:
            with contextlib.suppress(OSError):
                os.eventfd_write(self._wake, 1)

    def _finish(self, reason: str) -> None:
        self._stopped = self._stopped or reason

    def _raise_problem(self) -> None:
        if self._recorder.problem is not None:
            raise self._recorder.problem

    def _vantage_stats(self, number: int) -> VantageStats:
        dropped = self._roster.source_of(number).ring.dropped
        return self._told(number, self._recorder.counters, dropped)

    def _told(self, number: int, counters: Counters, dropped: int) -> VantageStats:
        """dropped: by the whole ring."""
        frames, size = counters[number].tolist()
        known = dropped if not dropped or self._roster.source_of(number).alone else None
        received = None if known is None else frames + known
        roster = self._roster
        begun, ended = roster.begun.get(number), roster.ended.get(number)
        joined = begun if begun and begun > self._start_ns else None
        return VantageStats(roster.vantages[number], frames, size, received, known, ended, joined)

    def _file_stats(self) -> CaptureStats:
        """Of the present file alone, where there were others before it."""
        stats = self.stats()
        if self._options.rotation is None:
            return stats
        rings = tuple(
            replace(ring, received=ring.received - received, dropped=ring.dropped - dropped)
            for number, ring in enumerate(stats.rings)
            for received, dropped in [self._before_file.get(number, (0, 0))]
        )
        vantages = tuple(
            self._told(number, self._recorder.in_file, rings[one.vantage.ring].dropped)
            for number, one in enumerate(stats.vantages)
        )
        return replace(stats, vantages=vantages, rings=rings, start_ns=self._file_start_ns)

    def _tell_batch(self, batch: Bytes) -> None:
        if self._hooks.on_batch:
            self._hooks.on_batch(batch, self._roster.vantages)

    def _end_file(self) -> bytes:
        """The blocks that end a file when another is begun."""
        for source in self._open_sources():
            source.ring.count()
        stats = replace(self._file_stats(), end_ns=self._recorder.told_until(self._file_start_ns))
        self._file_start_ns = stats.end_ns
        rings = enumerate(self._roster.sources)
        self._before_file = {n: (s.ring.received, s.ring.dropped) for n, s in rings}
        return b"".join([self._hooks.file_end(), *describe.statistics(stats, {}, {})])

    def _release(self) -> None:
        """Close whatever is open."""
        self._is_open = False
        wake, self._wake = self._wake, -1
        os.close(wake)
        self._poll.close()
        self._handlers.clear()
        self._roster.close()
        if hasattr(self, "_recorder"):
            self._recorder.series.current.close()
