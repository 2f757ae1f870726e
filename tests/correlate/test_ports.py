"""Which port leads to a MAC: what is learned of strangers is bounded, the latest stays."""

from __future__ import annotations

import numpy as np
from world import World, mac_of

from analyzer.correlate import ports
from analyzer.correlate.ports import Ports
from analyzer.correlate.stages import build_layout

FORGED = 0x020000000000


def test_forged_macs_push_out_only_what_was_learned_before(monkeypatch) -> None:
    monkeypatch.setattr(ports, "_MOST_LEARNED", 100)
    world = World(2, inside=False)
    layout, known = build_layout(world.vantages), Ports()
    at = world.at("veth1")
    for first in range(0, 1_000, 50):
        macs = np.arange(50, dtype=np.uint64) + np.uint64(FORGED + first)
        places = np.full(50, at, np.int32)
        known.learn(layout, np.ones(50, np.int32), places, macs)
    known.resolve(layout, world.vantages, {})
    asked = [FORGED + 999, FORGED, mac_of(0), mac_of(1), FORGED + 5_000]
    segment = np.full(len(asked), layout.segment[at], np.int32)
    leads = known.leading_to(segment, np.array(asked, np.uint64))
    assert leads.tolist()[:2] == [at, -1]
    assert leads.tolist()[4] == -1
    elsewhere = segment + 1_000
    assert known.leading_to(elsewhere, np.array(asked, np.uint64)).tolist() == [-1] * 5


def test_nothing_is_known_before_anything_was_learned() -> None:
    macs = np.array([1, 2], np.uint64)
    assert Ports().leading_to(np.zeros(2, np.int32), macs).tolist() == [-1, -1]
