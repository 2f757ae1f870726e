"""The distance between two clocks: what setting one of them does to it, and what does not."""

from __future__ import annotations

import time
from itertools import count

from analyzer.capture.clock import clock_offset_ns

S = 1_000_000_000


class Clocks:
    """Both clocks; each reading takes a while, now and then a long one."""

    def __init__(self, ahead_ns: int, delays_ns: list[int]) -> None:
        self.now_ns, self.ahead_ns = 1_000 * S, ahead_ns
        self._delays = (delays_ns[n % len(delays_ns)] for n in count())

    def read(self, number: int) -> int:
        self.now_ns += next(self._delays)
        return self.now_ns + (self.ahead_ns if number == time.CLOCK_REALTIME else 0)


def test_the_closest_pair_counts() -> None:
    """A preempted reading is off by milliseconds, one of the others is not."""
    clocks = Clocks(7 * S, [40, 40, 5_000_000, 40, 40, 40, 40])
    assert abs(clock_offset_ns(clocks.read) - 7 * S) <= 40


def test_time_changes_nothing_and_setting_the_clock_all_of_it() -> None:
    clocks = Clocks(7 * S, [50])
    before = clock_offset_ns(clocks.read)
    clocks.now_ns += 3_600 * S
    assert abs(clock_offset_ns(clocks.read) - before) <= 100
    clocks.ahead_ns += 3_600 * S
    assert abs(clock_offset_ns(clocks.read) - before - 3_600 * S) <= 100


def test_the_machines_own_clocks_agree_with_themselves() -> None:
    assert abs(clock_offset_ns() - clock_offset_ns()) < 1_000_000
