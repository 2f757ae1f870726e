"""Why an interface vanished: by what the engine tells at that time."""

from __future__ import annotations

import pytest

from analyzer.diagnosis.departures import explain_departure
from analyzer.model.evidence import KernelEvent
from analyzer.model.vantage import Role, Vantage

S = 1_000_000_000
PORT = Vantage("veth1", "veth1", Role.HOST_VETH, 1, 11, container="web", container_id="ab" * 32)
LEFT = KernelEvent(60 * S, 0, "network", "disconnect", "front", "container abababababab")
DIED = KernelEvent(59 * S, 0, "container", "die", "web", "exit code 0")
OTHERS = KernelEvent(60 * S, 0, "network", "disconnect", "front", "container cdcdcdcdcdcd")
LINK = KernelEvent(60 * S, 1, "link", "gone", "veth1")


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([], "container stopped"),
        ([LINK], "container stopped"),
        ([DIED, LEFT], "container stopped"),
        ([LEFT], "disconnected from its network"),
        ([LINK, LEFT, OTHERS], "disconnected from its network"),
        ([OTHERS], "interface gone"),
    ],
)
def test_the_engine_tells_why(events: list[KernelEvent], reason: str) -> None:
    assert explain_departure(PORT, 60 * S, events).reason == reason


def test_what_happened_at_another_time_is_no_reason() -> None:
    assert explain_departure(PORT, 90 * S, [LEFT]).reason == "interface gone"
    assert explain_departure(PORT, 90 * S, [DIED]).reason == "interface gone"


def test_how_to_connect_it_again() -> None:
    departure = explain_departure(PORT, 60 * S, [LEFT])
    assert departure.what == "web was disconnected from front, and its veth pair was gone"
    assert departure.advice == "it went on running: docker network connect front web"
