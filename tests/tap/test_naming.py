"""Whose a newcomer is, by what the engine told, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from msgspec.structs import replace

from analyzer.engines.base import Engine
from analyzer.errors import EnvironmentProblem
from analyzer.model.topology import Attachment, Container
from analyzer.tap.naming import Naming, Question

WEB = Container("web", "4711", 0, 0, (Attachment("bridge", "02:42:00:00:00:01"),), running=False)
PATIENCE_S = 5


class Asked(Engine):
    """Tells of ``endpoints`` and ``listed``; counts how often it was asked."""

    def __init__(
        self, endpoints: list[Container] | None = None, listed: list[Container] | None = None
    ) -> None:
        self.endpoints, self.listed = endpoints, listed or []
        self.listings = 0
        self.problem: EnvironmentProblem | None = None

    def starting(self, bridge: str) -> list[Container] | None:
        if self.problem:
            raise self.problem
        return self.endpoints if bridge == "br0" else None

    def containers(self) -> list[Container]:
        self.listings += 1
        return self.listed


def question(since_s: float = 0.0, mac: str = "02:42:00:00:00:01") -> Question:
    return Question("br0", since_s, 9, "/run/netns/x", time.monotonic(), frozenset({mac}))


@contextmanager
def naming(engine: Engine) -> Iterator[tuple[Naming, threading.Event, list[str]]]:
    answered, troubles = threading.Event(), list[str]()
    one = Naming(engine, answered.set, troubles.append)
    one.start()
    try:
        yield one, answered, troubles
    finally:
        one.stop()


def test_by_the_mac_of_an_endpoint() -> None:
    with naming(Asked([WEB])) as (one, answered, _):
        assert one.owners(question()) == []
        one.ask({1: question()})
        assert answered.wait(PATIENCE_S)
        (owner,) = one.owners(question())
        assert owner == replace(WEB, netns=9, netns_path="/run/netns/x", running=True)
        assert one.owners(question(mac="02:42:00:00:00:02")) == []


def test_what_was_told_before_a_port_appeared_is_of_another() -> None:
    """A container's MAC and address are the next one's."""
    with naming(Asked([WEB])) as (one, answered, _):
        one.ask({1: question()})
        assert answered.wait(PATIENCE_S)
        assert one.owners(question(since_s=time.monotonic())) == []


@pytest.mark.parametrize(("endpoints", "listings"), [([], 0), (None, 1)])
def test_all_are_listed_only_where_endpoints_are_not_known(
    endpoints: list[Container] | None, listings: int
) -> None:
    """A busy engine takes a second and more to list all, and meanwhile no newcomer is named."""
    engine = Asked(endpoints, [replace(WEB, netns=9)])
    with naming(engine) as (one, answered, _):
        one.ask({1: question()})
        assert answered.wait(PATIENCE_S)
        assert engine.listings == listings
        assert [owner.name for owner in one.owners(question())] == ["web"] * listings


def test_an_engine_that_does_not_answer_is_told_of() -> None:
    engine = Asked([WEB])
    engine.problem = EnvironmentProblem("gone")
    with naming(engine) as (one, answered, troubles):
        one.ask({1: question()})
        assert answered.wait(PATIENCE_S)
        assert troubles == ["newcomers are not named: gone"]
        engine.problem = None
        answered.clear()
        one.ask({1: question()})
        assert answered.wait(PATIENCE_S)
        assert [owner.name for owner in one.owners(question())] == ["web"]
