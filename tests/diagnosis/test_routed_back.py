"""A container that routes by its only interface: what it sends back is the packet that came."""

from __future__ import annotations

import pytest
from faulty import Bench

pytestmark = pytest.mark.root


def test_a_container_routes_back_by_its_only_interface(bench: Bench) -> None:
    quiet = "net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.eth0.send_redirects=0"
    bench.inside("tomcat02", f"sysctl -qw net.ipv4.ip_forward=1 {quiet}")
    bench.inside("tomcat01", "ip route add 172.17.0.4/32 via 172.17.0.3")
    asked = "ping -c6 -i.02 -W1 172.17.0.4"
    report = bench.capture(["all"], lambda: bench.inside("tomcat01", asked))
    assert report.losses == []
    assert [one.text for one in report.findings if one.severity != "info"] == []
    assert "flooded" not in {one.code for one in report.findings}
    (row,) = report.icmp
    assert (row.source, row.destination, row.sent, row.answered) == ("tomcat01", "tomcat03", 6, 6)
    (there, back) = report.verdicts
    assert (there.way, there.packets, there.delivered) == ("routed", 6, 6)
    assert there.reason == "6 of 6 packets were routed through tomcat02 (hop limit one less)"
    assert all(fact.holds for fact in there.evidence)
    assert (back.source, back.result) == ("tomcat03", "proved")


def test_an_address_that_moved_while_its_old_owner_still_routes(bench: Bench) -> None:
    """What comes to the old owner is routed to the new one: no bridge has led it away."""
    address = "172.17.0.100/32 dev eth0"
    bench.inside("tomcat02", f"sysctl -qw net.ipv4.ip_forward=1; ip addr add {address}")

    def move() -> None:
        bench.inside("tomcat01", "ping -c3 -i.05 -W1 172.17.0.100")
        bench.inside("tomcat02", f"ip addr del {address}")
        bench.inside("tomcat03", f"ip addr add {address}")
        bench.inside("tomcat01", "ping -c3 -i.05 -W1 172.17.0.100")

    report = bench.capture(["all"], move)
    assert report.losses == []
    assert "contradiction" not in {one.code for one in report.findings}
    asked = {row.destination: (row.sent, row.answered) for row in report.icmp}
    assert asked == {"tomcat02": (3, 3), "tomcat03": (3, 3)}
