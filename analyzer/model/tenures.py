"""Who bears a MAC or an address, and when: a name is never a MAC's or an address's alone.

Engines give what a container had to the next one as soon as it ended, and a network that is
disconnected and connected again brings both back. Each interface that was there is a `Life`; what
it bears is a `Tenure` from its first sign of life on. Of two that bear the same one after the
other, the first one's ends where the second one's begins; of two that bear it at the same time,
nobody can say who is meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

FOREVER_NS = (1 << 63) - 1

Borne = tuple[int, Any]
"""a realm, and what is unique in it: (segment, MAC), (site, address)"""


class Life(NamedTuple):
    """When one interface was there, ns since the epoch."""

    from_ns: int = 0
    """its first sign of life; 0: it was there before the capture"""
    seen_ns: int = FOREVER_NS
    """its last sign of life: nothing tells that it was there any longer"""
    until_ns: int = FOREVER_NS
    """when it vanished, as far as it is known to have"""


class Tenure(NamedTuple):
    """Somebody bears something for a time."""

    owner: str
    life: Life


class Tenures(Struct):
    """What is borne → by whom and when. What nobody else ever bore is its bearer's at any time."""

    _of: dict[Borne, list[Tenure]] = field(default_factory=dict)
    _settled: dict[Borne, list[Tenure]] = field(default_factory=dict)

    def add(self, key: Borne, owner: str, life: Life) -> None:
        """An interface of ``owner`` bears ``key``, a MAC or an address in its realm."""
        self._of.setdefault(key, []).append(Tenure(owner, life))
        self._settled.pop(key, None)

    def __iter__(self) -> Iterator[Borne]:
        return iter(self._of)

    def __contains__(self, key: Borne) -> bool:
        return key in self._of

    def at(self, key: Borne, ns: int) -> set[str]:
        """Who bears it at a time; of those who have it no more, the last one."""
        tenures = self._in_turn(key)
        now = {one.owner for one in tenures if one.life.from_ns <= ns < one.life.until_ns}
        if now or not tenures:
            return now
        before = [one for one in tenures if one.life.from_ns <= ns]
        nearest = max(before, key=lambda one: one.life.until_ns) if before else tenures[0]
        return {nearest.owner}

    def alive(self, key: Borne, ns: int) -> set[str]:
        """Who bears it at a time, and showed itself then or later."""
        tenures = self._in_turn(key)
        return {one.owner for one in tenures if one.life.from_ns <= ns <= one.life.seen_ns}

    def at_once(self, key: Borne) -> set[str]:
        """Those who bear it at the same time as somebody else."""
        tenures = self._in_turn(key)
        return {
            one.owner
            for one in tenures
            if any(other.owner != one.owner and _overlap(one.life, other.life) for other in tenures)
        }

    def changes(self, key: Borne) -> npt.NDArray[np.int64]:
        """When the answer for a key may change, in order, after a 0; only that where it has one
        bearer."""
        tenures = self._in_turn(key)
        stamps: set[int] = set()
        if len({one.owner for one in tenures}) > 1:
            stamps = {s for one in tenures for s in (one.life.from_ns, one.life.until_ns)}
        return np.array([0, *sorted(stamps - {0, FOREVER_NS})], np.int64)

    def handed_on(self, key: Borne) -> npt.NDArray[np.int64]:
        """When it passed from one bearer to another, in order, after a 0: not where it was given up
        only, nor where two have it at once."""
        stamps, bearer = [0], self.at(key, 0)
        for ns in self.changes(key)[1:].tolist():
            now = self.at(key, ns)
            if len(now) == 1 == len(bearer) and now != bearer:
                stamps.append(ns)
            bearer = now if len(now) == 1 else bearer
        return np.array(stamps, np.int64)

    def contested(self) -> Iterator[Borne]:
        """What changes its bearer."""
        return (key for key, held in self._of.items() if held[1:] and len(self.changes(key)) > 1)

    def all_changes(self) -> npt.NDArray[np.int64]:
        """When the answer for any key may change, in order, after a 0."""
        stamps = [self.changes(key) for key in self.contested()]
        return np.unique(np.concatenate([np.zeros(1, np.int64), *stamps]))

    def _in_turn(self, key: Borne) -> list[Tenure]:
        """In order of their beginnings, each ended where its successor begins."""
        if key not in self._settled:
            tenures = sorted(self._of.get(key, ()), key=lambda one: one.life.from_ns)
            self._settled[key] = [_ended(one, tenures) for one in tenures]
        return self._settled[key]


def _overlap(one: Life, other: Life) -> bool:
    return one.from_ns < other.until_ns and other.from_ns < one.until_ns


def _ended(tenure: Tenure, others: list[Tenure]) -> Tenure:
    """The same, ended where another began that came after its last sign of life."""
    owner, life = tenure
    begins = (other.life.from_ns for other in others if other.owner != owner)
    next_ns = min((ns for ns in begins if ns > life.seen_ns), default=FOREVER_NS)
    return tenure._replace(life=life._replace(until_ns=min(life.until_ns, next_ns)))
