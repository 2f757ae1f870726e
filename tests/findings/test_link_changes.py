"""An interface that was down for a time is told with its times, and healthy churn is not."""

from __future__ import annotations

import json
import time

import pytest
from evidence_samples import ETH0, EVENT_NS, HOST, INSIDE, PID, START, VANTAGES, S, seen
from faulty import Bench
from msgspec.structs import replace

from analyzer.findings.link_changes import find
from analyzer.model.batch import Outlook
from analyzer.model.evidence import Evidence, KernelEvent
from analyzer.model.kernel_state import LinkState, PortState
from analyzer.model.report import Report
from analyzer.model.tenures import Life

HOST_START = replace(
    START,
    netns=HOST,
    links=(
        LinkState(11, "veth1", "veth", up=True, running=True, master=3),
        LinkState(3, "docker0", "bridge", up=True, running=True),
    ),
    ports=(PortState(11, 3, "forwarding"),),
)
DOWN = "down mtu 1500 mac - master 0"
UP = "up mtu 1500 mac - master 0"


def event(ts_s: int, what: str, detail: str, ifindex: int = 11, netns: int = HOST) -> KernelEvent:
    action = "gone" if detail == "gone" else "changed"
    return KernelEvent(EVENT_NS + ts_s * S, netns, what, action, "", detail, ifindex)


def texts(*events: KernelEvent, engine: str = "docker") -> list[str]:
    evidence = Evidence((HOST_START, START), events)
    return [f"{one.code} {one.text}" for one in find(seen(evidence, engine=engine))]


def test_an_interface_that_was_down_for_a_time() -> None:
    down, up = event(0, "link", DOWN, 5, INSIDE), event(2, "link", UP, 5, INSIDE)
    assert texts(down, up) == [
        "link-changed tomcat01:eth0 was down from 1970-01-01 00:00:15.000000 UTC until "
        f"00:00:17.000000 UTC: nsenter -n -t {PID} ip -s link show dev eth0"
    ]


def test_what_is_read_while_an_interface_is_being_made_is_no_state_before_it() -> None:
    """The state was read behind the events, and bears the time at which reading began."""
    late = replace(START, ts_ns=EVENT_NS - S // 100)
    down, up = event(0, "link", DOWN, 5, INSIDE), event(0, "link", UP, 5, INSIDE)
    evidence = Evidence((HOST_START, late), (down, replace(up, ts_ns=up.ts_ns + S // 1000)))
    assert list(find(seen(evidence))) == []


def test_how_long_the_reading_took_is_told() -> None:
    """On a busy machine it takes as long as a container's start."""
    busy = replace(START, ts_ns=EVENT_NS - S, reading_ns=3 * S)
    down, up = event(0, "link", DOWN, 5, INSIDE), event(1, "link", UP, 5, INSIDE)
    assert list(find(seen(Evidence((HOST_START, busy), (down, up))))) == []
    quick = replace(busy, reading_ns=S // 2)
    assert len(list(find(seen(Evidence((HOST_START, quick), (down, up)))))) == 1


@pytest.mark.parametrize(("from_ns", "said"), [(0, 1), (EVENT_NS - S, 0)])
def test_a_container_that_comes_is_being_made_for_a_while(from_ns: int, said: int) -> None:
    """Changes are heard of a moment after they were so."""
    lives = [Life(from_ns if one is ETH0 else 0) for one in VANTAGES]
    late = replace(START, ts_ns=EVENT_NS - S // 5)
    down, up = event(0, "link", DOWN, 5, INSIDE), event(0, "link", UP, 5, INSIDE)
    evidence = Evidence((HOST_START, late), (down, replace(up, ts_ns=up.ts_ns + S // 1000)))
    given = seen(evidence, outlook=Outlook(VANTAGES, lives=lives))
    assert len(list(find(given))) == said


def test_the_next_interface_with_these_numbers_was_no_vantage() -> None:
    """A container that lived too shortly to be captured got the same namespace number."""
    up, down = event(1, "link", UP, 5, INSIDE), event(2, "link", DOWN, 5, INSIDE)
    lives = [Life(0, EVENT_NS, EVENT_NS) if one is ETH0 else Life() for one in VANTAGES]
    for lived, said in ((lives, 0), ([], 1)):
        given = seen(Evidence((HOST_START, START), (up, down)))
        given = replace(given, outlook=Outlook(VANTAGES, lives=lived))
        assert len(list(find(given))) == said


def test_a_port_is_not_accused_beside_its_link() -> None:
    found = texts(event(0, "link", "no-carrier"), event(0, "port", "disabled"))
    assert found == [
        "link-changed veth1 was without carrier from 1970-01-01 00:00:15.000000 UTC until the "
        "capture's end: ip -s link show dev veth1"
    ]


def test_a_port_that_stopped_forwarding() -> None:
    told = [event(n, "port", state) for n, state in enumerate(("blocking", "learning"))]
    assert texts(*told, event(3, "port", "forwarding")) == [
        "port-disabled bridge port veth1 was blocking from 1970-01-01 00:00:15.000000 UTC until "
        "00:00:18.000000 UTC: bridge -d link show dev veth1"
    ]


@pytest.mark.parametrize(
    "events",
    [
        [event(0, "link", UP), event(1, "port", "forwarding")],
        [event(0, "link", DOWN), event(0, "port", "disabled"), event(1, "link", "gone")],
        [event(0, "link", DOWN, 12), event(1, "link", UP, 12)],
        [event(0, "link", "no-carrier", 3)],
        [event(0, "link", DOWN, 99), event(1, "link", UP, 99)],
        [event(0, "address", "", 5, INSIDE)],
    ],
    ids=["as before", "deleted", "a newcomer", "a bridge without ports", "another's", "address"],
)
def test_what_is_no_fault(events: list[KernelEvent]) -> None:
    assert texts(*events) == []


def changes(report: Report) -> list[str]:
    codes = ("link-changed", "port-disabled")
    return [f"{one.code} {one.text}" for one in report.findings if one.code in codes]


@pytest.mark.root
def test_a_link_that_goes_down_inside(bench: Bench) -> None:
    def flap() -> None:
        bench.inside("tomcat02", "ip link set eth0 down")
        time.sleep(0.1)  # long enough that it is told apart
        bench.inside("tomcat02", "ip link set eth0 up")
        bench.inside("tomcat02", "ping -c1 -W5 172.17.0.1")

    report = bench.capture(["tomcat01", "tomcat02"], flap)
    inside, outside = sorted(changes(report))
    assert inside.startswith("link-changed tomcat02:eth0 was down from ")
    assert outside.startswith(f"link-changed {bench.veth('tomcat02')} was without carrier from ")


@pytest.mark.root
def test_a_port_that_is_disabled(bench: Bench) -> None:
    port = bench.veth("tomcat02")

    def disable() -> None:
        bench.host(f"bridge link set dev {port} state 0")
        time.sleep(0.1)
        bench.host(f"bridge link set dev {port} state 3")
        (shown,) = json.loads(bench.host(f"bridge -j link show dev {port}"))
        assert shown["state"] == "forwarding"

    (text,) = changes(bench.capture(["tomcat01", "tomcat02"], disable))
    assert text.startswith(f"port-disabled bridge port {port} was disabled from ")
    assert text.endswith(f" UTC: bridge -d link show dev {port}")
