"""Settings, and what the kernel lets pass and counts."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from analyzer.capture import bpf, encode
from analyzer.capture.ring import Ring
from analyzer.capture.ring_settings import KIB, MIB, RingSettings, available_bytes
from analyzer.capture.stamping import wait_for_stamps
from analyzer.errors import EnvironmentProblem, UsageProblem

SMALL = RingSettings(block_size=128 * KIB, block_count=64, retire_ms=20)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (RingSettings(block_size=100_000), r"block size 100000: must be a power of two"),
        (RingSettings(block_size=64 * KIB), r"block size 65536"),
        (RingSettings(block_count=1), r"block count 1"),
        (RingSettings(block_size=1 << 30, block_count=4), r"4294967296 bytes in all"),
        (RingSettings(retire_ms=500), r"retire time 500 ms"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: RingSettings, words: str) -> None:
    with pytest.raises(UsageProblem, match=words):
        settings.check()


@pytest.mark.parametrize("rings", [1, 2, 7, 60, 500, 5000])
def test_rings_inside_share_their_memory_and_keep_a_minimum(rings: int) -> None:
    found = RingSettings().inside(rings)
    found.check()
    total = rings * found.block_size * found.block_count
    assert total <= max(64 * MIB, rings * 512 * KIB)
    assert found.block_count >= 4


def test_rings_that_join_one_after_the_other_stay_within_twice_their_memory() -> None:
    """Beyond the minimum, which each has."""
    sizes = [RingSettings().joining(rings).size for rings in range(2, 1_000)]
    assert sizes[0] == 8 * MIB
    assert sum(size for size in sizes if size > 512 * KIB) <= 2 * RingSettings().inside_bytes
    assert min(sizes) == 512 * KIB


@pytest.mark.parametrize(
    ("available", "whole"),
    [(0, 32 * MIB), (1 << 30, 32 * MIB), (9 << 30, 64 * MIB), (1 << 40, 128 * MIB)],
)
def test_a_ring_fits_the_machines_memory(available: int, whole: int) -> None:
    found = RingSettings.fitting(available)
    found.check()
    assert found.block_size * found.block_count == found.inside_bytes == whole


def test_the_memory_of_this_machine_is_known() -> None:
    assert 1 << 20 < available_bytes() < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def drain(ring: Ring, patience_s: float = 5) -> list[int]:
    """The interface of each frame that comes until all that was counted is here."""
    found: list[int] = []
    give_up = time.monotonic() + patience_s
    while True:
        while ring.has_block():
            words = ring.memory[2]
            for _ in range(ring.cursor[encode.LEFT]):
                at = int(ring.cursor[encode.AT])
                found.append(int(words[(at >> 2) + 13]))
                ring.cursor[encode.AT] += int(words[at >> 2])
                ring.cursor[encode.LEFT] -= 1
                ring.cursor[encode.WALKED] += 1
            ring.release()
        ring.count()
        if ring.drained:
            return found
        assert time.monotonic() < give_up


@pytest.mark.root
def test_the_kernel_takes_a_filter_for_five_hundred_interfaces(lab: Any) -> None:
    """Twenty of five hundred exist, and twenty others do: only the former are heard."""
    pairs = 20
    for n in range(pairs):
        names = f"p{n} index {5000 + 2 * n} type veth peer name q{n} index {5001 + 2 * n}"
        lab.run("a", f"ip link add {names} && ip link set p{n} up && ip link set q{n} up")
    chosen = [3000 + 2 * n for n in range(480)] + [5000 + 2 * n for n in range(pairs)]
    inode = lab.inodes["a"]
    ring = Ring(lab.paths[inode], inode, SMALL)
    ring.attach(bpf.for_interfaces([*chosen, *range(20_000, 20_000 + 480)], bpf.accept(96)))
    ring.start()
    frame = lab.frame(0)
    for n in range(pairs):
        with lab.socket("a", f"p{n}") as sender:
            sender.send(frame)
    ring.attach(bpf.NOTHING)
    found = drain(ring)
    ring.close()
    assert ring.dropped == 0
    assert sorted(found) == [5000 + 2 * n for n in range(pairs)]


@pytest.mark.root
def test_nothing_is_heard_before_start_and_nothing_after_the_door_is_shut(lab: Any) -> None:
    inode = lab.inodes["a"]
    ring = Ring(lab.paths[inode], inode, SMALL)
    ring.attach(bpf.accept(96))
    lab.send([lab.frame(1)])
    ring.count()
    assert ring.received == 0
    ring.start()
    lab.send([lab.frame(2)])
    ring.attach(bpf.NOTHING)
    lab.send([lab.frame(3)])
    assert len(drain(ring)) == 1
    assert (ring.received, ring.dropped) == (1, 0)
    ring.close()


@pytest.mark.root
def test_interfaces_are_asked_for_in_the_rings_own_namespace(lab: Any) -> None:
    inode = lab.inodes["a"]
    ring = Ring(lab.paths[inode], inode, SMALL)
    assert ring.interface_name(lab.index("a", "eth0")) == "eth0"
    assert ring.interface_name(4_000) is None
    assert ring.hardware_type("eth0") == 1
    with pytest.raises(OSError, match="No such device"):
        ring.hardware_type("veA")
    ring.close()


@pytest.mark.root
def test_without_rights_the_capability_is_named(lab: Any) -> None:
    inode = os.stat("/proc/self/ns/net").st_ino
    os.seteuid(65534)
    try:
        with pytest.raises(EnvironmentProblem, match=r"CAP_NET_RAW is missing; run as root"):
            Ring("/proc/self/ns/net", inode, SMALL)
    finally:
        os.seteuid(0)


@pytest.mark.root
def test_a_ring_that_the_kernel_refuses_is_told(lab: Any) -> None:
    inode = lab.inodes["a"]
    no_pages = RingSettings(block_size=100_000, block_count=2)
    with pytest.raises(EnvironmentProblem, match=r"no ring of 2 × 100000 .*Invalid argument"):
        Ring(lab.paths[inode], inode, no_pages)


@pytest.mark.root
def test_frames_are_stamped_on_receive_once_somebody_asks() -> None:
    assert wait_for_stamps()
