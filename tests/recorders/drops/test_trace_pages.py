"""The ring's pages, decoded: against crafted pages, and against the kernel's own text."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from faulty import Bench

from analyzer.recorders.drops import page_layout, pages
from analyzer.recorders.drops.formats import parse_format
from analyzer.recorders.drops.neighbours import name_neighbours
from analyzer.recorders.drops.page_layout import LOST, OUT, STATE, TALLY
from analyzer.recorders.drops.pages import walk_page
from analyzer.recorders.drops.prepare import DROP, RECEIVE, build_layout
from analyzer.recorders.drops.rows import device_name
from analyzer.recorders.drops.ties import Tables
from analyzer.recorders.drops.tracefs import Instance, Tracefs

KFREE, RECEIVED, EXIT, SEND, TIMER = 11, 22, 33, 44, 55
FULL, FAILED = 59, 58
PAGE, DROPS, FRAMES, ENDS = (8, 16), (KFREE, 8, 16, 24, 28, 2), (RECEIVED, 8, 16, 20), (EXIT, 8)
NEIGHBOURS = (SEND, TIMER, 12, 8, 16, 20, FULL, FAILED)
LAYOUT = np.array([*PAGE, *DROPS, *FRAMES, *ENDS, *NEIGHBOURS], np.int64)
SOFTIRQ = 0x10
BRIDGES = pages.name_words(["docker0", "a-long-name-of15"])


def kfree(skb: int, location: int = 0xABC, reason: int = 12, flags: int = SOFTIRQ) -> bytes:
    return struct.pack("=HBBiQQHxxI", KFREE, flags, 0, 1, skb, location, 0x800, reason)


def receive(skb: int, name: str = "veth0", length: int = 84) -> bytes:
    text = name.encode() + b"\0"
    told = len(text) << 16 | 24
    body = struct.pack("=HBBiQII", RECEIVED, SOFTIRQ, 0, 1, skb, length, told) + text
    return body + bytes(-len(body) % 4)


def softirq_exit(vector: int = 3) -> bytes:
    return struct.pack("=HBBiI", EXIT, SOFTIRQ, 0, 1, vector)


def neighbour(number: int, device: str, address: str) -> bytes:
    key = ipaddress.ip_address(address)
    family = socket.AF_INET if key.version == 4 else socket.AF_INET6
    text = device.encode() + b"\0"
    keys = (key.packed[:4] if key.version == 4 else bytes(4)) + key.packed[:16].ljust(16, b"\0")
    body = struct.pack("=HBBiII", number, SOFTIRQ, 0, 1, family, len(text) << 16 | 36) + keys + text
    return body + bytes(-len(body) % 4)


def event(record: bytes, delta: int) -> bytes:
    assert len(record) % 4 == 0
    return struct.pack("=I", delta << 5 | len(record) // 4) + record


def extend(delta: int) -> bytes:
    return struct.pack("=II", (delta & (1 << 27) - 1) << 5 | 30, delta >> 27)


def stamp(absolute: int) -> bytes:
    return struct.pack("=II", (absolute & (1 << 27) - 1) << 5 | 31, absolute >> 27 & 0xFFFFFFFF)


def page(start: int, events: Sequence[bytes], missed: int = 0) -> bytes:
    body = b"".join(events)
    commit = len(body) | (1 << 31 | 1 << 30 if missed else 0)
    return struct.pack("=QQ", start, commit) + body + (struct.pack("=Q", missed) if missed else b"")


class Walk:
    """Walks pages of one CPU one after the other."""

    def __init__(self) -> None:
        self.state = np.zeros(STATE, np.uint64)
        self.tally = np.zeros((4, TALLY), np.uint64)
        self.neighbours = np.zeros((3, page_layout.NEIGHBOUR), np.uint64)
        self.pending = np.zeros((page_layout.MOST_PENDING, OUT), np.uint64)

    def take(self, data: bytes) -> list[tuple[int, ...]]:
        """(time, tie, seen, reason) of each tied drop."""
        out = np.zeros((64, OUT), np.uint64)
        there = np.frombuffer(data, np.uint8).copy()
        tables = Tables(LAYOUT, self.state, out, self.tally, self.pending, BRIDGES, self.neighbours)
        rows = walk_page(there, len(data), tables, 0)
        columns = [
            page_layout.OUT_TS,
            page_layout.OUT_TIE,
            page_layout.OUT_SEEN,
            page_layout.OUT_REASON,
        ]
        return [tuple(row) for row in out[:rows, columns].tolist()]

    @property
    def waited(self) -> dict[tuple[str, str, str], int]:
        return name_neighbours(self.neighbours, LAYOUT, device_name)

    @property
    def alone(self) -> int:
        return int(self.tally[:, page_layout.TALLY_COUNT].sum())


def ties(walk: Walk, *records: bytes) -> list[int]:
    """How the drops among these records, one after the other, are tied."""
    return [tie for _, tie, *_ in walk.take(page(1000, [event(one, 1) for one in records]))]


def all_heard() -> Walk:
    walk = Walk()
    walk.state[page_layout.WHOLE] = 1
    return walk


def test_the_skb_that_was_received_is_the_frame() -> None:
    walk = Walk()
    events = [event(receive(1), 5), event(kfree(1), 7), event(receive(2), 1)]
    assert walk.take(page(1000, events)) == [(1012, page_layout.SAME, 1005, 12)]
    assert walk.alone == 0


def test_a_copy_is_one_where_the_frame_is_received_again() -> None:
    """A bridge forwards clones, then the bridge device receives the frame itself."""
    for walk in (Walk(), all_heard()):
        again = receive(1, "docker0")
        told = ties(walk, receive(1), kfree(8), kfree(9), again, kfree(1))
        assert told == [page_layout.COPY, page_layout.COPY, page_layout.SAME]
        assert walk.alone == 0


@pytest.mark.parametrize("end", [receive(2), receive(2, "lo"), softirq_exit()])
def test_another_skb_is_an_answer_only_where_all_frames_are_heard(end: bytes) -> None:
    assert ties(all_heard(), receive(1), kfree(9), end) == [page_layout.ANSWER]
    walk = Walk()
    assert ties(walk, receive(1), kfree(9), end) == []
    assert walk.alone == 1


def test_nothing_belongs_to_a_frame_whose_work_has_ended() -> None:
    """A timer that drops what waited for a neighbour; a sender on lo; the same address later."""
    walk = all_heard()
    assert ties(walk, receive(1), softirq_exit(), kfree(9), kfree(1)) == []
    assert ties(walk, receive(1), receive(5, "lo"), kfree(5)) == [page_layout.SAME]
    assert walk.alone == 2


def test_who_waited_for_which_next_hop() -> None:
    """Also while a frame is in hand: what a full queue drops is the oldest, not that frame's."""
    walk = all_heard()
    full, failed = kfree(9, reason=FULL), kfree(9, reason=FAILED)
    sent = neighbour(SEND, "eth0", "172.17.0.9")
    assert ties(walk, receive(1), full, full, sent, full, sent, kfree(9), softirq_exit()) == [
        page_layout.ANSWER
    ]
    ties(walk, failed, failed, failed, neighbour(TIMER, "br-0123456789ab", "fd00::2"))
    assert walk.waited == {
        ("NEIGH_QUEUEFULL", "eth0", "172.17.0.9"): 3,
        ("NEIGH_FAILED", "br-0123456789ab", "fd00::2"): 3,
    }
    assert walk.alone == 6


