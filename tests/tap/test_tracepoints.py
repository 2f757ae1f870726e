"""Hop delays against the kernel's own tracepoints, in one run.

``net:net_dev_start_xmit`` fires right after the egress tap has stamped a frame (xmit_one in
net/core/dev.c), ``net:netif_rx`` right after a received one was stamped at its enqueueing
(netif_rx_internal). So the time between two of these events is a hop's delay, measured by
somebody else. Durations are compared, so the two clocks need no common zero.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from analyzer.app.ping import PingPlan, ping
from analyzer.engines.lab import Lab
from analyzer.recorders.drops.tracefs import Instance, Tracefs
from analyzer.topology.discover import discover

pytestmark = pytest.mark.root

SIZE = 417
"""bytes of echo data that nobody else sends: the events are told by their length"""
ECHOES = 50
EVENTS = ("net_dev_start_xmit", "netif_rx")
LINE = re.compile(r" (\d+)\.(\d{6}): (net_dev_start_xmit|netif_rx): dev=(\S+) .*?len=(\d+)")
LENGTHS = {"net_dev_start_xmit": SIZE + 42, "netif_rx": SIZE + 28}
"""on receive the MAC header is taken off before the event"""
MEDIAN_NS, WORST_NS = {"veth": 8_000, "bridge": 8_000, "RTT": 25_000}, 100_000
"""events are written to the microsecond; between stamp and event an interrupt may come, and a round
trip has both of its ends at the sender, whose event comes before the device's queue"""


@contextmanager
def tracing() -> Iterator[Instance]:
    """Both events in an instance of our own, on the clock that is not set."""
    with Tracefs() as tracefs:
        instance = tracefs.instance()
        try:
            instance.write("trace_clock", "mono")
            for event in EVENTS:
                instance.write(f"events/net/{event}/filter", f"len == {LENGTHS[event]}")
                instance.write(f"events/net/{event}/enable", "1")
            yield instance
        finally:
            instance.close()


def events_in(text: str) -> list[tuple[str, str, int]]:
    """(event, device, ns) in order of time."""
    found = [
        (kind, device, int(seconds) * 10**9 + int(micro) * 1000)
        for seconds, micro, kind, device, length in LINE.findall(text)
        if int(length) == LENGTHS[kind]
    ]
    return sorted(found, key=lambda one: one[2])


def test_hop_delays_are_those_between_the_kernels_tracepoints(
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Lab() as lab, tracing() as instance:
        topology = discover(lab)
        inside = {c.netns: c.name for c in topology.containers}
        veths = {
            inside[i.peer[0]]: i.name for i in topology.interfaces if i.peer and i.peer[0] in inside
        }
        plan = PingPlan("tomcat01", "tomcat02", count=ECHOES, interval_s=0.005, size=SIZE)
        result = ping(lab, plan)
        events = events_in(instance.read("trace"))
    a, b = veths["tomcat01"], veths["tomcat02"]
    sent, got = EVENTS
    way = [(sent, "eth0"), (got, a), (sent, b), (got, "eth0")]
    back = [(sent, "eth0"), (got, b), (sent, a), (got, "eth0")]
    assert [one[:2] for one in events] == (way + back) * ECHOES
    (row,) = result.report.icmp
    differences: dict[str, list[int]] = {}
    for number, echo in enumerate(row.echoes or []):
        stamps = [ns for _, _, ns in events[8 * number : 8 * number + 8]]
        for first, hops in ((0, echo.request_hops), (4, echo.reply_hops)):
            assert [hop.kind for hop in hops] == ["veth", "bridge", "veth"]
            for place, hop in enumerate(hops, first):
                traced = stamps[place + 1] - stamps[place]
                differences.setdefault(hop.kind, []).append(abs(hop.delay_ns - traced))
        differences.setdefault("RTT", []).append(abs(echo.rtt_ns - (stamps[7] - stamps[0])))
    for kind, values in differences.items():
        told = f"{kind}: median {statistics.median(values):.0f} ns, worst {max(values)} ns"
        record_property(kind, told)
        with capsys.disabled():
            print(f"\n  hop delay against tracepoints, {kind}: {told.partition(': ')[2]}", end="")
        assert statistics.median(values) < MEDIAN_NS[kind], told
        assert sorted(values)[int(len(values) * 0.9)] < WORST_NS, told
    assert len(differences["bridge"]) == 2 * ECHOES
