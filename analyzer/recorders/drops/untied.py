"""Drops that belong to no packet of the capture, by kind: how many, when the first and the last.

The kernel does not say in which namespace, or at which device, a packet was dropped: they were
dropped anywhere on this machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from msgspec import Struct, field

MOST = 4096
"""kinds that are told apart"""

Kind = tuple[str, str, int]
"""reason, place in the kernel's code, EtherType"""
Neighbour = tuple[str, str, str]
"""reason, device, address of the next hop"""
K = TypeVar("K", Kind, Neighbour)


class UntiedDrop(NamedTuple):
    """Drops of one kind."""

    reason: str
    location: str
    ethertype: int
    packets: int
    first_ns: int
    """no earlier; 0: not known"""
    last_ns: int
    """no later"""


class TimedCounts(Struct, Generic[K]):
    """Counts, kind by kind, and when the first and the last were counted."""

    _counts: Counter[K] = field(default_factory=Counter)
    _spans: dict[K, tuple[int, int]] = field(default_factory=dict)

    def add(self, kind: K, packets: int, first_ns: int, last_ns: int) -> None:
        """first_ns: 0 where it is not known."""
        if kind not in self._counts and len(self._counts) >= MOST:
            return
        first, last = self._spans.get(kind, (first_ns, last_ns))
        self._counts[kind] += packets
        self._spans[kind] = (min(first, first_ns), max(last, last_ns))

    def items(self) -> Iterator[tuple[K, int, tuple[int, int]]]:
        """(kind, packets, span in ns), the most frequent first."""
        for kind, packets in self._counts.most_common():
            yield kind, packets, self._spans[kind]


class UntiedDrops(TimedCounts[Kind]):
    """Counts by reason, place and EtherType."""

    def __iter__(self) -> Iterator[UntiedDrop]:
        """The most frequent kinds first."""
        for kind, packets, span in self.items():
            yield UntiedDrop(*kind, packets, *span)

    def by_reason(self) -> dict[str, int]:
        """Reason → packets, the most first."""
        counts: Counter[str] = Counter()
        for (reason, _, _), packets in self._counts.items():
            counts[reason] += packets
        return dict(counts.most_common())
