"""Record the kernel's drops while a capture runs: tracepoints, read from their binary rings.

``skb:kfree_skb`` fires for dropped packets only and tells reason and place; ``OTHERHOST``, which
a promiscuous bridge makes of every frame that it passes up to the capture, is left out in the
kernel: that a frame was for another MAC is seen in the frame itself. ``net:netif_receive_skb``
ties a drop to its frame, and ``irq:softirq_exit`` tells when the work on a frame has ended; two
events of ``neigh`` tell for whom a packet waited that never left. ``netif_receive_skb`` fires for
every frame, so what it listens to depends on how many there are: all of them, lo's and those of
other namespaces too, because another frame's drop must not be taken for a captured one's; of more
than `BUSY_FRAMES_S`, only the host's ends of what is captured (every container's interface is
called eth0, captured or not), which proves less; of still more, none for a while. The file tells
these spans.

The trace's clock is TAI where the kernel has it, which differs from the time of day, in which
frames are stamped, by whole seconds; else the monotonic clock, compared at every reading.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from analyzer.errors import EnvironmentProblem
from analyzer.net.capabilities import Capability, keep_nothing, keep_only
from analyzer.net.privsep import monitor_of
from analyzer.recorders.drops.attention import ALL, Attention
from analyzer.recorders.drops.formats import parse_format
from analyzer.recorders.drops.neighbours import name_neighbours
from analyzer.recorders.drops.page_layout import (
    LOST,
    MOST_PENDING,
    NEIGHBOUR,
    OUT,
    RECEIVED,
    STATE,
    TALLY,
    WHOLE,
)
from analyzer.recorders.drops.pages import SMALLEST_EVENT, name_words, walk_page, warm
from analyzer.recorders.drops.patience import CALM_S, RING_PERCENT, Patience
from analyzer.recorders.drops.prepare import (
    DROP,
    RECEIVE,
    build_layout,
    choose_clock,
    drop_filter,
    listen_to_neighbours,
    listen_to_softirqs,
    receive_filter,
    ring_kib,
)
from analyzer.recorders.drops.record import Drops, encode_drops
from analyzer.recorders.drops.rows import Naming, build_rows, device_name, name_tally
from analyzer.recorders.drops.symbols import read_symbols
from analyzer.recorders.drops.ties import Tables
from analyzer.recorders.drops.tracefs import Instance, SteerTracing, Tracefs

ROWS_PER_BLOCK = 16_384
"""half a megabyte; readers refuse blocks of more than sixteen"""
_PAGE_KIB = 64
_TALLIES = 128
"""kinds of drops without a frame that are told apart"""
_NEIGHBOURS = 256
"""next hops that are told apart in half a second"""


class DropWatch:
    """A context manager: records from its entry on, until `stop`; `take` gives what there is."""

    def __init__(
        self,
        host: Sequence[str],
        bridges: Sequence[str] = (),
        notify: Callable[[], None] | None = None,
    ) -> None:
        """host: names of the host's captured interfaces: of too many frames, theirs are heard.

        bridges: those that captured ports belong to. notify: called, in a thread of ours, when
        there is something to `take`.
        """
        self._notify = notify or (lambda: None)
        self._ours = receive_filter([*host, *bridges])
        self._bridges = name_words(bridges)
        self._tracefs: Tracefs
        self._instance: Instance | None = None
        self._rings: dict[int, int] = {}
        self._naming: Naming
        self._blocks: list[bytes] = []
        self._lock = threading.Lock()
        self._patience: Patience
        self._thread = threading.Thread(target=self._run, name="drops", daemon=True)
        self._bare = threading.Event()
        self._failure = ""
        self._attention: Attention
        self._told_lost = 0
        self._counted_ns = 0

    def open(self) -> DropWatch:
        """Begin to record. Raises EnvironmentProblem; then nothing is left behind."""
        warm()  # not while the kernel fills the rings
        self._tracefs = Tracefs()
        self._patience = Patience()
        try:
            self._tracefs.clean()
            self._instance = self._tracefs.instance()
            self._prepare(self._instance)
        except (OSError, ValueError) as error:
            self.close()
            raise EnvironmentProblem(
                f"this kernel's drop events are unreadable: {error}"
            ) from error
        except BaseException:
            self.close()
            raise
        self._counted_ns = time.time_ns()
        self._store(Drops(clock=self._naming.clock_now()))  # that drops are recorded at all
        self._thread.start()
        self._bare.wait()
        return self

    def stop(self) -> None:
        """Record no more and read what is left; `take` has the rest then."""
        self._patience.end()
        if self._thread.is_alive():
            self._thread.join()

    def close(self) -> None:
        """Stop, and leave nothing behind."""
        self.stop()
        for fd in self._rings.values():
            os.close(fd)
        self._rings = {}
        self._patience.close()
        if self._instance:
            self._instance.close()
            self._instance = None
        self._tracefs.close()

    def take(self) -> list[bytes]:
        """The data of blocks for the file, recorded since the last call. Safe in threads."""
        with self._lock:
            blocks, self._blocks = self._blocks, []
        return blocks

    @property
    def failure(self) -> str:
        """Why recording ended before its time; '' where it did not."""
        return self._failure

    def __enter__(self) -> DropWatch:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self, instance: Instance) -> None:
        """Clock, sizes, filters, layout; then switch the events on."""
        clock = choose_clock(instance)
        with contextlib.suppress(OSError):  # Linux 6.8; without, pages of 4 KiB
            instance.write("buffer_subbuf_size_kb", str(_PAGE_KIB))
        instance.write("buffer_size_kb", str(ring_kib(os.cpu_count() or 1)))
        drop = parse_format(instance.read(f"{DROP}/format"))
        receive = parse_format(instance.read(f"{RECEIVE}/format"))
        ends = listen_to_softirqs(instance)
        neighbours = listen_to_neighbours(instance)
        page = instance.read("events/header_page")
        self._layout = layout = build_layout(page, drop, receive, ends, neighbours)
        self._naming = Naming(read_symbols(), drop.symbols, clock)
        with contextlib.suppress(OSError):  # Linux 5.0
            instance.write("buffer_percent", str(RING_PERCENT))
        self._rings = instance.open_rings()
        self._patience.watch(self._rings.values())
        self._state = {cpu: np.zeros(STATE, np.uint64) for cpu in self._rings}
        self._page = np.zeros(_PAGE_KIB << 10, np.uint8)
        per_page = len(self._page) // SMALLEST_EVENT
        self._tally = np.zeros((_TALLIES, TALLY), np.uint64)
        self._neighbours = np.zeros((_NEIGHBOURS, NEIGHBOUR), np.uint64)
        self._out = np.zeros((ROWS_PER_BLOCK + per_page + MOST_PENDING, OUT), np.uint64)
        self._tables = {
            cpu: Tables(
                layout=layout,
                state=state,
                out=self._out,
                tally=self._tally,
                pending=np.zeros((MOST_PENDING, OUT), np.uint64),
                bridges=self._bridges,
                neighbours=self._neighbours,
            )
            for cpu, state in self._state.items()
        }
        instance.write(f"{DROP}/filter", drop_filter(drop))
        self._attention = Attention(instance, self._ours)
        self._listen(ALL)
        self._all_are_heard()
        instance.write(f"{DROP}/enable", "1")

    def _all_are_heard(self) -> None:
        """From here on the rings hold the frames of all devices: what is in none is no frame."""
        for state in self._state.values():
            state[WHOLE] = 1

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            if monitor_of(SteerTracing):
                keep_nothing()
            else:
                keep_only({Capability.DAC_OVERRIDE})
        self._bare.set()
        try:
            last = stored = time.monotonic()
            while self._patience.sleep(calm=self._attention.calm):
                self._poll()
                last = self._breathe(last)
                if last - stored > CALM_S:
                    self._keep_counts()
                    stored = last
            self._quieten()
            self._poll()
            self._keep_counts()
        except OSError as error:
            self._failure = f"drops are not recorded any more: {error.strerror}"

    def _quieten(self) -> None:
        assert self._instance
        self._instance.write("tracing_on", "0")
        self._tell_level()

    def _poll(self) -> None:
        """Read all rings once, in whole pages and parts of them."""
        for cpu, fd in self._rings.items():
            row = 0
            while True:
                try:
                    used = os.readv(fd, [self._page.data])
                except BlockingIOError:
                    break
                if not used:
                    break
                row = walk_page(self._page, used, self._tables[cpu], row)
                if row >= ROWS_PER_BLOCK:
                    self._keep(cpu, row)
                    row = 0
            self._keep(cpu, row)
        if self._attention.level == ALL:
            self._all_are_heard()

    def _keep(self, cpu: int, rows: int) -> None:
        if rows:
            self._store(build_rows(self._out[:rows], cpu, self._naming))

    def _keep_counts(self, deaf: Sequence[tuple[int, int, int]] = ()) -> None:
        """A block without rows: what was counted since the last one."""
        lost = sum(int(state[LOST]) for state in self._state.values())
        alone = name_tally(self._tally, self._naming)
        neighbours = name_neighbours(self._neighbours, self._layout, device_name)
        span_ns, self._counted_ns = (self._counted_ns, time.time_ns()), time.time_ns()
        if alone or deaf or lost > self._told_lost:
            newly_lost = lost - self._told_lost
            self._store(
                Drops(
                    alone=alone,
                    alone_ns=span_ns,
                    neighbours=neighbours,
                    lost=newly_lost,
                    deaf_ns=list(deaf),
                )
            )
        self._told_lost = lost
        self._tally[:] = self._neighbours[:] = 0

    def _store(self, drops: Drops) -> None:
        with self._lock:
            self._blocks.append(encode_drops(drops))
        self._notify()

    def _breathe(self, last: float) -> float:
        """Listen to fewer frames while there are too many; returns the time now."""
        now = time.monotonic()
        received = sum(int(state[RECEIVED]) for state in self._state.values())
        level = self._attention.judge(received, now - last)
        if level != self._attention.level:
            self._tell_level()
            self._listen(level)
        return now

    def _tell_level(self) -> None:
        """Keep since when not all frames were listened to."""
        attention = self._attention
        if attention.level != ALL:
            self._keep_counts([(attention.since_ns, time.time_ns(), attention.level)])

    def _listen(self, level: int) -> None:
        for state in self._state.values():
            state[WHOLE] = 0
        self._attention.listen(level)
