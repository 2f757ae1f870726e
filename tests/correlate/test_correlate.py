"""Journeys of a world whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace
from world import BRIDGE_MAC, MICRO, World, assert_no_false_match, mac_of, mac_text

from analyzer.correlate.correlate import Correlator
from analyzer.correlate.loss import Watch
from analyzer.model.journeys import Evidence, Hop, Status


def kinds(journeys, packet):
    return sorted(Hop(h).name for h in journeys.hop[journeys.packet == packet])


def test_one_unicast_is_one_journey_with_three_timed_hops():
    world = World()
    world.send(0, 1, 10, key=7)
    frames, journeys = world.correlate()
    assert len(journeys.first) == 1
    assert kinds(journeys, 0) == ["BRIDGE", "COPY", "NONE", "VETH", "VETH"]
    assert world.name(frames["vantage"][journeys.first[0]]) == "c0:eth0"
    assert world.name(frames["vantage"][journeys.last[0]]) == "c1:eth0"
    assert journeys.status[0] == Status.DELIVERED
    wanted = Evidence.STATION_OUT | Evidence.PORT_IN | Evidence.BRIDGE_COPY | Evidence.PORT_OUT
    wanted |= Evidence.STATION_IN | Evidence.SAME_STAMP
    assert journeys.evidence[0] == wanted
    assert world.name(journeys.in_port[0]) == "veth0"
    assert world.name(journeys.out_port[0]) == "veth1"


def test_delays_are_those_between_the_stamps():
    world = World()
    world.send(0, 1, 10, key=7, hop_us=(5, 84, 2))
    frames, journeys = world.correlate()
    delay = {
        Hop(journeys.hop[i]): frames["ts_ns"][i] - frames["ts_ns"][journeys.parent[i]]
        for i in range(5)
        if journeys.hop[i] in (Hop.BRIDGE, Hop.COPY)
    }
    assert delay == {Hop.BRIDGE: 84 * MICRO, Hop.COPY: 0}


def test_flood_is_one_tree_with_one_ingress_and_all_egress_ports():
    world = World(containers=5)
    world.flood(2, 10, key=9)
    world.send(0, 2, 500, key=10)
    frames, journeys = world.correlate()
    assert len(journeys.first) == 2
    assert kinds(journeys, 0) == sorted(["NONE", "VETH", "DELIVER", *["BRIDGE"] * 4, *["VETH"] * 4])
    assert kinds(journeys, 1) == ["BRIDGE", "COPY", "NONE", "VETH", "VETH"]
    assert_no_false_match(frames, journeys)


@pytest.mark.parametrize(
    ("upto", "last", "expected"),
    [(1, "c0:eth0", "veth0"), (2, "veth0", "veth1"), (3, "veth1", "c1:eth0")],
)
def test_loss_is_named_by_last_and_next_vantage(upto, last, expected):
    world = World()
    world.send(1, 0, 1, key=1)  # teaches where c1 lives
    world.send(0, 1, 1000, key=2, upto=upto)
    frames, journeys = world.correlate()
    assert list(journeys.status) == [Status.DELIVERED, Status.LOST]
    assert world.name(frames["vantage"][journeys.last[1]]) == last
    assert world.name(journeys.expected[1]) == expected


def test_unknown_destination_is_unmatched_not_lost():
    world = World(inside=False)
    world.send(0, 1, 10, key=2, upto=2)
    _, journeys = world.correlate()
    assert list(journeys.status) == [Status.UNMATCHED]


def test_destination_known_from_the_fdb_is_lost():
    world = World(inside=False)
    world.send(0, 1, 10, key=2, upto=2)
    _, journeys = world.correlate(fdb={"docker0": [("02:42:ac:11:00:02", 12)]})
    assert list(journeys.status) == [Status.LOST]
    assert world.name(journeys.expected[0]) == "veth1"


def test_a_packet_is_lost_before_the_port_of_who_had_the_mac_then():
    """c1 is gone at 500 µs; c2 comes at 2,000 µs and bears its MAC."""
    world = World(3)
    heir = world.at("c2:eth0")
    world.vantages[heir] = replace(world.vantages[heir], mac=mac_text(mac_of(1)))
    for at_us, key in ((300, 1), (3000, 2)):
        world.send(0, 1, at_us, key=key, upto=2)
    starts, ends = np.zeros(7, np.int64), np.full(7, 1 << 62)
    c1, c2 = ([world.at(name) for name in (f"veth{n}", f"c{n}:eth0")] for n in (1, 2))
    ends[c1], starts[c2] = 50_000 * MICRO, 2000 * MICRO
    _, journeys = world.correlate(watch=Watch(starts, ends, np.ones(7, np.bool_)))
    assert list(journeys.status) == [Status.LOST, Status.LOST]
    assert [world.name(one) for one in journeys.expected] == ["veth1", "veth2"]


def test_dropped_frames_and_the_edge_of_the_capture_are_unmatched():
    for end_ns, complete in ((1 << 62, False), (1000 * MICRO + 1, True)):
        world = World()
        world.send(0, 1, 1000, key=2, upto=2)
        count = len(world.vantages)
        watch = Watch(np.zeros(count, np.int64), np.full(count, end_ns), np.full(count, complete))
        _, journeys = world.correlate(watch=watch)
        assert list(journeys.status) == [Status.UNMATCHED]


@pytest.mark.parametrize("spacing_us", [1000, 200, 95])
def test_identical_packets_with_known_drops_shift_no_match(spacing_us):
    world = World()
    dropped = set(range(29, 3000, 30))
    for n in range(3000):
        world.send(0, 1, n * spacing_us, key=5, upto=2 if n in dropped else 5)
    frames, journeys = world.correlate()
    assert (journeys.status == Status.LOST).sum() == len(dropped) == 100
    assert (journeys.status == Status.DELIVERED).sum() == 2900
    assert_no_false_match(frames, journeys)
    lost = frames["truth"][journeys.last[journeys.status == Status.LOST]]
    sent_at = np.sort(frames["ts_ns"][journeys.first[journeys.status == Status.LOST]])
    assert len(set(lost)) == 100
    assert (sent_at == np.array(sorted(dropped)) * spacing_us * MICRO).all()


def test_copies_with_stamps_of_their_own_are_tied_by_kernel_order():
    """TCP leaves its departure time in the skb: no receive stamp, every tap takes its own."""
    world = World()
    dropped = set(range(4, 60, 5))
    for n in range(60):
        world.send(0, 1, n * 200, key=5, upto=2 if n in dropped else 5)
    at = world.at("docker0")
    for row in world.rows:
        if row["vantage"] == at:
            row["ts_ns"] += 90 * MICRO
    frames, journeys = world.correlate()
    assert_no_false_match(frames, journeys)
    assert len(journeys.first) == 60
    assert (journeys.status == Status.LOST).sum() == len(dropped)
    assert ((journeys.evidence & Evidence.BRIDGE_COPY) > 0).all()
    assert not (journeys.evidence & Evidence.SAME_STAMP).any()


def test_identical_packets_through_a_queue_match_first_in_first_out():
    world = World(qdisc="tbf")
    for n in range(50):
        world.send(0, 1, n * 100, key=5, hop_us=(5, 80 + n * 1000, 2))
    frames, journeys = world.correlate()
    assert_no_false_match(frames, journeys)
    assert (journeys.status == Status.DELIVERED).all()
    assert journeys.likely.any()


def test_identical_packets_from_two_senders_stay_apart():
    world = World(containers=3)
    for n in range(20):
        world.send(0, 2, n * 300, key=5)
        world.send(1, 2, n * 300 + 150, key=6)
    frames, journeys = world.correlate()
    assert len(journeys.first) == 40
    assert_no_false_match(frames, journeys)


def test_two_worlds_with_equal_macs_and_keys_are_never_mixed():
    one, other = World(), World(base_netns=1000)
    one.send(0, 1, 10, key=7)
    other.send(0, 1, 11, key=7)
    shift = len(one.vantages)
    one.vantages += other.vantages
    one.rows += [{**r, "vantage": r["vantage"] + shift, "truth": 99} for r in other.rows]
    frames, journeys = one.correlate()
    assert len(journeys.first) == 2
    assert_no_false_match(frames, journeys)
    assert len(set(journeys.segment)) == 2


def test_route_is_followed_where_the_hop_limit_fell_by_one():
    world = World()
    world.vantages.append(world.vantages[0].__class__("uplink0", "uplink0", "uplink", 1, 4, "veth"))
    world.see(
        "c0:eth0",
        True,
        0,
        l2key=1,
        l3key=50,
        natkey=60,
        ttl=64,
        eth_src=mac_of(0),
        eth_dst=BRIDGE_MAC,
    )
    world.see(
        "veth0",
        False,
        5000,
        l2key=1,
        l3key=50,
        natkey=60,
        ttl=64,
        eth_src=mac_of(0),
        eth_dst=BRIDGE_MAC,
    )
    world.see(
        "docker0",
        False,
        5000,
        l2key=1,
        l3key=50,
        natkey=60,
        ttl=64,
        eth_src=mac_of(0),
        eth_dst=BRIDGE_MAC,
    )
    world.see("uplink0", True, 9000, l2key=2, l3key=51, natkey=60, ttl=63, eth_src=1, eth_dst=2)
    world.see("uplink0", True, 9500, l2key=3, l3key=50, natkey=61, ttl=64, eth_src=1, eth_dst=2)
    _, journeys = world.correlate()
    assert len(journeys.first) == 2
    assert kinds(journeys, 0) == ["DELIVER", "NONE", "ROUTE", "VETH"]
    assert journeys.evidence[0] & Evidence.ROUTED


def test_a_container_that_routes_back_makes_one_packet_of_chunks_of_any_size():
    """c1 has one interface: what c0 sends to it for c2 comes out of it again."""
    world = World(containers=3)
    first = {"l2key": 1, "l3key": 50, "natkey": 60, "ttl": 64, "dst_lo": 9}

    for n, (source, target) in enumerate([(0, 1), (1, 2)]):
        before = len(world.rows)
        world.send(source, target, 200 * n, key=1 + n)
        for row in world.rows[before:]:
            row.update({**first, "l2key": 1 + n, "ttl": 64 - n, "truth": 0})
    whole, journeys = world.correlate()
    assert journeys.frames.tolist() == [10]
    assert journeys.evidence[0] & Evidence.ROUTED
    assert not journeys.evidence[0] & Evidence.FLOODED
    for size in (1, 3):
        assert frames_of_closed(world, whole, size) == [10]


def frames_of_closed(world, whole, size):
    """How many frames the packets have, where so many are read at a time."""
    correlator, carried, closed = Correlator(), None, []
    count, total = len(world.vantages), len(whole["ts_ns"])
    watch = Watch(np.zeros(count, np.int64), np.full(count, 1 << 62), np.ones(count, np.bool_))
    whole["number"] = np.arange(total)
    for at in range(0, total, size):
        frames = {name: column[at : at + size] for name, column in whole.items()}
        now = int(frames["ts_ns"].max())
        if carried is not None:
            frames = {n: np.concatenate([carried[n], frames[n]]) for n in frames}
        journeys, links = correlator.correlate(frames, world.vantages, watch)
        if at + size < total:
            open_ = correlator.close(frames, journeys, links, now, hold=False)
            carried = {name: column[open_] for name, column in frames.items()}
        closed += journeys.frames.tolist()
    return closed


def test_nothing_to_correlate():
    _, journeys = World().correlate()
    assert len(journeys.first) == 0
