"""Two routers that send packets to each other: said with both, the way drawn once."""

from __future__ import annotations

import pytest
from faulty import Bench

from analyzer.model.report import Report

pytestmark = pytest.mark.root
NOBODYS = "10.9.0.7"


def forwarding(bench: Bench) -> None:
    """Both are routers, and silent ones."""
    for where, device in (("host", "docker0"), ("tomcat01", "eth0")):
        quiet = [f"net.ipv4.conf.{name}.send_redirects=0" for name in ("all", device)]
        bench.lab.run(where, ["sysctl", "-qw", "net.ipv4.ip_forward=1", *quiet])


def texts(report: Report) -> list[str]:
    return [one.text for one in report.findings if one.code == "routing-loop"]


def test_packets_that_go_round_are_told_with_their_routers(bench: Bench) -> None:
    forwarding(bench)
    bench.host("ip route add 10.9.0.0/16 via 172.17.0.2")
    ask = f"ping -c2 -i.2 -W1 {NOBODYS}"
    report = bench.capture(["all"], lambda: bench.inside("tomcat02", ask, check=False))
    (text,) = texts(report)
    assert text.startswith(f"2 icmp packets tomcat02 → {NOBODYS} went round: ")
    assert "the host and tomcat01 sent them to each other" in text
    assert f"in tomcat01's namespace: ip route get {NOBODYS}" in text
    (row,) = report.icmp
    assert (row.source, row.destination, row.answered) == ("tomcat02", NOBODYS, 0)
    assert [(loss.packets, loss.reason) for loss in report.losses] == [(2, "IP_INHDR")]
    (path,) = [one for one in report.paths if one.destination == NOBODYS]
    assert path.rounds == 64  # docker0, in and out; the hop limit at the start was 64
    assert len(path.nodes) < 12
    verdicts = [v for v in report.verdicts if v.destination == NOBODYS]
    assert [v.result for v in verdicts] == ["refuted"]


def test_a_router_that_sends_back_by_the_same_way_once_is_none(bench: Bench) -> None:
    """A container's route by the host to its neighbour."""
    forwarding(bench)
    bench.inside("tomcat02", "ip route add 172.17.0.4/32 via 172.17.0.1")
    ask = "ping -c3 -i.05 -W2 172.17.0.4"
    report = bench.capture(["all"], lambda: bench.inside("tomcat02", ask))
    assert texts(report) == []
    assert [(row.source, row.destination, row.answered) for row in report.icmp] == [
        ("tomcat02", "tomcat03", 3)
    ]
    assert all(path.rounds == 0 for path in report.paths)
