"""Order between rings, without a kernel: rings are cursors over hand-made blocks."""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_encode import Raw, a_block

from analyzer.capture import encode
from analyzer.capture.merge import Staging, cut_blocks, uncount_blocks

HOLD_NS = 60_000_000
TABLE = encode.build_table({3: 0, 4: 1})


def fill(staging: Staging, stamps: list[int], ifindex: int = 3, ring: Any = None) -> Any:
    """A block of 60-byte frames of one ring; returns the ring."""
    memory, cursor = a_block([Raw(bytes(60), ifindex=ifindex, ts_ns=ts) for ts in stamps])
    if ring is None:
        ring = SimpleNamespace()
    else:
        cursor[encode.LATEST] = ring.cursor[encode.LATEST]
    ring.memory, ring.cursor = encode.views(memory), cursor
    assert staging.fill(ring, TABLE, np.zeros((2, 2), np.int64), 262144)
    return ring


def stamps_of(blocks: np.ndarray) -> list[tuple[int, int]]:
    """(interface, stamp) of EPBs of 60-byte frames."""
    found = []
    for at in range(0, len(blocks), 104):
        number, high, low = struct.unpack_from("=3I", blocks, at + 8)
        found.append((number, high << 32 | low))
    return found


def test_a_single_ring_waits_for_nobody() -> None:
    staging = Staging(hold_ns=0)
    fill(staging, [5, 3, 9])
    assert stamps_of(staging.take(0)) == [(0, 5), (0, 3), (0, 9)]
    assert not staging.waiting
    assert len(staging.take(1)) == 0


def test_frames_wait_for_those_of_other_rings() -> None:
    staging = Staging(HOLD_NS)
    fill(staging, [10, 30, 50], ifindex=3)
    assert len(staging.take(0)) == 0
    fill(staging, [20, 40, 60], ifindex=4)
    assert len(staging.take(HOLD_NS - 1)) == 0
    due = stamps_of(staging.take(HOLD_NS))
    assert due == [(0, 10), (1, 20), (0, 30), (1, 40), (0, 50)]
    assert staging.waiting
    assert stamps_of(staging.take(2 * HOLD_NS)) == [(1, 60)]
    assert not staging.waiting


def test_within_a_ring_the_kernels_order_stays() -> None:
    """The bridge's copy (stamp 10) comes after the egress port (stamp 12) as the kernel had it."""
    staging = Staging(HOLD_NS)
    fill(staging, [10, 12, 10, 14], ifindex=3)
    fill(staging, [11, 13], ifindex=4)
    found = stamps_of(staging.take(0, everything=True))
    assert [one for one in found if one[0] == 0] == [(0, 10), (0, 12), (0, 10), (0, 14)]
    assert found == [(0, 10), (1, 11), (0, 12), (0, 10), (1, 13), (0, 14)]


def test_what_is_left_behind_is_not_mixed_up() -> None:
    staging = Staging(HOLD_NS)
    fill(staging, [10], ifindex=3)
    staging.take(0)
    fill(staging, [5, 100], ifindex=4)
    fill(staging, [7, 90], ifindex=3)
    assert stamps_of(staging.take(HOLD_NS)) == [(1, 5), (0, 7), (0, 10)]
    assert stamps_of(staging.take(0, everything=True)) == [(0, 90), (1, 100)]


def test_a_wall_clock_that_steps_back_holds_nothing_up() -> None:
    staging = Staging(HOLD_NS)
    ring = fill(staging, [1_000_000], ifindex=3)
    staging.take(0)
    fill(staging, [10, 20], ifindex=3, ring=ring)
    fill(staging, [30], ifindex=4)
    staging.take(1)
    found = stamps_of(staging.take(HOLD_NS + 1))
    assert sorted(found) == [(0, 10), (0, 20), (0, 1_000_000), (1, 30)]
    assert [one for one in found if one[0] == 0] == [(0, 1_000_000), (0, 10), (0, 20)]