def test_a_neighbour_is_named_only_for_what_was_dropped_for_it() -> None:
    """Another event's drops, those of long ago, and an event without any."""
    walk = Walk()
    full, failed = kfree(9, reason=FULL), kfree(9, reason=FAILED)
    sent, timer = (neighbour(number, "eth0", "172.17.0.9") for number in (SEND, TIMER))
    ties(walk, sent, timer, kfree(9), sent, timer, full, timer, failed, sent)
    walk.take(page(1000, [event(full, 1), event(sent, 2_000_000)]))
    assert walk.waited == {}
    ties(walk, failed, full, sent)
    assert walk.waited == {("NEIGH_QUEUEFULL", "eth0", "172.17.0.9"): 1}


def test_more_next_hops_than_there_is_room_for() -> None:
    walk = Walk()
    for last in (2, 3, 4, 5, 3):
        ties(walk, kfree(9, reason=FULL), neighbour(SEND, "eth0", f"172.17.0.{last}"))
    assert list(walk.waited.values()) == [1, 2, 1]


@pytest.mark.parametrize("device", ["eth0", "vxlan0", "docker01"])
def test_the_next_interface_is_no_bridge(device: str) -> None:
    """The same skb crosses a veth pair, or comes out of a tunnel: it is a frame of its own."""
    walk = Walk()
    events = [event(one, 1) for one in (receive(1), kfree(9), receive(1, device), kfree(1))]
    assert walk.take(page(1000, events)) == [(1004, page_layout.SAME, 1003, 12)]
    assert walk.alone == 1


