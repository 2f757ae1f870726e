"""Frames that come back by the port that a bridge sent them by, out of made columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from finding_inputs import BRIDGE, PORTS
from msgspec.structs import replace

from analyzer.analysis.returned_frames import ReturnedFrames
from analyzer.model.batch import Columns
from analyzer.model.frames import EGRESS, INGRESS, NO_VLAN
from analyzer.net.ethernet import mac_value

ONE, OTHER, DOCKER0 = 0, 1, 2
LOOPED = [replace(port, container="", peer_mac="") for port in PORTS]
VANTAGES = [*LOOPED, BRIDGE]
MS, S = 1_000_000, 1_000_000_000
SOME_MAC = 0x0242AC110009
KEYS = np.full(43, 77, np.uint64)
Seen = tuple[int, int, int]
"""vantage, direction, time in ms"""


def frames(seen: Sequence[Seen], eth_src: int = SOME_MAC, eth_dst: int = 0xFFFFFFFFFFFF) -> Columns:
    """One and the same frame, seen at these places."""
    count = len(seen)
    vantage, flags, ts = (np.array(column) for column in zip(*seen, strict=True))
    columns: dict[str, Any] = {
        "vantage": vantage.astype(np.int32),
        "flags": flags.astype(np.uint32),
        "ts_ns": S + ts.astype(np.int64) * MS,
        "number": np.arange(count, dtype=np.int64),
        "eth_src": np.full(count, eth_src, np.uint64),
        "eth_dst": np.full(count, eth_dst, np.uint64),
        "l2key": np.full(count, 77, np.uint64),
        "vlan": np.full(count, NO_VLAN, np.uint16),
        "ethertype": np.full(count, 0x806, np.uint16),
        "protocol": np.full(count, 255, np.uint8),
        "wirelen": np.full(count, 42, np.uint32),
    }
    return columns


def told(seen: Sequence[Seen], **values: int) -> list[tuple[int, int, int]]:
    """(vantage, times that it was sent, times that it came back)."""
    returned = ReturnedFrames()
    returned.add(frames(seen, **values), VANTAGES)
    return [(row["vantage"], row["sends"], row["returns"]) for row in returned.rows()]


def rounds(count: int) -> list[Seen]:
    """Sent once by the host, and round and round from there."""
    sent = [(DOCKER0, EGRESS, 0), (ONE, EGRESS, 1), (OTHER, EGRESS, 2)]
    back = [((OTHER, INGRESS, 3 + 2 * n), (ONE, EGRESS, 4 + 2 * n)) for n in range(count)]
    return [*sent, *(one for pair in back for one in pair)]


def test_a_loop_brings_one_frame_back_many_times() -> None:
    assert told(rounds(20)) == [(OTHER, 1, 20)]


def test_chunks_make_no_difference() -> None:
    returned, all_of = ReturnedFrames(), frames(rounds(20))
    for at in range(0, len(all_of["ts_ns"]), 3):
        returned.add({name: column[at : at + 3] for name, column in all_of.items()}, VANTAGES)
    (row,) = returned.rows()
    assert (row["sends"], row["returns"]) == (1, 20)
    assert row["last_ns"] - row["first_ns"] == 38 * MS


def test_a_node_that_sends_back_brings_one_of_each() -> None:
    seen = [
        one
        for n in range(20)
        for one in ((DOCKER0, EGRESS, 9 * n), (ONE, EGRESS, 9 * n + 1), (ONE, INGRESS, 9 * n + 2))
    ]
    assert told(seen) == [(ONE, 20, 20)]


def test_what_its_own_station_repeats_was_sent() -> None:
    vantages = [replace(LOOPED[0], peer_mac="02:42:ac:11:00:09"), *VANTAGES[1:]]
    returned = ReturnedFrames()
    hairpin = [one for n in range(9) for one in ((ONE, INGRESS, 2 * n), (ONE, EGRESS, 2 * n + 1))]
    returned.add(frames(hairpin, mac_value("02:42:ac:11:00:09")), vantages)
    assert returned.rows() == []


def test_what_is_taken_up_late_was_stamped_before_the_others_left() -> None:
    sent = [(ONE, INGRESS, 10), (OTHER, EGRESS, 11)]
    assert told([*sent, (OTHER, INGRESS, 9)], eth_src=mac_value(PORTS[0].peer_mac)) == [
        (OTHER, 1, 1)
    ]
    returned = ReturnedFrames()
    by_another = frames([(ONE, INGRESS, 10), (OTHER, INGRESS, 9)])
    returned.add(by_another, VANTAGES)
    assert (returned.rows(), returned.waiting) == ([], {1})


def test_the_second_link_to_a_bridge_brings_a_copy() -> None:
    twice = [one for n in range(9) for one in ((ONE, INGRESS, 100 * n), (OTHER, INGRESS, 100 * n))]
    assert told(twice) == []


def test_what_crosses_from_bridge_to_bridge_is_no_second_one() -> None:
    there = replace(LOOPED[1], master_ifindex=4, bridge="br1", peer_netns=1, peer_ifindex=11)
    returned = ReturnedFrames()
    crossing = frames([(DOCKER0, EGRESS, 0), (ONE, EGRESS, 1), (OTHER, INGRESS, 2)])
    returned.add(crossing, [LOOPED[0], there, BRIDGE])
    assert returned.rows() == []
    assert returned.waiting == {2}


def test_what_is_sent_anew_after_a_second() -> None:
    assert told([(ONE, EGRESS, 0), (ONE, INGRESS, 1500)]) == []


def test_unicast_is_followed_where_others_come_back() -> None:
    assert told(rounds(20), eth_dst=SOME_MAC - 1) == []
    returned = ReturnedFrames()
    returned.add(frames(rounds(20)), VANTAGES)
    returned.add(frames(rounds(20), eth_dst=SOME_MAC - 1) | {"l2key": KEYS + 1}, VANTAGES)
    assert [(row["sends"], row["returns"]) for row in returned.rows()] == [(1, 20), (1, 20)]
