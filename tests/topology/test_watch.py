"""Changes as they happen, and their wording."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from topology_samples import HOST, ONE, TWO, topology

from analyzer.engines import open_engine
from analyzer.engines.lab import Lab, lab_names, take_down_lab
from analyzer.model.topology import Topology
from analyzer.topology.watch import Change, Watch, changes

SECONDS = 20.0


def without(found: Topology, netns: int, *host: int) -> Topology:
    """The topology after a container is gone, with its namespace and its host veths."""
    gone = {(HOST, ifindex) for ifindex in host}
    return replace(
        found,
        interfaces=tuple(i for i in found.interfaces if i.netns != netns and i.key not in gone),
        containers=tuple(c for c in found.containers if c.netns != netns),
    )


def test_container_goes_with_its_pair() -> None:
    before = topology()
    assert [str(c) for c in changes(before, without(before, TWO, 13))] == [
        "veth pair eth0@if13 ↔ vethccc@if2 (tomcat02) is gone",
        f"container tomcat02 ({'ab34' * 3}) is gone",
    ]


def test_container_comes_after_its_pairs() -> None:
    after = topology()
    told = changes(without(after, ONE, 11, 12), after, 5)
    assert [str(c) for c in told] == [
        "veth pair eth0@if11 ↔ vethaaa@if2 (tomcat01) appeared on docker0",
        "veth pair eth1@if12 ↔ vethbbb@if3 (tomcat01) appeared on br-net2",
        f"container side ({'cd56' * 3}) appeared",
        f"container tomcat01 ({'ab12' * 3}) appeared: 172.17.0.2/16, 172.18.0.2/16",
    ]
    assert told[0].to_json() == {
        "kind": "veth",
        "action": "appeared",
        "name": "vethaaa",
        "container": "tomcat01",
        "text": str(told[0]),
        "ts_ns": 5,
    }


def test_pair_taken_off_its_bridge_changed() -> None:
    before = topology()
    moved = [
        replace(i, master_ifindex=None) if i.name == "vethccc" else i for i in before.interfaces
    ]
    (told,) = changes(before, replace(before, interfaces=tuple(moved)))
    assert (told.action, str(told)) == (
        "changed",
        "veth pair eth0@if13 ↔ vethccc@if2 (tomcat02) changed",
    )


def test_what_stays_says_nothing() -> None:
    assert changes(topology(), topology()) == []


def test_bridge_comes_and_hostile_name_cannot_steer_the_terminal() -> None:
    after = topology()
    evil = tuple(
        replace(i, name="br\x1b[2J\n‮x") if i.name == "br-net2" else i for i in after.interfaces
    )
    told = changes(after, replace(after, interfaces=evil))
    assert [c.action for c in told] == ["gone", "appeared"]
    assert str(told[1]) == r"bridge br\x1b[2J\n\u202ex appeared"


class Follower:
    """A watch that is followed in a thread; what it says is waited for."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.seen: list[Change] = []
        self.news = threading.Condition()
        self.thread = threading.Thread(target=self._follow)
        self.thread.start()

    def _follow(self) -> None:
        for change in self.watch:
            with self.news:
                self.seen.append(change)
                self.news.notify_all()

    def wait(self, test: Callable[[Change], bool]) -> Change:
        with self.news:
            assert self.news.wait_for(lambda: any(map(test, self.seen)), SECONDS), self.seen
            return next(filter(test, self.seen))

    def end(self) -> float:
        start = time.monotonic()
        self.watch.stop()
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()
        return time.monotonic() - start


@pytest.fixture
def lab_name() -> Iterator[str]:
    name = f"w{os.getpid()}"
    Lab(2, name).close()
    yield name
    if name in lab_names():
        take_down_lab(name)


@pytest.mark.root
def test_lab_container_is_taken_away_and_a_bridge_made(lab_name: str) -> None:
    with open_engine(f"lab:{lab_name}") as engine, Watch(engine) as watch:
        follower = Follower(watch)
        try:
            subprocess.run(["ip", "netns", "delete", f"{lab_name}.tomcat02"], check=True)
            pair = follower.wait(lambda c: c.kind == "veth" and c.action == "gone")
            assert pair.container == "tomcat02"
            assert follower.wait(lambda c: c.kind == "container").name == "tomcat02"
            link = ["ip", "link", "add", "br9", "type", "bridge"]
            subprocess.run(["ip", "netns", "exec", f"{lab_name}.host", *link], check=True)
            assert follower.wait(lambda c: c.kind == "bridge").action == "appeared"
        finally:
            assert follower.end() < 1


@pytest.mark.root
@pytest.mark.docker
def test_docker_container_comes_and_goes(container: Callable[..., Any]) -> None:
    with open_engine("docker") as engine, Watch(engine) as watch:
        follower = Follower(watch)
        try:
            one = container("watched")
            veth = follower.wait(lambda c: c.container == one.name and c.kind == "veth")
            assert veth.text.endswith(f"({one.name}) appeared on docker0")
            came = follower.wait(lambda c: c.container == one.name and c.kind == "container")
            assert came.action == "appeared"
            one.remove(force=True)
            gone = follower.wait(lambda c: c.name == veth.name and c.action == "gone")
            assert gone.container == one.name
            follower.wait(lambda c: c.name == one.name and c.action == "gone")
        finally:
            assert follower.end() < 1
