"""Journeys of known truth: no certain match is false, hardly one is missed, wherever chunks end."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import drawn
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from truth_bed import Scenario, score
from world import MICRO, World, mac_of

from analyzer.model.journeys import Hop, Status

ALL_KINDS = (4, 4, 1, 1)

SCENARIOS = {
    "loss at any hop": Scenario(loss=0.02),
    "sent twice": Scenario(twice=0.05),
    "overtaking": Scenario(jitter=1.5, spacing_us=5),
    "identical, in flight together": Scenario(identical=0.3),
    "identical, with losses": Scenario(identical=0.3, loss=0.02),
    "IP id 0": Scenario(zero_id=1.0, loss=0.01),
    "fragments": Scenario(kinds=(0, 0, 0, 1), loss=0.01),
    "cut into segments": Scenario(kinds=(0, 1, 1, 0), spacing_us=10),
    "cut into segments, with losses": Scenario(kinds=(0, 1, 1, 0), spacing_us=10, loss=0.01),
    "docker0 missing": Scenario(missing=("docker0",), loss=0.01),
    "a port missing": Scenario(missing=("veth0",), loss=0.01),
    "a container missing": Scenario(missing=("c1:eth0",), loss=0.01),
    "different snaplens": Scenario(snaplens=(64, 96, 0), loss=0.01),
    "rings written late": Scenario(flush_us=3000, loss=0.01),
    "copies with their own stamps": Scenario(own_stamps=True, kinds=(1, 1, 0, 0), loss=0.01),
    "all together": Scenario(
        kinds=ALL_KINDS,
        loss=0.01,
        twice=0.01,
        identical=0.02,
        zero_id=0.3,
        snaplens=(128, 0, 96),
        flush_us=500,
        spacing_us=10,
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_certain_match_is_false_and_hardly_one_is_missed(name: str) -> None:
    found = score(replace(SCENARIOS[name], packets=20_000), 10_000)
    assert found.links > 30_000
    assert found.false_certain == 0
    assert found.recall >= 0.999
    ambiguous = SCENARIOS[name].identical or SCENARIOS[name].twice
    assert ambiguous or found.falsely_lost == found.false_likely == 0
    assert found.said_lost <= found.lost


@pytest.mark.parametrize("name", ["loss at any hop", "overtaking", "IP id 0", "rings written late"])
def test_every_loss_is_found(name: str) -> None:
    found = score(SCENARIOS[name], 100)
    assert found.said_lost == found.lost


def test_a_lost_segment_is_a_loss_of_the_frame_that_it_was_cut_from() -> None:
    found = score(Scenario(packets=3000, kinds=(0, 0, 1, 0), loss=0.02), 500)
    assert found.lost > 100
    assert found.said_lost == found.lost
    assert found.falsely_lost == 0


GIVEN_UP_BEFORE_ITS_TWIN = Scenario(
    packets=2000,
    containers=4,
    spacing_us=20_000.0,
    jitter=2.0,
    twice=0.3,
    identical=0.02,
    zero_id=0.3,
    kinds=(3, 0, 0, 2),
    missing=("veth1",),
    snaplens=(0, 64, 64),
    seed=3463247441,
)
STAMPS_EQUAL_BY_CHANCE = Scenario(
    packets=2000,
    containers=2,
    spacing_us=5.0,
    jitter=0.0,
    twice=0.3,
    identical=0.3,
    zero_id=0.02,
    kinds=(1, 0, 2, 2),
    missing=("c0:eth0",),
    snaplens=(80,),
    own_stamps=True,
    seed=944111038,
)
"""what random seeds have found"""

share = st.sampled_from([0.0, 0.02, 0.3])


@example(GIVEN_UP_BEFORE_ITS_TWIN, 7)
@example(STAMPS_EQUAL_BY_CHANCE, 7)
@drawn(60)
@given(
    st.builds(
        Scenario,
        packets=st.integers(1, 400),
        containers=st.integers(2, 4),
        spacing_us=st.sampled_from([1.0, 20.0, 200.0, 20_000.0]),
        jitter=st.sampled_from([0.0, 0.5, 2.0]),
        loss=share,
        twice=share,
        identical=share,
        zero_id=share,
        kinds=st.tuples(*[st.integers(0, 3)] * 4).filter(any),
        missing=st.sampled_from([(), ("docker0",), ("veth1",), ("c0:eth0",), ("c0:eth0", "veth1")]),
        snaplens=st.lists(st.sampled_from([0, 64, 80, 128]), min_size=1, max_size=3).map(tuple),
        flush_us=st.sampled_from([0.0, 100.0, 5_000.0]),
        own_stamps=st.booleans(),
        seed=st.integers(0, 2**32 - 1),
    ),
    st.sampled_from([7, 50, 1000]),
)
def test_whatever_happens_no_certain_match_is_false(scenario: Scenario, chunk: int) -> None:
    found = score(scenario, chunk)
    assert found.false_certain == 0
    assert found.said_lost <= found.lost


@pytest.mark.parametrize("name", SCENARIOS)
def test_matches_do_not_depend_on_where_chunks_end(name: str) -> None:
    whole, *others = (score(SCENARIOS[name], chunk) for chunk in (100_000, 1000, 70))
    assert others == [whole, whole]


def tcp(seq: int, length: int, key: int) -> dict[str, int]:
    return {
        "l2key": key,
        "eth_src": mac_of(0),
        "eth_dst": mac_of(1),
        "ethertype": 0x0800,
        "ip_version": 4,
        "protocol": 6,
        "l4_offset": 34,
        "src_port": 1,
        "dst_port": 2,
        "tcp_seq": seq,
        "payload_len": length,
    }


def test_segments_that_were_merged_are_not_lost() -> None:
    world = World()
    for n in range(3):
        for name, egress, at in (("c0:eth0", True, 0), ("veth0", False, 5), ("veth1", True, 40)):
            world.see(name, egress, (at + n) * MICRO, **tcp(n * 1000, 1000, n + 1))
    world.see("c1:eth0", False, 60 * MICRO, **tcp(0, 3000, 9))
    frames, journeys = world.correlate()
    assert (journeys.status == Status.DELIVERED).all()
    (merged,) = np.flatnonzero(frames["payload_len"] == 3000)
    assert frames["tcp_seq"][journeys.parent[merged]] == 0
    assert journeys.hop[merged] == Hop.VETH
    assert not journeys.likely[merged]


def test_sequence_numbers_wrap_inside_a_frame_that_is_cut() -> None:
    world = World()
    start = (1 << 32) - 1000
    for name, egress, at in (("c0:eth0", True, 0), ("veth0", False, 5)):
        world.see(name, egress, at * MICRO, **tcp(start, 3000, 1))
    for n in range(3):
        seq = (start + 1000 * n) & 0xFFFFFFFF
        for name, egress, at in (("veth1", True, 40), ("c1:eth0", False, 50)):
            world.see(name, egress, (at + n) * MICRO, **tcp(seq, 1000, n + 2))
    _, journeys = world.correlate()
    assert list(journeys.status) == [Status.DELIVERED]
    assert journeys.frames[0] == 8
