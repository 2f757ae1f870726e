"""Which packet a drop was, in a world of known truth; where it cannot be told, nothing is told."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl
from msgspec.structs import replace
from world import World

from analyzer.diagnosis.tie import Tying, tie_drops
from analyzer.diagnosis.tie_candidates import candidates
from analyzer.model.batch import FOREVER_NS, Batch
from analyzer.net.ethernet import ARP
from analyzer.recorders.drops.page_layout import ANSWER, COPY, MOST_WORK_NS, NESTED, SAME
from analyzer.recorders.drops.record import ROW, Drops, encode_drops

MICRO = 1_000


class Ties(NamedTuple):
    packet: Any
    frame: Any
    answer: Any


IPV4 = 0x800
LENGTH = 84


def a_world(**options: Any) -> World:
    return World(containers=3, **options)


def drop(device: str, seen_us: float, tie: int, *, length: int = LENGTH, after_us: float = 20):
    return device, int(seen_us * MICRO), int(after_us * MICRO), length, tie


def tied(
    world: World, *told: tuple[str, int, int, int, int], protocol: int = IPV4, unwrapped: Any = None
) -> tuple[Any, Any, Ties]:
    """(frames, journeys, ties) with every frame an IPv4 packet of one length."""
    frames, journeys = world.correlate()
    frames["wirelen"][:], frames["ethertype"][:] = LENGTH + 14, IPV4
    # addresses from the MACs: a conversation is a pair
    frames["number"] = np.arange(len(frames["ts_ns"]))
    frames["src_lo"][:], frames["dst_lo"][:] = frames["eth_src"], frames["eth_dst"]
    devices = sorted({device for device, *_ in told})
    rows = np.zeros(len(told), ROW)
    for row, (device, seen, after, length, tie) in zip(rows, told, strict=True):
        row["device"], row["seen_ns"], row["ts_ns"] = devices.index(device), seen, seen + after
        row["len_bytes"], row["protocol"], row["tie"] = length, protocol, tie
    places = [devices.index(v.interface) if v.interface in devices else -1 for v in world.vantages]
    waiting = candidates(frames, journeys, world.vantages, np.array(places, np.int64))
    rows = rows[np.argsort(rows["seen_ns"], kind="stable")]
    row, answer = tie_drops(rows, waiting, unwrapped)
    kept = row >= 0
    frame = waiting["number"][row[kept]]
    return frames, journeys, Ties(waiting["of"][row[kept]], frame, answer[kept])


def truths(frames: Any, ties: Ties) -> list[int]:
    """The true packet of each tied drop."""
    return frames["truth"][ties.frame].tolist()


def test_a_copy_that_the_bridge_drops_is_the_lost_packets() -> None:
    world = a_world()
    world.send(0, 1, 0, key=1)
    lost = len(world.rows)
    world.send(0, 1, 1000, key=2, upto=2)
    frames, journeys, ties = tied(world, drop("veth0", 1007, COPY))
    assert truths(frames, ties) == [lost]
    assert ties.packet.tolist() == [journeys.packet[ties.frame[0]]]
    assert not ties.answer.any()


def test_what_was_unwrapped_tells_the_protocol_inside() -> None:
    world = a_world()
    world.send(0, 1, 1000, key=2, upto=2)
    seen = drop("veth0", 1007, SAME)
    assert truths(*tied(world, seen, protocol=ARP)[::2]) == []
    assert truths(*tied(world, seen, protocol=ARP, unwrapped=np.ones(1, np.bool_))[::2]) == [0]


def test_a_packet_that_went_on_is_never_called_dropped() -> None:
    world = a_world()
    world.send(0, 1, 0, key=1)
    for tie in (SAME, NESTED, COPY):
        _, _, ties = tied(world, drop("veth0", 7, tie))
        assert len(ties.packet) == 0


def test_what_the_stack_behind_an_interface_drops() -> None:
    world = a_world()
    world.send(0, 1, 0, key=1)
    frames, _, ties = tied(world, drop("eth0", 90, SAME))
    assert truths(frames, ties) == [0]
    assert not ties.answer.any()
    frames, _, ties = tied(world, drop("eth0", 90, ANSWER))
    assert truths(frames, ties) == [0]
    assert ties.answer.all()


def test_two_conversations_at_once_and_neither_is_nearer() -> None:
    """Both containers got a frame of that length in the same microsecond."""
    world = a_world()
    world.send(0, 1, 0, key=1)
    world.send(0, 2, 0.5, key=2)
    _, _, ties = tied(world, drop("eth0", 90, SAME))
    assert len(ties.packet) == 0


def test_the_one_that_is_clearly_nearer() -> None:
    world = a_world()
    world.send(0, 1, 0, key=1)
    near = len(world.rows)
    world.send(0, 2, 400, key=2)
    frames, _, ties = tied(world, drop("eth0", 489, SAME))
    assert truths(frames, ties) == [near]


def test_a_frame_of_another_conversation_that_a_tap_stamped_late() -> None:
    """The work on it may have been interrupted before the tap took the time."""
    world = a_world()
    near = len(world.rows)
    world.send(0, 1, 0, key=1)
    world.send(0, 2, 130, key=2)
    while_in_hand = drop("eth0", 110, SAME, after_us=150)
    assert len(tied(world, while_in_hand)[2].packet) == 0
    frames, _, ties = tied(world, drop("eth0", 110, SAME, after_us=60))
    assert truths(frames, ties) == [near]


def test_each_drop_is_another_packet_of_the_same_conversation() -> None:
    world = a_world()
    starts = []
    for n in range(6):
        starts.append(len(world.rows))
        world.send(0, 1, 300 * n, key=n + 1, upto=2)
    told = [drop("veth0", 300 * n + 7, COPY) for n in range(6)]
    frames, _, ties = tied(world, *told)
    assert truths(frames, ties) == starts


def test_another_length_another_protocol_and_another_time_are_other_frames() -> None:
    world = a_world()
    world.send(0, 1, 0, key=1, upto=2)
    for told in (
        drop("veth0", 7, COPY, length=LENGTH + 1),
        drop("veth1", 7, COPY),
        drop("veth0", 6000, COPY),
        drop("veth0", -100, COPY),
    ):
        assert len(tied(world, told)[2].packet) == 0


def test_nothing_to_tie() -> None:
    world = a_world()
    world.send(0, 1, 0, key=1)
    assert len(tied(world)[2].packet) == 0
    assert len(tied(a_world(), drop("veth0", 7, SAME))[2].packet) == 0


def test_what_proves_nothing_ties_nothing() -> None:
    """A drop of another skb, as older versions recorded it; an answer to a frame that was lost."""
    world = a_world()
    world.send(0, 1, 0, key=1, upto=2)
    for tie in (NESTED, ANSWER):
        assert len(tied(world, drop("veth0", 7, tie))[2].packet) == 0


def test_a_stack_that_drops_what_goes_to_all_drops_no_unicast_of_that_length() -> None:
    """Every container's interface is called eth0: the drop was at another one's."""
    world = a_world()
    world.send(0, 1, 0, key=1)
    world.flood(0, 45, key=2)
    frames, _, ties = tied(world, drop("eth0", 90, SAME))
    group = (frames["eth_dst"][ties.frame] >> np.uint64(40)) & np.uint64(1)
    assert group.all()


def in_batches(world: World, blocks: list[bytes], size: int) -> list[tuple[int, int, bool]]:
    """(time of the drop, of the frame, answer) of each tie; size: packets in a batch."""
    frames, journeys = world.correlate()
    frames["wirelen"][:], frames["ethertype"][:] = LENGTH + 14, IPV4
    frames["number"] = np.arange(len(frames["ts_ns"]))
    tying, found = Tying(), []
    tying.take(blocks)
    starts = frames["ts_ns"][journeys.first]
    for at in range(0, len(starts), size):
        inside = (journeys.packet >= at) & (journeys.packet < at + size)
        closed = replace(journeys, packet=np.where(inside, journeys.packet, -1))
        later = starts[at + size :]
        settled_ns = int(later.min()) if len(later) else FOREVER_NS
        ties = tying.add(Batch(frames, closed, pl.DataFrame(), settled_ns, world.vantages), {})
        frame_ns = ties.frame["ts_ns"].tolist()
        found += zip(ties.drop["ts_ns"].tolist(), frame_ns, ties.answer, strict=True)
    return sorted(found)


def test_batches_of_any_size_tie_the_same() -> None:
    """Frames that waited some milliseconds, drops of several processors, answers among them."""
    random, world = np.random.default_rng(7), a_world()
    at_us = np.cumsum(random.exponential(4_000, 900))
    rows = np.zeros(len(at_us), ROW)
    for n, at in enumerate(at_us):
        world.send(0, 1, float(at), key=n + 1, upto=2)
        rows[n]["seen_ns"] = (at + random.uniform(5, 4_990)) * MICRO
    rows["ts_ns"] = rows["seen_ns"] + random.integers(0, MOST_WORK_NS, len(rows))
    rows["tie"] = random.choice([SAME, COPY, ANSWER], len(rows))
    rows["len_bytes"], rows["protocol"] = LENGTH, IPV4
    blocks = [encode_drops(Drops(rows, devices=["veth0"], locations=["x"], reasons=["y"]))]
    whole = in_batches(world, blocks, len(rows))
    assert len(whole) > len(rows) // 3
    for size in (1, 3, 50):
        assert in_batches(world, blocks, size) == whole
