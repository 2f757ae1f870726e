"""Routes that lead nowhere, or elsewhere: made in a lab, and told with the route."""

from __future__ import annotations

import re

import pytest
from faulty import Bench

pytestmark = pytest.mark.root

AWAY, NEXT = "198.51.100.2", "172.17.0.3"
FAULTS = {
    "no route back": (
        ("tomcat02", "ip route flush table main"),
        NEXT,
        "echo-unanswered",
        "3 echo requests of tomcat01 to tomcat02 reached tomcat02:eth0, and no reply came out "
        "there: tomcat02 has no route to 172.17.0.2, so no answer can leave: ",
    ),
    "a route back that swallows": (
        ("tomcat02", "ip route add blackhole 172.17.0.2"),
        NEXT,
        "echo-unanswered",
        "tomcat02 has the route blackhole 172.17.0.2/32 for 172.17.0.2, so no answer can leave",
    ),
    "a blackhole at the host": (
        ("host", f"ip route add blackhole {AWAY}"),
        AWAY,
        "not-routed",
        f"3 icmp packets of tomcat01 to {AWAY} ended behind docker0: the host has the route "
        f"blackhole {AWAY}/32 for {AWAY}: ip route get {AWAY}",
    ),
    "a policy's blackhole at the host": (
        (
            "host",
            "ip rule add from 172.17.0.2 lookup 100; ip route add blackhole default table 100",
        ),
        AWAY,
        "not-routed",
        f"the host has the route blackhole default table 100 for {AWAY}: ip rule show; "
        f"ip route get {AWAY} from 172.17.0.2 iif docker0",
    ),
    "prohibited at the host": (
        ("host", f"ip route add prohibit {AWAY}"),
        AWAY,
        "icmp-error",
        f"it has the route prohibit {AWAY}/32 for {AWAY}: ip route get {AWAY}",
    ),
    "a host that does not forward": (
        ("host", "sysctl -qw net.ipv4.ip_forward=0"),
        AWAY,
        "not-routed",
        "the host does not forward (net.ipv4.ip_forward = 0): sysctl net.ipv4.ip_forward",
    ),
    "a container for a router": (
        ("tomcat01", f"ip route replace default via {NEXT}"),
        AWAY,
        "echo-unanswered",
        f"tomcat01 takes tomcat02 for its router (route default via {NEXT} dev eth0)",
    ),
    "a wrong netmask": (
        ("tomcat01", "ip route add 198.51.100.0/24 dev eth0"),
        AWAY,
        "arp-unanswered",
        "tomcat01 takes it for a neighbour (route 198.51.100.0/24 dev eth0), and it is not in "
        "172.17.0.0/16: the route or the netmask is wrong",
    ),
    "a gateway that is nobody's": (
        ("tomcat01", "ip route replace default via 172.17.0.99"),
        AWAY,
        "arp-unanswered",
        "it is the gateway of tomcat01's route default via 172.17.0.99 dev eth0, and nobody has it",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_route_is_named(bench: Bench, fault: str) -> None:
    (where, command), target, code, text = FAULTS[fault]
    # a new namespace forwards where the machine's first one does
    bench.inside("tomcat02", "sysctl -qw net.ipv4.ip_forward=1")
    bench.lab.run(where, ["sh", "-ec", command])
    report = bench.capture(
        ["tomcat01", "tomcat02"],
        lambda: bench.inside("tomcat01", f"ping -c3 -i.02 -W.2 {target}", check=False),
        uplink=True,
    )
    told = [one.text for one in report.findings if one.code == code]
    assert any(text in one for one in told), [f"{f.code} {f.text}" for f in report.findings]
    assert "left-untranslated" not in {one.code for one in report.findings}


def test_a_container_that_is_a_router_and_answered_is_no_fault(bench: Bench) -> None:
    """Another container is the next hop, as a VPN or a proxy is: all is answered."""
    bench.lab.run("tomcat01", ["ip", "route", "add", "10.7.0.1", "via", NEXT])
    bench.lab.run("tomcat02", ["ip", "address", "add", "10.7.0.1/32", "dev", "lo"])
    bench.lab.run("tomcat02", ["ip", "link", "set", "lo", "up"])
    report = bench.capture(
        ["tomcat01", "tomcat02"],
        lambda: bench.inside("tomcat01", "ping -c3 -i.02 -W.5 10.7.0.1"),
    )
    codes = {one.code for one in report.findings if one.severity != "info"}
    assert codes == set()


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        (
            "rp_filter=1",
            r"its stack answers none whose way back leads elsewhere \(.*rp_filter = 1\), and the "
            r"one to 192.0.2.5 leads out of uplink0: ip route get 192.0.2.5",
        ),
        ("arp_ignore=8", r"its stack answers no ARP request \(.*arp_ignore = 8\): sysctl .*"),
    ],
)
def test_a_gateway_that_does_not_answer(bench: Bench, setting: str, why: str) -> None:
    """It is the bridge's own address, and somebody has it."""
    bench.host(f"sysctl -qw net.ipv4.conf.all.{setting}; ip route add 192.0.2.0/24 dev uplink0")
    bench.inside("tomcat01", "ip address add 192.0.2.5/32 dev eth0")
    report = bench.capture(
        ["tomcat01"],
        lambda: bench.inside("tomcat01", f"ping -c2 -W.5 -I 192.0.2.5 {AWAY}", check=False),
        uplink=True,
    )
    (text,) = [one.text for one in report.findings if one.code == "arp-unanswered"]
    assert re.fullmatch(
        rf"tomcat01 asked \d× who has 172.17.0.1 and nobody answered: it is the host's "
        rf"\(docker0\), and they reached docker0: {why}",
        text,
    )
