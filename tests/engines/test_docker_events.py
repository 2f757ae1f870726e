"""The engine's own events, as it sends them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from analyzer.engines.docker_events import decode_event, listen_to_docker
from analyzer.model.evidence import KernelEvent

PAUSE = {
    "Type": "container",
    "Action": "pause",
    "Actor": {"ID": "f" * 64, "Attributes": {"name": "tomcat01", "image": "busybox"}},
    "timeNano": 1_700_000_000_000_000_007,
}


class Events:
    """What a client's ``events`` gives: it waits for the next one until it is closed."""

    def __init__(self, *sent: Any) -> None:
        self._sent: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for one in sent:
            self._sent.put(one)

    def events(self, **_: Any) -> Events:
        return self

    def __iter__(self) -> Iterator[Any]:
        while (one := self._sent.get()) is not None:
            if isinstance(one, Exception):
                raise one
            yield one

    def close(self) -> None:
        self._sent.put(None)


def test_a_pause_has_its_name_and_time() -> None:
    assert decode_event(PAUSE) == KernelEvent(
        1_700_000_000_000_000_007, 0, "container", "pause", "tomcat01"
    )


def test_a_network_names_the_container_by_its_id() -> None:
    attributes = {"name": "bridge", "container": "0123456789abcdef", "type": "bridge"}
    event = {"Type": "network", "Action": "disconnect", "Actor": {"Attributes": attributes}}
    assert decode_event(event | {"timeNano": 5}) == KernelEvent(
        5, 0, "network", "disconnect", "bridge", "container 0123456789ab"
    )


def test_a_death_has_its_exit_code() -> None:
    actor = {"ID": "0123456789abcdef", "Attributes": {"exitCode": "137"}}
    event = decode_event({"Type": "container", "Action": "die", "Actor": actor})
    assert event == KernelEvent(0, 0, "container", "die", "0123456789ab", "exit code 137")


@pytest.mark.parametrize(
    "event",
    [{}, {**PAUSE, "Action": "exec_start: sh"}, {**PAUSE, "Type": "image"}, {"Type": None}],
)
def test_what_does_not_bear_on_traffic_is_passed_over(event: dict[str, Any]) -> None:
    assert decode_event(event) is None


def test_events_are_heard_until_the_end() -> None:
    heard: list[Any] = []
    second = threading.Event()

    def hear(event: Any) -> None:
        heard.append(event)
        if len(heard) == 2:
            second.set()

    end = listen_to_docker(Events(PAUSE, PAUSE), hear)
    assert second.wait(10)
    end()
    assert heard == [PAUSE, PAUSE]


def test_an_engine_that_goes_away_is_told() -> None:
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    end = listen_to_docker(Events(ConnectionResetError("gone")), heard.put)
    assert heard.get(timeout=10) is None
    end()
