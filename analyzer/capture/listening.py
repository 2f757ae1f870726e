"""The rings of a capture while it runs: listened to, walked, counted, closed once they are dry."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import partial

from analyzer.capture.keeping import Keeping
from analyzer.capture.links import LinkWatch
from analyzer.capture.recorder import Recorder
from analyzer.capture.roster import Roster
from analyzer.capture.source import Source, close_all
from analyzer.capture.wakeups import Wakeups
from analyzer.model.vantage import Vantage

_LOOK_NS = 1_000_000_000
"""how often the kernel's 32-bit counters are read, and containers' namespaces looked for"""
_LOOK_EACH_NS = 10_000_000
"""of many rings less often: a look takes some 10 µs each"""
_BREATH_S = 0.002
"""between two looks at rings that are long enough: not a look for each block"""
_ARRIVES_NS = 25_000_000
"""a packet is at the last of its vantages by then, but for queues (`correlate.loss.GRACE_NS`)"""
_TICK_S, _BUSY_TICK_S, _DRAIN_TICK_S = 0.1, 0.02, 0.005


class Listening:
    """Has all rings of the roster walked into the recorder."""

    def __init__(
        self,
        roster: Roster,
        recorder: Recorder,
        wakeups: Wakeups,
        keeping: Keeping,
        vanished: Callable[[], None],
        losing: Callable[[Collection[int]], None],
    ) -> None:
        """vanished: called when interfaces have. losing: when the rings of these sources have
        dropped frames."""
        self._losing = losing
        self._roster, self._recorder, self._wakeups = roster, recorder, wakeups
        self._keeping = keeping
        self._vanished = vanished
        self._looked_ns = 0
        self._dropped: dict[int, int] = {}
        """source → frames that it had dropped when it was told of last"""
        self._edges = False
        """whether a ring wakes us only when it hands a further block over"""

    def welcome(self, fresh: list[Vantage]) -> None:
        """Describe new vantages in the file, then listen to them."""
        self._recorder.introduce(fresh, len(self._roster.open_sources))
        for watch in self._roster.watches.values():
            self._wakeups.listen(watch.fileno(), partial(self._notice, watch))
        for source in self._roster.open_sources:
            if not self._wakeups.hears(source.ring.fileno()):
                self._wakeups.listen(source.ring.fileno(), partial(self._walk, source))
                source.ring.start()
        self._roster.note_begun()
        self._keeping.settle()
        self._recorder.attend(self._roster.open_sources)
        self._wake_by(edges=self._recorder.direct)

    def notice_all(self) -> None:
        """Take what is known of interfaces that have gone."""
        for watch in self._roster.watches.values():
            self._notice(watch)

    def step(self, most_s: float | None) -> None:
        """Sleep until something comes, ``most_s`` at most, and bring it where it belongs."""
        if self._edges and self._recorder.waiting:
            time.sleep(_BREATH_S)
        tick_s = self._tick_s
        self._wakeups.wait(tick_s if most_s is None else max(0.0, min(tick_s, most_s)))
        now_ns = time.monotonic_ns()
        self._recorder.flush(now_ns)
        self._look(now_ns)
        self._retire_hushed(now_ns)
        if self._recorder.direct != self._edges:
            self._wake_by(edges=self._recorder.direct)

    def count(self) -> None:
        """Read the kernel's counters."""
        for source in self._roster.open_sources:
            source.ring.count()

    def drain(self) -> None:
        """Shut the door, wait until the kernel hands the last blocks over, write what came.

        What was just sent is heard at every vantage before, so that its fate is known.
        """
        ends_ns = time.monotonic_ns() + _ARRIVES_NS
        while (left_ns := ends_ns - time.monotonic_ns()) > 0 and not self._recorder.writer.finished:
            self.step(left_ns / 1e9)
        self._keeping.release()
        self._roster.hush()
        self._recorder.stage()
        while self._roster.open_sources and not self._recorder.writer.finished:
            time.sleep(_DRAIN_TICK_S)
            self._retire_hushed(time.monotonic_ns())
        self._recorder.flush(time.monotonic_ns(), everything=True)

    @property
    def _tick_s(self) -> float:
        """How long to wait for the kernel."""
        busy = self._recorder.waiting or self._roster.hushed
        return _BUSY_TICK_S if busy else _TICK_S

    def _look(self, now_ns: int) -> None:
        """Now and then: at the counters, and for namespaces that are gone."""
        if now_ns - self._looked_ns >= max(_LOOK_NS, self._roster.most_open * _LOOK_EACH_NS):
            self._looked_ns = now_ns
            self.count()
            self._tell_drops()
            if self._roster.dismiss_orphans():
                self._keeping.settle()
                self._vanished()

    def _tell_drops(self) -> None:
        """Have the file say which rings have dropped frames since it was looked last."""
        fresh = {
            source.number: source.ring.dropped
            for source in self._roster.open_sources
            if source.ring.dropped > self._dropped.get(source.number, 0)
        }
        if fresh:
            self._dropped |= fresh
            self._losing(fresh.keys())

    def _walk(self, source: Source) -> None:
        self._recorder.walk(source, time.monotonic_ns())

    def _notice(self, watch: LinkWatch) -> None:
        before = watch.changes
        vanished = self._roster.dismiss(watch)
        if vanished or watch.changes != before:
            self._keeping.settle()
        if vanished:
            self._vanished()

    def _wake_by(self, *, edges: bool) -> None:
        """Frames that wait in the rings must not wake us again and again."""
        self._edges = edges
        fds = [source.ring.fileno() for source in self._roster.open_sources]
        self._wakeups.wake_by(fds, edges=edges)

    def _retire_hushed(self, now_ns: int) -> None:
        """Close the rings of namespaces without a vantage, once nothing is left in them."""
        done = []
        for source in self._roster.hushed:
            self._recorder.walk(source, now_ns, urgent=source.overdue(now_ns))
            if source.drained(now_ns):
                done.append(source)
        if not done:
            return
        for source in done:
            self._wakeups.forget(source.ring.fileno())
            self._roster.hushed.remove(source)
        self._recorder.attend([one for one in self._roster.open_sources if one not in done])
        close_all(done)
