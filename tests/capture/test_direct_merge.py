"""Frames straight from rings, without a kernel: blocks are handed over by hand."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from test_encode import Raw, a_block
from test_merge import stamps_of

from analyzer.capture import encode
from analyzer.capture.arena import Arena
from analyzer.capture.direct_merge import DirectMerge
from analyzer.capture.ring_settings import RingSettings

HOLD_NS = 60_000_000
SIZE, BLOCKS = 8192, 64
USER, LOSING = 1, 4
SNAPLEN = 262144
ARENA = Arena(256 << 20)
"""address space alone"""


class HandRing:
    """A ring of hand-made blocks, with what `DirectMerge` uses of `Ring`."""

    def __init__(self, arena: Arena) -> None:
        self.settings = RingSettings(SIZE, BLOCKS)
        self.arena, self.offset = arena, map_memory(arena, self.settings.size)
        self.bytes = arena.part(self.offset, self.settings.size).octets
        self.cursor = np.zeros(encode.CURSOR, np.int64)
        self.minds_blocks = False
        self.opened: list[int] = []
        """blocks that Python was asked to open"""
        self._next = 0

    def hand_over(self, frames: list[Raw], status: int = USER) -> None:
        """The next block; it must have been given back."""
        memory, cursor = a_block(frames)
        start = self._next * SIZE
        assert not self.bytes[start + 8], "the ring is full"
        assert len(memory) <= SIZE
        self.bytes[start : start + len(memory)] = memory
        words = self.bytes[start : start + 48].view(np.uint32)
        words[2:6] = status, len(frames), cursor[encode.AT], cursor[encode.END]
        if frames:
            words[10:12] = divmod(frames[-1].ts_ns, 10**9)
        self._next = (self._next + 1) % BLOCKS

    def has_block(self) -> bool:
        block = int(self.cursor[encode.BLOCK])
        self.opened.append(block)
        words = self.bytes[block * SIZE : block * SIZE + 48].view(np.uint32)
        if not words[2] & USER:
            return False
        self.cursor[encode.LEFT] = words[3]
        self.cursor[encode.AT] = block * SIZE + words[4]
        self.cursor[encode.END] = block * SIZE + words[5]
        return True

    def release(self) -> None:
        block = int(self.cursor[encode.BLOCK])
        self.bytes[block * SIZE + 8] = 0
        self.cursor[encode.BLOCK] = (block + 1) % BLOCKS

    def move_cursor(self, to: np.ndarray) -> None:
        to[:] = self.cursor
        self.cursor = to

    @property
    def free(self) -> bool:
        return not self.bytes.reshape(BLOCKS, SIZE)[:, 8].any()


def map_memory(arena: Arena, size: int) -> int:
    """As a ring's memory is mapped; the offset."""
    fd = os.memfd_create("ring")
    try:
        os.ftruncate(fd, size)
        offset = arena.map(fd, size)
    finally:
        os.close(fd)
    assert offset is not None
    return offset


class HandSource:
    def __init__(self, identifiers: dict[int, int], arena: Arena = ARENA) -> None:
        self.ring, self.is_open = HandRing(arena), True
        self.table = encode.build_table(identifiers)


def raws(*stamps: int, ifindex: int = 3) -> list[Raw]:
    return [Raw(bytes(60), ifindex=ifindex, ts_ns=ts) for ts in stamps]


def two() -> tuple[Any, Any, DirectMerge]:
    sources: Any = [HandSource({3: 0, 5: 2}), HandSource({4: 1})]
    return sources[0].ring, sources[1].ring, DirectMerge(sources, HOLD_NS)


def take(
    straight: DirectMerge, limit: int, counters: np.ndarray | None = None
) -> list[tuple[int, int]]:
    found, more = [], limit >= 0
    counters = np.zeros((3, 2), np.int64) if counters is None else counters
    while more:
        part, more, met = straight.take(limit, counters, SNAPLEN)
        assert met is None
        found += stamps_of(part)
    return found


def test_frames_wait_for_those_of_other_rings() -> None:
    one, other, straight = two()
    one.hand_over(raws(10, 30, 50))
    assert straight.look(0) == -1
    other.hand_over(raws(20, 40, 60, ifindex=4))
    assert straight.look(1) == -1
    assert straight.waiting
    due = take(straight, straight.look(HOLD_NS))
    assert due == [(0, 10), (1, 20), (0, 30), (1, 40), (0, 50)]
    assert take(straight, straight.look(HOLD_NS + 1)) == [(1, 60)]
    straight.look(HOLD_NS + 2)
    assert not straight.waiting
    assert one.free
    assert other.free


