"""macvlan and VXLAN on the real kernel, hop by hop, with what `tcpdump` would have to find out."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faulty import Bench

from analyzer.analysis import reading
from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.engines.lab import Lab
from analyzer.engines.netns import NetnsEngine
from analyzer.model.report import Report
from analyzer.tap.tap import Tap
from analyzer.topology.discover import discover
from analyzer.topology.vantages import select_vantages

pytestmark = pytest.mark.root
Steps = tuple[tuple[str, str, str], ...]
PREFIX = f"vs{os.getpid()}-"


def ways(report: Report) -> tuple[Steps, Steps]:
    """The way of the requests and that of the replies, the same for all echoes."""
    (row,) = [row for row in report.icmp if row.answered]
    assert row.sent == row.answered == len(row.echoes)
    (there,), (back,) = (
        {tuple((hop.from_, hop.to, hop.kind) for hop in hops) for hops in side}
        for side in zip(*((e.request_hops, e.reply_hops) for e in row.echoes), strict=True)
    )
    return there, back


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings if finding.severity != "info"}


def assert_hops_add_up(report: Report) -> None:
    (row,) = [row for row in report.icmp if row.answered]
    for echo in row.echoes:
        parts = [hop.delay_ns for hop in (*echo.request_hops, *echo.reply_hops)]
        assert echo.rtt_ns == sum(parts) + echo.turnaround_ns
        assert min(parts) >= 0


@pytest.fixture
def stacked(tmp_path: Path) -> Iterator[Bench]:
    """tomcat01 and tomcat02 have an eth1, a macvlan on the host's uplink."""
    with Lab(2) as lab:
        bench = Bench(lab, tmp_path)
        for number, name in enumerate(("tomcat01", "tomcat02"), 11):
            bench.host(f"ip link add mv{number} link uplink0 type macvlan mode bridge")
            bench.host(f"ip link set mv{number} netns {lab.netns_path(name)}")
            bench.inside(
                name,
                f"ip link set mv{number} name eth1; ip link set eth1 up; "
                f"ip addr add 198.51.100.{number}/24 dev eth1",
            )
        yield bench


def echoes(bench: Bench) -> Report:
    """The report on the bench's file, with every echo."""
    return report_files([bench.file], AnalysisOptions(packets=True))[0]


def pinged(bench: Bench, targets: list[str], address: str) -> Report:
    """Five echoes of tomcat01."""
    bench.capture(targets, lambda: bench.inside("tomcat01", f"ping -c5 -i.01 -W1 {address}"))
    return echoes(bench)


def test_from_macvlan_to_macvlan(stacked: Bench) -> None:
    """The kernel lends such a frame to the device beneath, as if it came in there."""
    report = pinged(stacked, ["tomcat01", "tomcat02"], "198.51.100.12")
    assert ways(report) == (
        (("tomcat01:eth1", "uplink0", "stacked"), ("uplink0", "tomcat02:eth1", "stacked")),
        (("tomcat02:eth1", "uplink0", "stacked"), ("uplink0", "tomcat01:eth1", "stacked")),
    )
    assert_hops_add_up(report)
    assert report.losses == []
    assert codes(report) == set()
    (arp,) = [row for row in report.arp if row.target_ip == "198.51.100.12"]
    assert (arp.asker, arp.answered_by, arp.state) == ("tomcat01", "tomcat02", "resolved")
    verdict = next(v for v in report.verdicts if v.source == "tomcat01")
    assert (verdict.result, verdict.reason) == ("refuted", "macvlan passes docker0 by")


def test_from_macvlan_to_the_outside(stacked: Bench) -> None:
    report = pinged(stacked, ["tomcat01"], "198.51.100.2")
    assert ways(report) == (
        (("tomcat01:eth1", "uplink0", "stacked"),),
        (("uplink0", "tomcat01:eth1", "stacked"),),
    )
    assert_hops_add_up(report)
    assert codes(report) == set()


def test_without_the_device_beneath_it_is_a_span(stacked: Bench) -> None:
    topology = discover(stacked.lab)
    vantages = select_vantages(topology, interfaces=["tomcat01:eth1", "tomcat02:eth1"])
    capture(
        topology,
        vantages,
        stacked.file,
        lambda: stacked.inside("tomcat01", "ping -c3 -i.01 -W1 198.51.100.12"),
    )
    report = echoes(stacked)
    assert ways(report)[0] == (("tomcat01:eth1", "tomcat02:eth1", "span"),)
    assert_hops_add_up(report)


def test_a_macvlan_does_not_reach_its_host(stacked: Bench) -> None:
    report = stacked.capture(
        ["tomcat01"], lambda: stacked.inside("tomcat01", "ping -c1 -W.5 198.51.100.1", check=False)
    )
    (text,) = [f.text for f in report.findings if f.code == "arp-unanswered"]
    assert "it is uplink0's, the device beneath tomcat01's own: a macvlan never reaches" in text


