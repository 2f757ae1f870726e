"""Rules of the host's are not blamed for requests that it has let pass."""

from __future__ import annotations

import numpy as np
import pytest
from finding_inputs import BRIDGE, PORTS
from msgspec.structs import replace

from analyzer.diagnosis.settings import Scene
from analyzer.diagnosis.silent import IGNORE_ALL, unanswered_echoes
from analyzer.model.frames import EXAMPLE
from analyzer.model.vantage import Role, Vantage
from analyzer.recorders.settings.facts import Facts

UPLINK = Vantage("uplink0", "uplink0", Role.UPLINK, 1, 2)
VANTAGES = [*PORTS, BRIDGE, UPLINK]


def reasons(at: int, began: int, destination: str) -> list[str]:
    """Of three echoes, where the host is told to answer none."""
    row = {
        "protocol": "icmp",
        "source": "tomcat01",
        "destination": destination,
        "at": at,
        "began": began,
        "packets": 3,
        "times_ns": [],
        "last_frame": 0,
    }
    frames = {name: np.zeros(1, np.uint64) for name in EXAMPLE}
    facts = Facts(sysctls={1: {IGNORE_ALL: "1"}})
    scene = Scene(VANTAGES, {}, (facts,), {}, "docker", {})
    return [loss.reason for loss in unanswered_echoes([row], frames, [], scene)]


@pytest.mark.parametrize(
    ("at", "began", "destination", "blamed"),
    [
        (2, 0, "host", 1),  # handed to the host's stack
        (0, 0, "host", 1),  # into the host by a port, its bridge not captured
        (3, 3, "host", 1),  # into the host from outside
        (3, 0, "198.51.100.2", 0),  # out of the host
        (1, 0, "tomcat02", 0),  # out of the host, to a container
    ],
)
def test_what_left_by_an_interface_was_let_pass(
    at: int, began: int, destination: str, blamed: int
) -> None:
    assert len(reasons(at, began, destination)) == blamed


def test_a_host_veth_that_is_no_port_is_a_way_out() -> None:
    VANTAGES[3] = replace(UPLINK, role=Role.HOST_VETH)
    try:
        assert reasons(3, 0, "198.51.100.2") == []
    finally:
        VANTAGES[3] = UPLINK