def test_a_copy_with_an_older_stamp_at_the_end_is_due_too() -> None:
    """Its key is that of its predecessor, which is greater than the block's last stamp."""
    one, other, straight = two()
    one.hand_over(raws(10, 12, 10))
    other.hand_over(raws(11, ifindex=4))
    found = []
    for tick in range(5):
        found += take(straight, straight.look(tick * HOLD_NS))
    assert found == [(0, 10), (1, 11), (0, 12), (0, 10)]
    assert one.free


def test_a_wall_clock_that_steps_back_holds_nothing_up() -> None:
    one, other, straight = two()
    one.hand_over(raws(1_000_000))
    assert straight.look(0) == -1
    one.hand_over(raws(10, 20))
    other.hand_over(raws(30, ifindex=4))
    found = [f for tick in range(1, 5) for f in take(straight, straight.look(tick * HOLD_NS))]
    assert sorted(found) == [(0, 10), (0, 20), (0, 1_000_000), (1, 30)]
    assert [f for f in found if f[0] == 0] == [(0, 1_000_000), (0, 10), (0, 20)]


def fill(ring: HandRing, first_ns: int, blocks: int) -> None:
    """Blocks of 7 KB, a frame each ns."""
    for block in range(blocks):
        start = first_ns + 5 * block
        ring.hand_over([Raw(bytes(1400), ts_ns=start + n) for n in range(5)])