class Overlay:
    """Two hosts with a bridge each, a VXLAN between them, a container behind each bridge."""

    def __init__(self, folder: Path) -> None:
        self.file = str(folder / "overlay.pcapng")
        self.names = {name: PREFIX + name for name in ("hosta", "hostb", "c1", "c2")}

    def build(self) -> None:
        for name in self.names.values():
            shell(f"ip netns add {name}; ip -n {name} link set lo up")
            shell(f"ip netns exec {name} sysctl -qw net.ipv6.conf.default.disable_ipv6=1")
        a, b = self.names["hosta"], self.names["hostb"]
        shell(f"ip -n {a} link add under0 type veth peer name under0 netns {b}")
        for number, (host, inside) in enumerate((("hosta", "c1"), ("hostb", "c2")), 1):
            on, other = f"ip -n {self.names[host]}", 3 - number
            shell(f"{on} addr add 10.99.0.{number}/24 dev under0; {on} link set under0 up")
            shell(f"{on} link add br0 type bridge; {on} link set br0 up")
            shell(
                f"{on} link add vxlan0 type vxlan id 4711 dstport 4789 "
                f"local 10.99.0.{number} remote 10.99.0.{other}"
            )
            shell(f"{on} link set vxlan0 master br0 up")
            into = self.names[inside]
            shell(f"{on} link add veth{number} type veth peer name eth0 netns {into}")
            shell(f"{on} link set veth{number} master br0 up")
            shell(f"ip -n {into} link set eth0 up mtu 1450")
            shell(f"ip -n {into} addr add 10.0.0.{number}/24 dev eth0")

    def run(self, where: str, command: str, *, check: bool = True) -> str:
        return shell(f"ip netns exec {self.names[where]} {command}", check=check)

    def capture(self, act: Callable[[], object]) -> None:
        with contextlib.closing(NetnsEngine()) as engine:
            topology = discover(engine)
        vantages = select_vantages(topology, targets=list(self.names.values()))
        capture(topology, vantages, self.file, act)


def shell(command: str, *, check: bool = True) -> str:
    done = subprocess.run(["sh", "-ec", command], check=check, capture_output=True, text=True)
    return done.stdout


def capture(topology: object, vantages: object, path: str, act: Callable[[], object]) -> None:
    tap = Tap(topology, vantages, path)
    running = threading.Thread(target=tap.run)
    with tap:
        running.start()
        try:
            act()
        finally:
            tap.stop()
            running.join()


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[Overlay]:
    made = Overlay(tmp_path)
    try:
        made.build()
        yield made
    finally:
        for name in made.names.values():
            shell(f"ip netns del {name}", check=False)


def way(*, there: bool) -> Steps:
    """All eight vantages from c1 to c2, or back."""
    steps = [
        "c1:eth0",
        "hosta:veth1",
        "hosta:vxlan0",
        "hosta:under0",
        "hostb:under0",
        "hostb:vxlan0",
        "hostb:veth2",
        "c2:eth0",
    ]
    kinds = ["veth", "bridge", "tunnel", "veth", "tunnel", "bridge", "veth"]
    steps = [PREFIX + step for step in (steps if there else steps[::-1])]
    return tuple(zip(steps, steps[1:], kinds, strict=False))


def test_a_journey_goes_on_inside_of_a_vxlan_tunnel(overlay: Overlay) -> None:
    overlay.capture(lambda: overlay.run("c1", "ping -c5 -i.01 -W2 10.0.0.2"))
    report = report_files([overlay.file], AnalysisOptions(packets=True))[0]
    one, two = PREFIX + "c1", PREFIX + "c2"
    assert ways(report) == (way(there=True), way(there=False))
    assert_hops_add_up(report)
    assert report.losses == []
    assert codes(report) == set()
    # the carriers are no packets of their own
    assert [row for row in report.udp if row.packets and row.server_port == 4789] == []
    (arp,) = [row for row in report.arp if row.asker == one]
    assert (arp.answered_by, arp.state) == (two, "resolved")
    verdict = next(v for v in report.verdicts if v.source == one)
    assert (verdict.result, verdict.reason) == (
        "refuted",
        "5 of 5 packets went through a VXLAN tunnel to another bridge",
    )


def test_chunks_do_not_change_the_way(overlay: Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    overlay.run("c1", "ping -c1 -W2 10.0.0.2")  # a first packet waits long for the carrier's ARP
    overlay.capture(lambda: overlay.run("c1", "ping -c20 -i.01 -W2 10.0.0.2"))
    whole = report_files([overlay.file])[0]
    for frames in (7, 50):
        monkeypatch.setattr(reading, "CHUNK_FRAMES", frames)
        monkeypatch.setattr(reading, "_FEWEST", frames)
        chunked = report_files([overlay.file], AnalysisOptions(jobs=1))[0]
        assert chunked.hops == whole.hops
        assert chunked.verdicts == whole.verdicts


def test_a_loss_behind_the_tunnel(overlay: Overlay) -> None:
    """hostb's packet filter swallows the tunnel's UDP: seen at under0, never at vxlan0."""
    overlay.run("c1", "ping -c1 -W2 10.0.0.2")
    overlay.run("hostb", "iptables -A INPUT -p udp --dport 4789 -j DROP")
    overlay.capture(lambda: overlay.run("c1", "ping -c3 -i.05 -W.5 10.0.0.2", check=False))
    report = report_files([overlay.file])[0]
    (loss,) = [row for row in report.losses if row.protocol == "icmp"]
    assert (loss.packets, loss.last_seen, loss.expected) == (
        3,
        PREFIX + "hostb:under0",
        PREFIX + "hostb:vxlan0",
    )
    assert loss.location.startswith("behind the tunnel, between ")
    assert "ip -d link show dev vxlan0 (id 4711" in loss.advice
