"""What is counted of a file does not take longer for all that there ever was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from analyzer.capture.counting import Counting
from analyzer.capture.stats import RingStats
from analyzer.model.vantage import Role, Vantage


class Source:
    """A ring that received and dropped; counts how often it is asked."""

    def __init__(self, number: int, asked: list[int]) -> None:
        self.number, self._asked, self.alone = number, asked, True
        self.ring = SimpleNamespace(received=10, dropped=2)

    def stats(self) -> RingStats:
        self._asked.append(self.number)
        return RingStats(self.number, self.ring.received, self.ring.dropped, 0)


def made(ever: int, described: list[int], living: list[int], asked: list[int]) -> Any:
    """A rotating capture of so many vantages, each with a ring of its own."""
    sources = [Source(number, asked) for number in range(ever)]
    vantages = [Vantage(f"v{n}", "eth0", Role.CONTAINER, ring=n) for n in range(ever)]
    roster = SimpleNamespace(
        vantages=vantages,
        sources=sources,
        begun={},
        ended={},
        complete_ns=0,
        open_sources=[sources[n] for n in living],
        source_of=lambda number: sources[number],
    )
    ids = np.full(ever, -1)
    ids[described] = np.arange(len(described))
    writer = SimpleNamespace(
        head=SimpleNamespace(ids=ids),
        in_file=np.full((ever, 2), 8),
        complete_until=lambda start_ns, _waiting: start_ns + 1,
    )
    recorder = SimpleNamespace(writer=writer, waiting=False)
    return Counting(roster, recorder, rotates=True), roster, writer  # type: ignore[arg-type]


def test_only_what_is_described_in_a_file_is_counted() -> None:
    asked: list[int] = []
    counting, _, _ = made(5_000, [7, 4_000, 4_999], [4_000, 4_999], asked)
    stats = counting.end_file()
    assert sorted(stats.vantages) == [0, 1, 2]
    assert sorted(stats.rings) == sorted(asked) == [7, 4_000, 4_999]
    assert [one.dropped for one in stats.vantages.values()] == [2, 2, 2]


def test_the_next_file_has_what_came_since() -> None:
    counting, roster, writer = made(4, [0, 1, 2], [1, 2], [])
    counting.end_file()
    roster.sources[1].ring.received += 5
    roster.sources[1].ring.dropped += 1
    roster.sources.append(Source(4, []))  # newly opened
    roster.vantages.append(Vantage("v4", "eth0", Role.CONTAINER, ring=4))
    writer.head.ids = np.array([0, 1, 2, -1, 3])  # of 0, closed before, frames turned up
    writer.in_file = np.full((5, 2), 4)
    roster.open_sources = [roster.sources[n] for n in (1, 2, 4)]
    rings = counting.of_file().rings
    assert {n: (one.received, one.dropped) for n, one in rings.items()} == {
        0: (0, 0),
        1: (5, 1),
        2: (0, 0),
        4: (10, 2),
    }
    assert sorted(counting.of_file([4]).vantages) == [3]
