"""Requests that nobody answered: their target's port is blamed only while it is there."""

from __future__ import annotations

from finding_inputs import PORTS, VANTAGES
from msgspec.structs import replace

from analyzer.diagnosis.settings import Scene
from analyzer.diagnosis.silent import unheard_askers
from analyzer.model.flow_rows import ArpRow

WANTED = "02:42:ac:11:00:03"
ENDS = ("tomcat01", "172.17.0.2", PORTS[0].peer_mac, "172.17.0.3", "", "")
ASKED = ArpRow(*ENDS, 2, 0, None, None, "unanswered")
SCENE = Scene(VANTAGES, fdb={"docker0": [(WANTED, 99)]})
"""the bridge has tomcat02's MAC at another port"""


def test_the_table_points_to_another_port() -> None:
    (loss,) = unheard_askers([ASKED], SCENE)
    assert (loss.packets, loss.reason) == (2, "the FDB points to the wrong port")


def test_whose_port_vanished_is_not_to_be_found_behind_it() -> None:
    assert unheard_askers([ASKED], SCENE, {"tomcat02"}) == []


def test_who_was_answered_lacks_nothing() -> None:
    assert unheard_askers([replace(ASKED, replies=2, state="resolved")], SCENE) == []