def test_nothing_waits_longer_where_rings_come_and_go() -> None:
    """Each time there are other rings there is a new stream; when it was looked goes on."""
    sources: Any = [HandSource({3: 0}), HandSource({4: 1})]
    straight = DirectMerge(sources, HOLD_NS)
    sources[0].ring.hand_over(raws(10))
    for tick in range(7):
        assert straight.look(tick * HOLD_NS // 7) == -1
        straight = DirectMerge(sources, HOLD_NS, straight.marks)
    assert take(straight, straight.look(HOLD_NS)) == [(0, 10)]


def test_under_pressure_goes_at_once_what_all_busy_rings_have_passed() -> None:
    sources: Any = [HandSource({3: n}) for n in range(6)]
    straight = DirectMerge(sources, HOLD_NS)
    for number, source in enumerate(sources):
        fill(source.ring, 1000 + number, 22)
    assert straight.look(0) == -1
    assert not straight.pressed
    for number, source in enumerate(sources[1:], 1):
        fill(source.ring, 1000 + number + 110, 6)
    assert straight.look(1) == 1109, "the last of the one that is behind"
    assert straight.pressed


def test_a_ring_that_fills_up_waits_for_nobody() -> None:
    one, other, straight = two()
    fill(one, 1000, BLOCKS // 2)
    other.hand_over(raws(5, ifindex=4))
    assert straight.look(0) == -1
    fill(one, 2000, 1)
    assert straight.look(0) == 2004


def test_drops_are_told_where_they_were() -> None:
    """Blocks with the mark, and those behind them while drops wait to be told, are opened here."""
    one, _, straight = two()
    one.hand_over(raws(10))
    one.hand_over(raws(20), USER | LOSING)
    one.hand_over(raws(30))
    one.hand_over(raws(40))

    def has_block() -> bool:
        found = HandRing.has_block(one)
        if one.cursor[encode.BLOCK] == 1:
            one.minds_blocks = True
        if one.cursor[encode.BLOCK] == 2:
            one.cursor[encode.DROPS] = 7
            one.minds_blocks = False
        return found

    one.has_block = has_block
    counters = np.zeros((3, 2), np.int64)
    part, more, _ = straight.take(100, counters, SNAPLEN)
    assert one.opened == [1, 2]
    assert (more, counters[0].tolist()) == (False, [4, 240])
    assert len(part) == 4 * 104 + 12
    assert part.tobytes()[2 * 104 + 4] == 104 + 12, "the third frame bears epb_dropcount"
    assert one.free


def test_an_unknown_interface_stops_the_walk_before_its_frame() -> None:
    sources: Any = [HandSource({3: 0}), HandSource({4: 1})]
    sources[0].ring.cursor[encode.CURIOUS] = 1
    straight = DirectMerge(sources, HOLD_NS)
    ring = sources[0].ring
    ring.hand_over([*raws(10), *raws(20, ifindex=9), *raws(30)])
    counters = np.zeros((2, 2), np.int64)
    part, more, met = straight.take(100, counters, SNAPLEN)
    assert (stamps_of(part), more, met) == ([(0, 10)], True, sources[0])
    assert ring.cursor[[encode.NEWCOMER, encode.LEFT, encode.WALKED]].tolist() == [9, 2, 1]
    assert not ring.free


def test_frames_of_nobody_are_counted_and_left_out() -> None:
    one, _, straight = two()
    one.hand_over([*raws(10), *raws(20, ifindex=9), *raws(30, ifindex=5)])
    assert take(straight, 100) == [(0, 10), (2, 30)]
    assert one.cursor[[encode.WALKED, encode.SKIPPED]].tolist() == [3, 1]


def test_blocks_without_frames_are_given_back() -> None:
    one, _, straight = two()
    one.hand_over([])
    one.hand_over(raws(10))
    one.hand_over([], USER | LOSING)
    one.hand_over(raws(20))
    assert take(straight, 100) == [(0, 10), (0, 20)]
    assert one.free


def test_a_table_that_changes_is_noticed() -> None:
    sources: Any = [HandSource({3: 0}), HandSource({4: 1})]
    straight = DirectMerge(sources, HOLD_NS)
    sources[0].ring.hand_over(raws(10))
    assert take(straight, 10) == [(0, 10)]
    sources[0].table = encode.build_table(dict.fromkeys(range(3, 40), 2))
    sources[0].ring.hand_over(raws(20))
    assert take(straight, 20) == [(2, 20)]


def test_many_rings_for_long_are_merged_as_a_sort_would() -> None:
    """Random loads, partial takes, blocks that wrap: each ring's order, and the order of time."""
    random = np.random.default_rng(4)
    sources: Any = [HandSource({3: n}) for n in range(7)]
    straight = DirectMerge(sources, HOLD_NS)
    counters = np.zeros((7, 2), np.int64)
    sent: list[tuple[int, int]] = []
    found: list[tuple[int, int]] = []
    for step in range(400):
        for number in random.permutation(7)[: random.integers(0, 8)]:
            start = step * 1000
            stamps = np.sort(random.integers(start, start + 1000, random.integers(0, 50))).tolist()
            sources[number].ring.hand_over(raws(*stamps))
            sent += [(number, stamp) for stamp in stamps]
        found += take(straight, straight.look(step * HOLD_NS // 3), counters)
    found += take(straight, 400_000, counters)
    assert [stamp for _, stamp in found] == sorted(stamp for _, stamp in sent)
    assert sorted(found) == sorted(sent)
    assert counters[:, 0].sum() == len(sent)
    assert all(source.ring.free for source in sources)


def test_what_does_not_fit_goes_in_portions() -> None:
    one, other, straight = two()
    for block in range(BLOCKS):
        one.hand_over([Raw(bytes(1400), ts_ns=block * 10 + n) for n in range(5)])
        other.hand_over([Raw(bytes(1400), ifindex=4, ts_ns=block * 10 + n) for n in range(5)])
    counters, sizes, more = np.zeros((3, 2), np.int64), [], True
    while more:
        part, more, _ = straight.take(10_000, counters, SNAPLEN)
        sizes.append(len(part))
    assert sum(sizes) == 2 * BLOCKS * 5 * 1444
    assert len(sizes) == 2
    assert max(sizes) <= 512 << 10
    assert counters[:2, 0].tolist() == [BLOCKS * 5] * 2


def test_few_long_rings_fit() -> None:
    sources: Any = [HandSource({3: 0}), HandSource({4: 1})]
    assert DirectMerge.fits(sources)
    assert not DirectMerge.fits(sources[:1])
    sources[0].ring.settings = RingSettings(SIZE, 4)
    assert not DirectMerge.fits(sources)


def test_rings_of_different_arenas_do_not_fit() -> None:
    sources: Any = [HandSource({3: 0}), HandSource({4: 1}, Arena(1 << 20))]
    assert not DirectMerge.fits(sources)
