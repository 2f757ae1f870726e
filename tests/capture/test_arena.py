"""Rings take parts of one reserved stretch and give them back."""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyzer.capture.arena import Arena
from analyzer.capture.ring import Ring
from analyzer.capture.ring_settings import KIB, MIB, RingSettings

PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def memory() -> Iterator[int]:
    """A descriptor of 16 pages, each filled with its number."""
    fd = os.memfd_create("memory")
    os.write(fd, b"".join(bytes([n]) * PAGE for n in range(1, 17)))
    yield fd
    os.close(fd)


def mapped(arena: Arena) -> list[str]:
    """The rights of the mappings that lie in the arena, as the kernel tells them."""
    start = arena.memory.octets.ctypes.data
    end = start + arena.memory.octets.size
    rights = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, right, *_ = line.split()
        low, high = (int(edge, 16) for edge in span.split("-"))
        low, high = max(low, start), min(high, end)  # the kernel joins equal neighbours
        if low < high:
            rights.append(f"{right} {(high - low) // PAGE}")
    return rights


def test_what_is_mapped_is_seen_in_the_whole(memory: int) -> None:
    arena = Arena(64 * PAGE)
    first, second = arena.map(memory, 4 * PAGE), arena.map(memory, 16 * PAGE)
    assert (first, second) == (0, 4 * PAGE)
    assert arena.memory.octets[[0, PAGE, 4 * PAGE, 19 * PAGE]].tolist() == [1, 2, 1, 16]
    assert arena.part(4 * PAGE, 16 * PAGE).octets[-1] == 16


def test_what_is_given_back_is_reserved_and_used_again(memory: int) -> None:
    arena = Arena(8 * PAGE)
    for _ in range(3):
        assert [arena.map(memory, 2 * PAGE) for _ in range(4)] == [0, 2 * PAGE, 4 * PAGE, 6 * PAGE]
        assert arena.map(memory, PAGE) is None
        arena.unmap(2 * PAGE, 2 * PAGE)
        assert mapped(arena) == ["rw-s 2", "---p 2", "rw-s 2", "rw-s 2"]
        assert arena.map(memory, 3 * PAGE) is None, "the room is too small"
        arena.unmap(4 * PAGE, 2 * PAGE)
        assert arena.map(memory, 3 * PAGE) == 2 * PAGE, "two rooms side by side are one"
        arena.unmap(2 * PAGE, 3 * PAGE)
        arena.unmap(6 * PAGE, 2 * PAGE)
        arena.unmap(0, 2 * PAGE)
        assert mapped(arena) == ["---p 8"]


def test_what_cannot_be_mapped_takes_no_room(tmp_path: Path, memory: int) -> None:
    arena = Arena(4 * PAGE)
    read_only = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError, match=r"."):
        arena.map(read_only, 4 * PAGE)
    os.close(read_only)
    assert mapped(arena) == ["---p 4"]
    assert arena.map(memory, 4 * PAGE) == 0


def test_nobody_reads_between_rings(memory: int) -> None:
    """The kernel stops whoever does, instead of handing out what happens to lie there."""
    arena = Arena(4 * PAGE)
    arena.map(memory, PAGE)
    child = os.fork()
    if not child:
        faulthandler.disable()
        os._exit(int(arena.memory.octets[2 * PAGE]))
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGSEGV


def test_the_stretch_is_free_when_the_last_array_is_gone(memory: int) -> None:
    arena = Arena(1 << 36)
    arena.map(memory, 16 * PAGE)
    start = arena.memory.octets.ctypes.data
    kept = arena.part(PAGE, PAGE).octets
    del arena
    assert kept[0] == 2
    del kept
    spans = [
        line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines()
    ]
    assert not any(int(low, 16) <= start < int(high, 16) for low, high in spans)


@pytest.mark.root
def test_rings_come_and_go_in_one_arena() -> None:
    inode = os.stat("/proc/self/ns/net").st_ino
    settings = RingSettings(block_size=128 * KIB, block_count=4)
    arena = Arena(MIB)
    first, second, beyond = (Ring("/proc/self/ns/net", inode, settings, arena) for _ in range(3))
    assert (first.offset, second.offset) == (0, settings.size)
    assert beyond.arena is not arena, "where there is no room a ring has an arena of its own"
    first.close()
    again = Ring("/proc/self/ns/net", inode, settings, arena)
    assert (again.arena, again.offset) == (arena, 0)
    for ring in (second, beyond, again):
        ring.close()
    assert mapped(arena) == [f"---p {MIB // PAGE}"]