@pytest.mark.parametrize("bridge", ["docker0", "a-long-name-of15", "br-0123456789ab"])
def test_bridges_are_known_by_name(bridge: str) -> None:
    assert ties(Walk(), receive(1), kfree(9), receive(1, bridge)) == [page_layout.COPY]


def test_the_end_of_another_softirq_ends_no_work() -> None:
    assert ties(all_heard(), receive(1), softirq_exit(1), kfree(1)) == [page_layout.SAME]


def test_a_drop_in_an_interrupt_belongs_to_no_frame() -> None:
    walk = all_heard()
    assert ties(walk, receive(1), kfree(1, flags=SOFTIRQ | 0x08), softirq_exit()) == []
    assert walk.alone == 1


def test_proof_that_was_lost_is_no_proof() -> None:
    walk = all_heard()
    walk.take(page(1000, [event(receive(1), 5), event(kfree(9), 1)]))
    assert walk.take(page(1010, [event(receive(1, "docker0"), 0)], missed=1)) == []
    assert walk.alone == 1


def test_more_copies_than_can_wait_are_counted() -> None:
    walk = Walk()
    copies = [kfree(9)] * (page_layout.MOST_PENDING + 3)
    assert len(ties(walk, receive(1), *copies, receive(1, "docker0"))) == page_layout.MOST_PENDING
    assert walk.alone == 3


def test_the_frame_in_hand_goes_with_its_drop_and_with_time() -> None:
    walk = Walk()
    assert len(walk.take(page(1000, [event(receive(1), 0), event(kfree(1), 1)]))) == 1
    assert walk.take(page(1010, [event(kfree(2), 0)])) == []
    late = [event(receive(3), 0), event(kfree(3), 1_000_001)]
    assert walk.take(page(2000, late)) == []
    assert walk.alone == 2


def test_a_drop_outside_of_the_softirq_belongs_to_no_frame() -> None:
    walk = Walk()
    assert walk.take(page(0, [event(receive(1), 5), event(kfree(1, flags=0), 5)])) == []
    assert walk.alone == 1


def test_the_frame_in_hand_lasts_from_page_to_page() -> None:
    walk = Walk()
    assert walk.take(page(1000, [event(receive(1), 5)])) == []
    assert walk.take(page(1100, [event(kfree(1), 0)])) == [(1100, page_layout.SAME, 1005, 12)]


def test_times_longer_than_27_bits() -> None:
    walk = Walk()
    base = 1_795_000_000_000_000_000
    absolute = base + 5_000_000_000
    events = [
        extend(1 << 30),
        event(receive(1), 3),
        stamp(absolute & (1 << 59) - 1),
        event(receive(2), 0),
        event(kfree(2), 2),
    ]
    assert walk.take(page(base, events)) == [(absolute + 2, page_layout.SAME, absolute, 12)]


def test_events_that_were_lost_are_counted_and_end_the_tie() -> None:
    walk = Walk()
    walk.take(page(1000, [event(receive(1), 5)]))
    assert walk.take(page(1010, [event(kfree(1), 0)], missed=42)) == []
    assert int(walk.state[LOST]) == 42


def test_padding_ends_a_page_or_stands_for_a_discarded_event() -> None:
    walk = Walk()
    discarded = struct.pack("=II", 1 << 5 | 29, 12) + bytes(8)
    rest = struct.pack("=I", 29)
    events = [event(receive(1), 5), discarded, event(kfree(1), 1), rest, event(kfree(7), 1)]
    assert walk.take(page(1000, events)) == [(1007, page_layout.SAME, 1005, 12)]


