"""One ring with the vantages that it serves: which interface is which in the file."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock

from msgspec.structs import replace

from analyzer.capture import bpf, encode
from analyzer.capture.bpf_payload import Lengths, keep
from analyzer.capture.options import CaptureOptions
from analyzer.capture.ring import Ring
from analyzer.capture.stats import RingStats
from analyzer.errors import CaptureError, UsageProblem
from analyzer.model.vantage import Role, Vantage

_SETTLE_NS = 2_000_000
"""a frame that passed the old filter on another CPU is in the ring by then"""
_OVERDUE_NS = 250_000_000
_GONE_NS = 5_000_000_000
"""many times what a frame waits in a ring once it is looked at"""
_ETHERNET_TYPES = (1, 772)
"""ARPHRD_ETHER, ARPHRD_LOOPBACK: frames that start with a MAC header"""


AT_ONCE = 32
"""rings opened or closed side by side: in each the kernel waits some 20 ms for its other CPUs
(synchronize_net in net/packet/af_packet.c), and the waits are shared"""


class Source:
    """A ring; ``number`` is what its vantages bear as `Vantage.ring`."""

    def __init__(
        self, ring: Ring, number: int, program: bpf.Program, newer_than: int | None = None
    ) -> None:
        """``program``: the user's filter.

        ``newer_than``: hear all interfaces with a greater index too; each is pending when it is
        first met. Raises CaptureError.
        """
        self.ring = ring
        self.number = number
        self.is_open = True
        self.identifiers: dict[int, int] = {}
        """ifindex → interface id in the file, of its vantages; of those that are gone until nothing
        of them can be in the ring any more"""
        self._gone: dict[int, int] = {}
        """ifindex → when it was gone, on the monotonic clock"""
        self._ever = 0
        """vantages that there were"""
        self.live: set[int] = set()
        """ifindexes of those that still exist"""
        self.pending: dict[int, int] = {}
        """ifindex → provisional interface id of those of which nobody has told yet what they are"""
        self.ignored: set[int] = set()
        """ifindexes of newcomers that are not wanted"""
        self.table = encode.build_table({})
        self._newer_than = newer_than
        self._program = program
        self._lengths: Lengths | None = None
        """what is kept of a frame; None: whole frames"""
        self._pressed = False
        """whether all frames are cut, for want of room"""
        self._attaching = Lock()
        """another thread may `press`: sets are replaced, never changed"""
        self._heard: Collection[int] = ()
        """ifindexes that the filter lets pass"""
        self.cut_times, self.cut_ns = 0, 0
        """how often that was, and for how long in all"""
        self._hushed_ns: int | None = None
        if self.curious:
            ring.cursor[encode.CURIOUS] = 1
            self._attach(self.live)

    def admit(
        self, vantages: Sequence[Vantage], first: int, options: CaptureOptions
    ) -> list[Vantage]:
        """Take vantages in; ``first`` is the file's next interface id.

        Returns them with ``ring``, ``promiscuous`` and ``cut_bytes`` as they really are. Raises
        UsageProblem where an interface does not exist, unless the ring may have heard it before it
        went, or where it has no Ethernet frames.
        """
        for vantage in vantages:
            _check(self.ring, vantage, lenient=self.curious or self.ring.listens)
        fresh = {vantage.ifindex: first + place for place, vantage in enumerate(vantages)}
        self.ignored = self.ignored - fresh.keys()
        self._attach(self.live | fresh.keys())
        self.identifiers |= fresh
        self._ever += len(fresh)
        self._gone = {i: ns for i, ns in self._gone.items() if i not in fresh}
        self.live = self.live | fresh.keys()
        self.pending = {i: row for i, row in self.pending.items() if i not in fresh}
        self._tabulate()
        return [self._as_captured(vantage, options) for vantage in vantages]

    @property
    def alone(self) -> bool:
        """Whether all frames of the ring are one vantage's."""
        return self._ever == 1 and not self.curious

    @property
    def curious(self) -> bool:
        return self._newer_than is not None

    def meet(self, ifindex: int, row: int) -> None:
        """Give the frames of an unknown interface a provisional id."""
        self.pending[ifindex] = row
        self._tabulate()

    def renumber(self, rows: encode.Ints) -> None:
        """The ids of pending interfaces are others now: rows[old] is the new one."""
        self.pending = {ifindex: int(rows[row]) for ifindex, row in self.pending.items()}
        self._tabulate()

    def ignore(self, ifindexes: set[int]) -> None:
        """Do not hear these, pending or not; those that are gone need no filter."""
        there = {i for i in ifindexes if self.ring.interface_name(i) is not None}
        fresh = there - self.ignored - self.live
        self.ignored = self.ignored | fresh
        for ifindex in ifindexes:
            self.pending.pop(ifindex, None)
        self._tabulate()
        if fresh:
            self._attach(self.live)

    def dismiss(self, ifindexes: set[int]) -> None:
        """Interfaces that are gone; what the ring holds of them is still theirs."""
        self.live = self.live - ifindexes
        self._gone |= dict.fromkeys(ifindexes & self.identifiers.keys(), time.monotonic_ns())
        if self.live or self.curious:
            self._attach(self.live)
        else:
            self.hush()

    def cut(self, lengths: Lengths | None) -> None:
        """Keep so much of a frame from now on; where the kernel cannot take that, whole frames."""
        if self.hushed or lengths == self._lengths:
            return
        self._lengths = lengths
        try:
            self._attach(self.live)
        except (UsageProblem, CaptureError):
            self._lengths = None
            self._attach(self.live)

    def press(self, *, on: bool) -> bool:
        """Cut all frames, or no longer; whether that is so now. Safe in threads."""
        self._pressed = on
        with suppress(UsageProblem, CaptureError, OSError):
            self._attach()
            return self._lengths is not None
        return False

    def skip(self, frames: int) -> None:
        """Frames that were walked and turned out to be nobody's."""
        self.ring.cursor[encode.SKIPPED] += frames

    def forget(self, ifindexes: set[int]) -> None:
        """Ignored interfaces that are gone: their indexes need not be remembered."""
        self.ignored = self.ignored - ifindexes

    def hush(self) -> None:
        """Let no frame in any more, so that the ring can be drained."""
        with self._attaching:
            if self.is_open and self._hushed_ns is None:
                self.ring.attach(bpf.NOTHING)
                self._hushed_ns = time.monotonic_ns()

    @property
    def hushed(self) -> bool:
        return self._hushed_ns is not None and self.is_open

    @property
    def hears(self) -> bool:
        """Whether every frame of its vantages comes in."""
        return self.is_open and self.ring.listens and self._hushed_ns is None

    def overdue(self, now_ns: int) -> bool:
        """Whether it was hushed so long ago that its frames should not wait in the ring longer."""
        return self._hushed_ns is not None and now_ns - self._hushed_ns > _OVERDUE_NS

    def drained(self, now_ns: int) -> bool:
        """Whether everything that came before `hush` was walked, or half a second has passed."""
        if self._hushed_ns is None:
            return False
        self.ring.count()
        age = now_ns - self._hushed_ns
        patience = max(500, 10 * self.ring.settings.retire_ms) * 1_000_000
        return (age > _SETTLE_NS and self.ring.drained) or age > patience

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self.ring.count()
            self.ring.close()

    def stats(self) -> RingStats:
        ring = self.ring
        unclaimed = int(ring.cursor[encode.SKIPPED])
        cut = self.cut_times, self.cut_ns
        return RingStats(ring.netns, ring.received, ring.dropped, unclaimed, *cut)

    def _attach(self, ifindexes: Collection[int] | None = None) -> None:
        """Hear these from now on; None: the same as before. Raises UsageProblem, CaptureError."""
        with self._attaching:
            if self._hushed_ns is not None:
                return
            wanted = sorted(self._heard if ifindexes is None else ifindexes)
            then, lengths = self._program, self._lengths
            if lengths:
                then = keep(then, lengths._replace(everywhere=lengths.everywhere or self._pressed))
            filter_ = bpf.for_interfaces(wanted, then, self._newer_than, sorted(self.ignored))
            self.ring.attach(filter_)
            self._heard = wanted

    def _tabulate(self) -> None:
        now_ns = time.monotonic_ns()
        for ifindex in [i for i, ns in self._gone.items() if now_ns - ns > _GONE_NS]:
            del self._gone[ifindex], self.identifiers[ifindex]
        ignored = dict.fromkeys(self.ignored, encode.IGNORED)
        self.table = encode.build_table({**ignored, **self.pending, **self.identifiers})

    def _as_captured(self, vantage: Vantage, options: CaptureOptions) -> Vantage:
        heard = vantage.promiscuous
        if vantage.role == Role.BRIDGE and options.promiscuous:
            heard = self.ring.be_promiscuous(vantage.ifindex) or heard
        return replace(vantage, ring=self.number, promiscuous=heard, cut_bytes=options.cut_bytes)


def close_all(those: Collection[Ring | Source]) -> None:
    """Close them side by side."""
    if not those:
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(one.close) for one in those]:
            done.result()


def _check(ring: Ring, vantage: Vantage, *, lenient: bool) -> None:
    name = ring.interface_name(vantage.ifindex)
    try:
        kind = None if name is None else ring.hardware_type(name)
    except OSError:
        kind = None
    if kind is None and not lenient:
        raise UsageProblem(
            f"{vantage.name}: no interface {vantage.interface} (ifindex {vantage.ifindex}) in its "
            "network namespace any more; see vethscope topology and run again"
        )
    if kind is not None and kind not in _ETHERNET_TYPES:
        raise UsageProblem(
            f"{vantage.name}: its frames are not Ethernet (ARPHRD type {kind}); leave it out"
        )