def fill_until(staging: Staging, enough: Callable[[int], bool]) -> int:
    """One ring's frames with the stamps 0, 1, 2 …; returns how many."""
    count, ring = 0, None
    while not enough(count):
        ring = fill(staging, list(range(count, count + 60)), ifindex=3, ring=ring)
        count += 60
    return count


def test_under_pressure_goes_at_once_what_all_busy_rings_have_passed() -> None:
    staging = Staging(HOLD_NS)
    count = fill_until(staging, lambda _: staging.pressed)
    fill(staging, [100, 2000], ifindex=4)
    found = stamps_of(staging.take(0))
    older = [(0, n) for n in range(2001)]
    assert found == [*older[:101], (1, 100), *older[101:], (1, 2000)]
    assert stamps_of(staging.take(0, everything=True)) == [(0, n) for n in range(2001, count)]


def test_under_great_pressure_the_older_half_goes_whoever_is_late() -> None:
    staging = Staging(HOLD_NS)
    fill(staging, [0], ifindex=4)
    count = fill_until(staging, lambda count: count * 104 > 2 << 20)
    found = stamps_of(staging.take(0))
    assert found == [(1, 0), *((0, n) for n in range(len(found) - 1))]
    assert count // 3 <= len(found) < 2 * count // 3
    rest = stamps_of(staging.take(0, everything=True))
    assert rest == [(0, n) for n in range(len(found) - 1, count)]


def test_many_rings_for_long_are_merged_as_a_sort_would() -> None:
    """Random loads, partial takes and repacking: each ring's order, and the order of time."""
    random, staging = np.random.default_rng(4), Staging(HOLD_NS)
    rings: list[Any] = [None] * 7
    sent: list[tuple[int, int]] = []
    found: list[tuple[int, int]] = []
    for step in range(400):
        for number in random.permutation(7)[: random.integers(0, 8)]:
            start = step * 1000
            stamps = np.sort(random.integers(start, start + 1000, random.integers(1, 80))).tolist()
            rings[number] = fill(staging, stamps, ifindex=3 + number % 2, ring=rings[number])
            sent += [(number % 2, stamp) for stamp in stamps]
        found += stamps_of(staging.take(step * HOLD_NS // 3))
    found += stamps_of(staging.take(0, everything=True))
    assert [stamp for _, stamp in found] == sorted(stamp for _, stamp in sent)
    assert sorted(found) == sorted(sent)


def test_a_short_portion_is_taken_at_once_where_there_is_one_ring() -> None:
    """What was just encoded is written while it is in the cache: a block goes in portions."""
    staging, counters = Staging(0), np.zeros((2, 2), np.int64)
    memory, cursor = a_block([Raw(bytes(1400), ts_ns=n) for n in range(1000)])
    ring: Any = SimpleNamespace(memory=encode.views(memory), cursor=cursor)
    portions = []
    while not staging.fill(ring, TABLE, counters, 262144):
        portions.append(staging.take(0).tobytes())
    portions.append(staging.take(0).tobytes())
    assert len(portions) == 3
    assert sum(map(len, portions)) == 1000 * 1444
    assert counters[0].tolist() == [1000, 1400 * 1000]


@pytest.mark.parametrize(
    ("most_bytes", "most_frames", "kept"), [(500, 99, 4), (415, 99, 3), (9999, 2, 2), (0, 9, 0)]
)
def test_cut_keeps_whole_blocks(most_bytes: int, most_frames: int, kept: int) -> None:
    staging = Staging(0)
    fill(staging, list(range(10)))
    assert cut_blocks(staging.take(0), most_bytes, most_frames) == (kept * 104, kept)


def test_uncount_is_the_reverse_of_counting() -> None:
    staging, counters = Staging(0), np.zeros((2, 2), np.int64)
    memory, cursor = a_block([Raw(bytes(60), ifindex=n) for n in (3, 4, 4)])
    staging.fill(
        SimpleNamespace(memory=encode.views(memory), cursor=cursor),  # type: ignore[arg-type]
        TABLE,
        counters,
        262144,
    )
    assert counters.tolist() == [[1, 60], [2, 120]]
    uncount_blocks(staging.take(0)[104:], counters)
    assert counters.tolist() == [[1, 60], [0, 0]]
