"""Frames of interfaces of which nobody has told yet what they are.

A new container's veth is heard before netlink has told of it: the ring is not bound to an
interface. So its first frames get a provisional interface id, behind those of the file, and
wait. As soon as the interface is introduced they get its id; when it turns out to be none of
ours they go.

For `HOLD_NS` everything waits with them, so that the file keeps the kernel's order; then they
are set aside, and come late into the file. When it speaks again everything waits again: a
container is made some time before its first words, and introduced just after them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from msgspec import Struct, field

from analyzer.capture.encode import Bytes, Counters, Ints
from analyzer.capture.merge import Staging, uncount_blocks
from analyzer.capture.source import Source

HOLD_NS = 100_000_000
"""how long all frames wait for the introduction of one interface: half of what a reader may wait"""
EXPIRES_NS = 5_000_000_000
"""nobody knows it by then: it is ignored"""
_ASIDE_BYTES = 4 << 20
"""kept of all pending interfaces while they are set aside; a new container says little"""

Key: TypeAlias = tuple[int, int]
"""(number of the source, ifindex)"""


class PendingInterface(Struct):
    """An interface that was met in a ring."""

    source: Source
    ifindex: int
    since_ns: int
    """on the monotonic clock"""
    waits_ns: int
    """since when its frames wait in the staging; 0 where there are none"""
    frames: int = 0
    """how many of it were set aside so far"""
    aside: list[Bytes] = field(default_factory=list)
    """its blocks that did not wait in the staging any longer"""

    @property
    def key(self) -> Key:
        return (self.source.number, self.ifindex)


class Resolved(Struct, frozen=True):
    """A pending interface of which somebody has told what it is."""

    row: int
    """its interface id until now"""
    identifier: int
    """the one it gets; −1 where it is ignored"""
    interface: PendingInterface


class PendingInterfaces:
    """The k-th of them has the interface id ``first`` + k; `first` is that after the file's."""

    def __init__(self) -> None:
        self.first = 0
        self._met: list[PendingInterface] = []

    def __iter__(self) -> Iterator[PendingInterface]:
        return iter(self._met)

    def meet(self, source: Source, ifindex: int, now_ns: int) -> None:
        """A frame of an unknown interface is next in the source's ring."""
        source.meet(ifindex, self.first + len(self._met))
        self._met.append(PendingInterface(source, ifindex, now_ns, now_ns))

    def patient(self, now_ns: int, counters: Counters) -> bool:
        """Whether all frames should still wait for an introduction."""
        for row, one in enumerate(self._met, self.first):
            if not one.waits_ns and int(counters[row, 0]) > one.frames:
                one.waits_ns = now_ns
        return any(one.waits_ns and now_ns - one.waits_ns < HOLD_NS for one in self._met)

    def set_aside(self, staging: Staging, counters: Counters) -> None:
        """Let the others' frames go; what is beyond the room for them is not counted."""
        room = _ASIDE_BYTES - sum(len(part) for one in self._met for part in one.aside)
        for row, one in enumerate(self._met, self.first):
            part = staging.set_aside(row)
            if len(part) <= room:
                one.aside += [part] if len(part) else []
                room -= len(part)
            else:
                before = int(counters[row, 0])
                uncount_blocks(part, counters)
                one.source.skip(before - int(counters[row, 0]))
            one.waits_ns, one.frames = 0, int(counters[row, 0])

    def resolve(
        self, known: Callable[[PendingInterface], int | None], fresh: int
    ) -> tuple[Ints, list[Resolved]]:
        """Some are known now. known: its new interface id, −1 for unwanted, None for not yet.

        fresh: how many interfaces the file has more than before. Returns the new id of each
        old one, for the staging and the counters, and those that are pending no longer.
        """
        rest: list[PendingInterface] = []
        resolved: list[Resolved] = []
        rows: list[int] = []
        for old, one in enumerate(self._met, self.first):
            identifier = known(one)
            if identifier is None:
                rows.append(self.first + fresh + len(rest))
                rest.append(one)
            else:
                rows.append(identifier)
                resolved.append(Resolved(old, identifier, one))
        every = np.concatenate([np.arange(self.first), np.array(rows, np.int64)])
        self.first += fresh
        self._met = rest
        for source in {one.source.number: one.source for one in rest}.values():
            source.renumber(every)
        return every, resolved

    def __len__(self) -> int:
        return len(self._met)