def test_a_long_record_tells_its_length_itself() -> None:
    walk = Walk()
    record = kfree(1) + bytes(200)
    long = struct.pack("=II", 4 << 5, len(record) + 4) + record
    assert walk.take(page(0, [event(receive(1), 5), long])) == [(9, page_layout.SAME, 5, 12)]


def test_what_belongs_to_no_frame_is_counted_by_kind() -> None:
    walk = Walk()
    kinds = [(0xA, 3), (0xA, 3), (0xA, 4), (0xB, 3), (0xC, 3), (0xD, 3)]
    walk.take(page(0, [event(kfree(1, location, reason), 1) for location, reason in kinds]))
    counted = [(int(r[0]), int(r[1]), int(r[3])) for r in walk.tally]
    assert counted == [(0xA, 3, 2), (0xA, 4, 1), (0xB, 3, 1), (0, page_layout.NO_REASON, 2)]


@pytest.mark.parametrize("length", range(0, 130, 3))
def test_no_page_that_is_cut_makes_it_read_beyond(length: int) -> None:
    whole = page(1000, [event(receive(1), 5), event(kfree(1), 7), event(receive(2), 1)])
    assert len(Walk().take(whole[:length])) <= 1


TEXT = re.compile(r"\[(\d+)\].* (\d+\.\d+): kfree_skb: .*reason: NETFILTER_DROP")


@pytest.mark.root
def test_it_agrees_with_the_kernels_own_text(bench: Bench) -> None:
    """The same events twice: as `trace` prints them, and as we decode them."""
    bench.inside("tomcat02", "iptables -A INPUT -p icmp -j DROP")
    with Tracefs() as tracefs:
        instance = tracefs.instance()
        try:
            layout = prepare(instance, bench.veth("tomcat01"))
            bench.inside("tomcat01", "ping -c5 -i.01 -W.1 172.17.0.3", check=False)
            instance.write("tracing_on", "0")
            text = [
                found
                for line in instance.read("trace").splitlines()
                if (found := TEXT.search(line))
            ]
            decoded = decode_all(instance, layout)
        finally:
            instance.close()
    told = sorted((int(found[1]), float(found[2])) for found in text)
    assert len(told) == 5
    assert [cpu for cpu, _ in decoded] == [cpu for cpu, _ in told]
    assert [at for _, at in decoded] == pytest.approx([at for _, at in told], abs=1e-6)


def prepare(instance: Instance, device: str) -> Any:
    """Only packet filters' drops, and frames of one interface; the layout of their records."""
    instance.write("trace_clock", "mono")
    drop = parse_format(instance.read(f"{DROP}/format"))
    received = parse_format(instance.read(f"{RECEIVE}/format"))
    number = next(n for n, name in drop.symbols.items() if name == "NETFILTER_DROP")
    instance.write(f"{DROP}/filter", f"reason == {number}")
    instance.write(f"{RECEIVE}/filter", f'name == "{device}"')
    for name in (RECEIVE, DROP):
        instance.write(f"{name}/enable", "1")
    return build_layout(instance.read("events/header_page"), drop, received)


def decode_all(instance: Instance, layout: Any) -> list[tuple[int, float]]:
    """(CPU, seconds) of every drop in the instance's rings."""
    found = []
    for cpu, fd in instance.open_rings().items():
        state, tally = np.zeros(STATE, np.uint64), np.zeros((16, TALLY), np.uint64)
        pending = np.zeros((page_layout.MOST_PENDING, OUT), np.uint64)
        buffer = np.zeros(4096, np.uint8)
        while True:
            try:
                used = os.readv(fd, [buffer.data])
            except BlockingIOError:
                break
            out = np.zeros((1024, OUT), np.uint64)
            waits = np.zeros((1, page_layout.NEIGHBOUR), np.uint64)
            tables = Tables(layout, state, out, tally, pending, BRIDGES, waits)
            rows = walk_page(buffer, used, tables, 0)
            found += [(cpu, at / 1e9) for at in out[:rows, page_layout.OUT_TS].tolist()]
        os.close(fd)
    return sorted(found)
