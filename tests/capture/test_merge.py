"""Order between rings, without a kernel: rings are cursors over hand-made blocks."""

from __future__ import annotations

import struct
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
    if ring is not None:
        cursor[encode.LATEST] = ring.cursor[encode.LATEST]
    ring = SimpleNamespace(memory=encode.views(memory), cursor=cursor)
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


def test_under_pressure_the_older_half_goes_at_once() -> None:
    staging, start = Staging(HOLD_NS), 0
    while not staging.pressed:
        fill(staging, list(range(start, start + 60)), ifindex=3)
        start += 60
    found = stamps_of(staging.take(0))
    assert found == [(0, n) for n in range(len(found))]
    assert start // 3 <= len(found) < 2 * start // 3
    rest = stamps_of(staging.take(0, everything=True))
    assert rest == [(0, n) for n in range(len(found), start)]


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
        TABLE, counters, 262144,
    )  # fmt: skip
    assert counters.tolist() == [[1, 60], [2, 120]]
    uncount_blocks(staging.take(0)[104:], counters)
    assert counters.tolist() == [[1, 60], [0, 0]]
