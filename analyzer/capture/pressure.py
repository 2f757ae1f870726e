"""While a ring fills up, its frames are cut instead of lost.

A thread looks at the rings, more often where one begins to fill, beside the one that writes: that
one may wait for a disk just then. A ring in which too many blocks wait gets a filter that keeps
only the beginnings of frames; when it was as good as empty for a while, the usual one again. That
while grows each time that the ring fills up again soon after.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from analyzer.capture.source import Source
from analyzer.model.payload_cuts import PayloadCut, encode_cut
from analyzer.savefile import blocks

_TICK_S, _SLOWEST_S = 0.01, 0.03
"""A look, with the waking for it, takes some 0.1 ms. 64 MiB take 64 ms to fill at 1 GB/s."""
_BYTES_S = 2_200_000_000
"""what comes in while nobody looks is half a ring at the most at half this rate"""
_MOST_RINGS = 64
"""of more, a look comes less often"""
_LEAST_CALM_NS, _MOST_CALM_NS = 100_000_000, 3_200_000_000
"""so long a ring has to be as good as empty"""
_RELAPSE_NS = 5_000_000_000
"""a ring that fills up again so soon after"""
_LONG = 32
"""blocks of a ring in which frames may wait for those of others: a few always do"""

Keep = Callable[[bytes], None]


class _Watched(Struct):
    """What is remembered of a ring."""

    source: Source
    since_ns: int = 0
    """since the epoch: it is being cut; 0: it is not"""
    calm_since_ns: int = 0
    """on the monotonic clock, as what follows; 0: it is not"""
    calm_ns: int = _LEAST_CALM_NS
    whole_since_ns: int = 0


class Pressure:
    """Looks after the rings that it was told of last, between `start` and `stop`."""

    def __init__(self, cut_bytes: int, keep: Keep) -> None:
        """keep: puts a block into the file, from another thread than that of the capture."""
        self._cut_bytes, self._keep = cut_bytes, keep
        self._sources: Sequence[Source] = ()
        self._watched: dict[int, _Watched] = {}
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

    def attend(self, sources: Sequence[Source]) -> None:
        """These are the rings from now on."""
        self._sources = tuple(sources)

    def start(self) -> None:
        """Begin to look. Once only; where nothing is to be cut, nothing."""
        if self._cut_bytes and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="pressure", daemon=True)
            self._thread.start()

    def stop(self) -> bytes:
        """Look no more; blocks of what is not over by then."""
        self._ends.set()
        if self._thread:
            self._thread.join()
        return b"".join(self._end(one) for one in self._watched.values() if one.since_ns)

    def look(self, now_ns: int) -> None:
        """Cut, or cut no longer. ``now_ns``: the monotonic clock."""
        for source in self._sources:
            watched = self._watched.setdefault(source.number, _Watched(source))
            if not watched.since_ns:
                if source.hears and source.ring.waits(_high(source)):
                    self._begin(watched, now_ns)
            elif _is_over(watched, now_ns):
                watched.whole_since_ns = now_ns
                source.press(on=False)
                self._keep(self._end(watched))

    def _run(self) -> None:
        while not self._ends.wait(self._tick_s()):
            self.look(time.monotonic_ns())

    def _tick_s(self) -> float:
        """How long until the next look."""
        many = max(1.0, len(self._sources) / _MOST_RINGS)
        if any(one.ring.waits(_high(one) // 2) for one in self._sources):
            return many * _TICK_S
        least = min((one.ring.settings.size for one in self._sources), default=1 << 30)
        return many * min(_SLOWEST_S, max(_TICK_S, least / _BYTES_S))

    def _begin(self, watched: _Watched, now_ns: int) -> None:
        if not watched.source.press(on=True):
            return
        soon = watched.whole_since_ns and now_ns - watched.whole_since_ns < _RELAPSE_NS
        watched.calm_ns = min(2 * watched.calm_ns, _MOST_CALM_NS) if soon else _LEAST_CALM_NS
        watched.calm_since_ns, watched.since_ns = 0, time.time_ns()
        watched.source.cut_times += 1
        self._keep(self._block(watched, None))

    def _end(self, watched: _Watched) -> bytes:
        until_ns = max(time.time_ns(), watched.since_ns)
        block = self._block(watched, until_ns)
        watched.source.cut_ns += until_ns - watched.since_ns
        watched.since_ns = 0
        return block

    def _block(self, watched: _Watched, until_ns: int | None) -> bytes:
        netns = watched.source.ring.netns
        cut = PayloadCut(netns, self._cut_bytes, watched.since_ns, until_ns)
        return blocks.own(encode_cut(cut))


def _is_over(watched: _Watched, now_ns: int) -> bool:
    """Whether the ring was as good as empty for long enough, or nothing more comes in."""
    source = watched.source
    if source.ring.waits(_low(source) + 1):
        watched.calm_since_ns = 0
        return False
    watched.calm_since_ns = watched.calm_since_ns or now_ns
    return not source.hears or now_ns - watched.calm_since_ns >= watched.calm_ns


def _high(source: Source) -> int:
    """So many blocks are too many."""
    count = source.ring.settings.block_count
    return max(8, count // 8) if count >= _LONG else max(2, count // 2)


def _low(source: Source) -> int:
    """So many are as good as none."""
    count = source.ring.settings.block_count
    return max(4, count // 16) if count >= _LONG else 0
