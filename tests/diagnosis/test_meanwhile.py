"""What stood otherwise for a time explains what was sent in that time, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from faulty import Bench, the_loss
from finding_inputs import BRIDGE, PORTS
from msgspec.structs import replace

from analyzer.diagnosis.meanwhile import (
    Known,
    address_gone,
    covering,
    explain_meanwhile,
    route_gone,
    setting_spells,
)
from analyzer.model.evidence import KernelEvent
from analyzer.model.tenures import FOREVER_NS
from analyzer.model.vantage import Role, Vantage

S = 1_000_000_000
IGNORE = "net.ipv4.icmp_echo_ignore_all"
MAC = PORTS[1].peer_mac
INSIDE = Vantage("tomcat02:eth0", "eth0", Role.CONTAINER, 2, 5, container="tomcat02")
VANTAGES = [*PORTS, BRIDGE, INSIDE]


def sysctl(second: int, value: str) -> KernelEvent:
    """Looked for, and known to be otherwise a tenth of a second before."""
    ns = second * S
    return KernelEvent(ns, 2, "sysctl", "changed", IGNORE, value, since_ns=ns - S // 10)


def port(second: int, detail: str, what: str = "port") -> KernelEvent:
    action = "gone" if detail == "gone" else "changed"
    return KernelEvent(second * S, 1, what, action, "veth2", detail, 12)


def fdb(second: int, at: int, action: str = "changed") -> KernelEvent:
    return KernelEvent(second * S, 1, "fdb", action, MAC, "", at, bridge=PORTS[1].master_ifindex)


@pytest.mark.parametrize(
    ("events", "spans"),
    [
        ([], None),
        ([sysctl(3, "1"), sysctl(5, "0")], [(2.9, 5)]),
        ([sysctl(3, "0")], [(0, 3)]),
        ([sysctl(3, "1")], [(2.9, FOREVER_NS / S)]),
        ([sysctl(3, "0"), sysctl(4, "1"), sysctl(6, "0")], [(0, 3), (3.9, 6)]),
    ],
)
def test_times_of_a_setting(events: list[KernelEvent], spans: list[tuple[float, float]]) -> None:
    found = setting_spells(events, 2, IGNORE, "1")
    assert (found and [(one.since_ns / S, one.until_ns / S) for one in found]) == spans
    assert setting_spells(events, 1, IGNORE, "1") is None


def test_only_what_was_sent_in_one_of_the_times_is_covered() -> None:
    (spell,) = setting_spells([sysctl(3, "1"), sysctl(5, "0")], 2, IGNORE, "1") or ()
    assert covering([spell], [3 * S, 4 * S]) is spell
    assert covering([spell], [2 * S, 4 * S]) is None
    assert covering([spell], [4 * S, 6 * S]) is None
    assert covering([spell], []) is None


def reason(events: list[KernelEvent], *seconds: float) -> str:
    sent = [int(one * S) for one in seconds]
    ways = [PORTS[0], PORTS[1]]
    found = explain_meanwhile(ways, MAC, sent, Known(VANTAGES, events, "docker"))
    return found[0] if found else ""


def test_a_port_that_did_not_forward() -> None:
    events = [port(3, "disabled"), port(5, "learning"), port(6, "forwarding")]
    assert reason(events, 3.5, 5.5) == "port veth2 was disabled"
    assert reason(events, 2.5, 5.5) == reason(events, 6.5) == ""
    assert reason([port(3, "down mtu 1500", "link")], 4) == "veth2 was down"
    assert reason([port(3, "down mtu 1500", "link"), port(5, "gone", "link")], 4) == ""


def test_a_mac_that_was_elsewhere() -> None:
    events = [fdb(3, 11), fdb(4, 11, "gone"), fdb(4, 12)]
    assert reason(events, 3.5) == f"docker0 took {MAC} to be at veth1"
    assert reason(events, 3.5, 4.5) == reason(events, 2) == ""
    assert reason([fdb(3, 11)], 9) == f"docker0 took {MAC} to be at veth1"
    assert reason([fdb(3, 12)], 9) == ""
    others = [replace(one, subject="02:00:00:00:00:99") for one in events]
    assert reason(others, 3.5) == ""
    in_another_bridge = [replace(one, bridge=one.bridge + 1) for one in events]
    assert reason(in_another_bridge, 3.5) == ""


def test_what_is_inside_is_looked_at_inside() -> None:
    event = KernelEvent(3 * S, 2, "link", "changed", "eth0", "down mtu 1500", 5)
    found = explain_meanwhile([INSIDE], "", [4 * S], Known(VANTAGES, [event], "docker"))
    assert found == (
        "tomcat02:eth0 was down",
        "it was so from 1970-01-01 00:00:03.000000 UTC until the capture's end: nsenter -n -t "
        "$(docker inspect -f '{{.State.Pid}}' tomcat02) ip -s link show dev eth0",
    )


def route(second: int, action: str, to: str = "198.51.100.0/24") -> KernelEvent:
    return KernelEvent(second * S, 1, "route", action, to, "unicast metric 0 table 254", 4)


@pytest.mark.parametrize("to", ["198.51.100.0/24", "default", "198.51.100.2", "\x1b[31m", "::/0"])
def test_a_route_that_was_gone(to: str) -> None:
    """What a file tells may be nonsense."""
    events = [route(3, "gone", to), route(5, "new", to)]
    leads = to in ("198.51.100.0/24", "default", "198.51.100.2")
    told = route_gone(events, 1, "198.51.100.2", [4 * S])
    assert told.startswith(f"did not have the route {to} from ") is leads
    assert not route_gone(events, 1, "198.51.100.2", [4 * S, 6 * S])
    assert not route_gone(events, 2, "198.51.100.2", [4 * S])


def test_an_address_that_was_gone() -> None:
    events = [
        KernelEvent(second * S, 2, "address", action, "172.17.0.3/16", "", 5)
        for second, action in ((3, "gone"), (5, "new"))
    ]
    told = address_gone(events, 2, "172.17.0.3", [4 * S])
    assert told.startswith("did not have 172.17.0.3 from 1970-01-01 00:00:03")
    assert not address_gone(events, 2, "172.17.0.4", [4 * S])
    assert not address_gone(events, 2, "172.17.0.3", [])


def pinging(
    bench: Bench, change: str, back: str, inside: str = "", to: str = "172.17.0.3"
) -> Callable[[], None]:
    """Echoes before, while, and after something is changed; those of the middle are in vain."""

    def run(command: str) -> None:
        bench.inside(inside, command) if inside else bench.host(command)

    def act() -> None:
        for command, answered in ((change, True), (back, False), ("true", True)):
            ping = f"ping -q -c4 -i.05 -W.1 {to}"
            told = bench.inside("tomcat01", ping, check=False)
            assert ("4 received" in told) is answered, told
            run(command)
            time.sleep(0.3)  # long enough that it is told apart

    return act


@pytest.mark.root
def test_a_stack_that_ignored_echoes_for_a_moment(bench: Bench) -> None:
    setting = f"sysctl -qw {IGNORE}"
    act = pinging(bench, f"{setting}=1", f"{setting}=0", "tomcat02")
    report = bench.capture(["tomcat01", "tomcat02"], act)
    row = the_loss(report)
    assert (row.packets, row.reason, row.last_seen) == (4, "echo ignored", "tomcat02:eth0")
    assert row.advice.startswith("it was told to answer no echo from ")
    (changed,) = [one.text for one in report.findings if one.code == "sysctl-changed"]
    assert changed.startswith("sysctls of tomcat02 were set: ")
    assert f" {IGNORE} = 1; " in changed


@pytest.mark.root
def test_a_port_that_was_disabled_for_a_moment(bench: Bench) -> None:
    device = bench.veth("tomcat02")
    setting = f"bridge link set dev {device} state"
    report = bench.capture(["tomcat01", "tomcat02"], pinging(bench, f"{setting} 0", f"{setting} 3"))
    row = the_loss(report)
    assert (row.packets, row.reason) == (4, f"port {device} was disabled")


@pytest.mark.root
def test_a_table_that_had_a_mac_elsewhere_for_a_moment(bench: Bench) -> None:
    mac, right, wrong = bench.mac("tomcat02"), bench.veth("tomcat02"), bench.veth("tomcat03")
    entry = f"bridge fdb replace {mac} master static dev"
    act = pinging(bench, f"{entry} {wrong}", f"{entry} {right}")
    report = bench.capture(["tomcat01", "tomcat02", "tomcat03"], act)
    (text,) = [one.text for one in report.findings if one.code == "echo-unanswered"]
    assert text.startswith("4 echo requests of tomcat01 to tomcat02 came as far as tomcat03:eth0")
    assert f": docker0 took {mac} to be at {wrong}: its table had the MAC there from " in text


@pytest.mark.root
def test_what_was_changed_before_explains_nothing_later(bench: Bench) -> None:
    """A container that filters answers: what was changed and changed back is not to blame."""

    def act() -> None:
        setting = f"sysctl -qw {IGNORE}"
        bench.inside("tomcat02", f"{setting}=1; sleep .3; {setting}=0; sleep .3")
        bench.inside("tomcat02", "iptables -A OUTPUT -p icmp -j DROP")
        bench.inside("tomcat01", "ping -q -c4 -i.05 -W.1 172.17.0.3", check=False)

    report = bench.capture(["tomcat01", "tomcat02"], act)
    assert "echo ignored" not in [row.reason for row in report.losses]
    assert the_loss(report).reason.startswith("NETFILTER_DROP")


@pytest.mark.root
@pytest.mark.parametrize(
    ("change", "back", "reason", "advice"),
    [
        (
            "ip route del default; ip route del 198.51.100.0/24",
            "ip route add 198.51.100.0/24 dev uplink0; ip route add default via 198.51.100.2",
            "IP_INNOROUTES",
            "the host did not have the route ",
        ),
        (
            "sysctl -qw net.ipv4.ip_forward=0",
            "sysctl -qw net.ipv4.ip_forward=1",
            "IP_INADDRERRORS",
            "the host did not forward from ",
        ),
    ],
    ids=["route", "forwarding"],
)
def test_what_the_host_did_not_route_for_a_moment(
    bench: Bench, change: str, back: str, reason: str, advice: str
) -> None:
    act = pinging(bench, change, back, to="198.51.100.2")
    report = bench.capture(["all"], act, uplink=True)
    row = the_loss(report)
    assert (row.packets, row.reason) == (4, reason)
    assert row.advice.startswith(advice)
    assert " until " in row.advice
