"""One ring with the vantages that it serves: which interface is which in the file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from analyzer.capture import bpf, encode
from analyzer.capture.ring import Ring
from analyzer.capture.stats import RingStats
from analyzer.errors import UsageProblem
from analyzer.model.vantage import Role, Vantage

_SETTLE_NS = 2_000_000
"""a frame that passed the old filter on another CPU is in the ring by then"""
_ETHERNET_TYPES = (1, 772)
"""ARPHRD_ETHER, ARPHRD_LOOPBACK: frames that start with a MAC header"""


class Source:
    """A ring; ``number`` is what its vantages bear as `Vantage.ring`."""

    def __init__(self, ring: Ring, number: int, program: bpf.Program) -> None:
        """``program``: the user's filter."""
        self.ring = ring
        self.number = number
        self.is_open = True
        self.identifiers: dict[int, int] = {}
        """ifindex → interface id in the file, of all vantages that there ever were"""
        self.live: set[int] = set()
        """ifindexes of those that still exist"""
        self.table = encode.build_table({})
        self._program = program
        self._hushed_ns: int | None = None
        ring.attach(bpf.NOTHING)

    def admit(self, vantages: Sequence[Vantage], first: int, promiscuous: bool) -> list[Vantage]:
        """Take vantages in; ``first`` is the file's next interface id.

        Returns them with ``ring`` and ``promiscuous`` as they really are. Raises UsageProblem
        where an interface does not exist or has no Ethernet frames.
        """
        for vantage in vantages:
            _check(self.ring, vantage)
        fresh = {vantage.ifindex: first + place for place, vantage in enumerate(vantages)}
        self.ring.attach(self._filter(self.live | fresh.keys()))
        self.identifiers |= fresh
        self.live |= fresh.keys()
        self.table = encode.build_table(self.identifiers)
        return [self._as_captured(vantage, promiscuous) for vantage in vantages]

    def dismiss(self, ifindexes: set[int]) -> None:
        """Interfaces that are gone; what the ring holds of them is still theirs."""
        self.live -= ifindexes
        if self.live:
            self.ring.attach(self._filter(self.live))
        else:
            self.hush()

    def hush(self) -> None:
        """Let no frame in any more, so that the ring can be drained."""
        if self.is_open and self._hushed_ns is None:
            self.ring.attach(bpf.NOTHING)
            self._hushed_ns = time.monotonic_ns()

    @property
    def hushed(self) -> bool:
        return self._hushed_ns is not None and self.is_open

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
        return RingStats(ring.netns, ring.received, ring.dropped, int(ring.cursor[encode.SKIPPED]))

    def _filter(self, ifindexes: set[int]) -> bpf.Program:
        return bpf.for_interfaces(sorted(ifindexes), self._program)

    def _as_captured(self, vantage: Vantage, promiscuous: bool) -> Vantage:
        heard = vantage.promiscuous
        if vantage.role == Role.BRIDGE and promiscuous:
            heard = self.ring.be_promiscuous(vantage.ifindex) or heard
        return replace(vantage, ring=self.number, promiscuous=heard)


def _check(ring: Ring, vantage: Vantage) -> None:
    name = ring.interface_name(vantage.ifindex)
    try:
        kind = None if name is None else ring.hardware_type(name)
    except OSError:
        kind = None
    if kind is None:
        raise UsageProblem(
            f"{vantage.name}: no interface {vantage.interface} (ifindex {vantage.ifindex}) in its "
            "network namespace any more; see vethscope topology and run again"
        )
    if kind not in _ETHERNET_TYPES:
        raise UsageProblem(
            f"{vantage.name}: its frames are not Ethernet (ARPHRD type {kind}); leave it out"
        )
