"""Who claims an address: spoofed, duplicate, handed over, made anew. Each for real."""

from __future__ import annotations

import socket
import struct

import pytest
from faulty import Bench

from analyzer.flows.arp_claims import ClaimKind, judge_claims
from analyzer.flows.claims import Claim
from analyzer.model.batch import Outlook
from analyzer.model.report import Report
from analyzer.model.vantage import Vantage
from analyzer.net.netns import run_inside

pytestmark = pytest.mark.root
BROADCAST = "ff:ff:ff:ff:ff:ff"


def texts(report: Report, code: str) -> list[str]:
    return [finding.text for finding in report.findings if finding.code == code]


def alarms(report: Report) -> set[str]:
    return {finding.code for finding in report.findings if finding.severity != "info"}


def raw(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def say(
    bench: Bench,
    container: str,
    op: int,
    sender: tuple[str, str],
    target: tuple[str, str],
    times: int = 1,
) -> None:
    """Send an ARP message from a container's eth0. sender, target: (MAC, address) in it."""
    to = BROADCAST if target[0] == BROADCAST or op == 1 else target[0]
    own = bench.mac(container)
    frame = raw(to) + raw(own) + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, op)
    for mac, address in (sender, target):
        frame += raw(mac) + socket.inet_aton(address)

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind(("eth0", 0))
            for _ in range(times):
                sock.send(frame)

    run_inside(bench.lab.netns_path(container), send)


def test_a_forged_answer_while_the_owner_is_there(bench: Bench) -> None:
    """tomcat03 tells tomcat01, which did not ask, that it is tomcat02: the owner says nothing."""
    forged, victim = bench.mac("tomcat03"), bench.mac("tomcat01")
    # an entry that is younger than this is not overwritten (arp(7))
    bench.inside("tomcat01", "sysctl -qw net.ipv4.neigh.eth0.locktime=0")

    def poison() -> None:
        say(bench, "tomcat03", 2, (forged, "172.17.0.3"), (victim, "172.17.0.2"), times=4)

    report = bench.capture(["all"], poison)
    (text,) = texts(report, "arp-spoofing")
    assert text.startswith(
        f"tomcat03 claims 172.17.0.3 for {forged}, but it is tomcat02:eth0's "
        f"{bench.mac('tomcat02')} (4 unasked replies, 0 announcements): the shape of ARP spoofing."
    )
    assert "docker pause tomcat03" in text
    assert alarms(report) == {"arp-spoofing"}
    # and the kernel of tomcat01 believed it
    assert forged in bench.inside("tomcat01", "ip neigh show 172.17.0.3")


def test_the_gateway_forged_and_the_owner_answering(bench: Bench) -> None:
    """The classic: everybody is told that the gateway is tomcat03, while docker0 answers, too."""
    forged = bench.mac("tomcat03")

    def poison() -> None:
        bench.inside("tomcat01", "ip neigh flush dev eth0; ping -c1 -W1 172.17.0.1")
        say(bench, "tomcat03", 1, (forged, "172.17.0.1"), ("00:00:00:00:00:00", "172.17.0.1"))

    report = bench.capture(["all"], poison)
    (text,) = texts(report, "arp-spoofing")
    assert text.startswith(f"tomcat03 claims 172.17.0.1 for {forged}, but it is docker0's ")
    assert "0 unasked replies, 1 announcements" in text
    assert "address-conflict" not in alarms(report)


def test_a_duplicate_address_is_no_spoofing(bench: Bench) -> None:
    bench.inside("tomcat03", "ip addr add 172.17.0.3/16 dev eth0")
    bench.inside("tomcat01", "ip neigh flush dev eth0")
    report = bench.capture(
        ["all"], lambda: bench.inside("tomcat01", "ping -c2 -i.01 -W1 172.17.0.3", check=False)
    )
    (text,) = texts(report, "address-conflict")
    told = sorted((bench.mac(name), f"{name}:eth0") for name in ("tomcat02", "tomcat03"))
    assert text.startswith("172.17.0.3 is claimed by 2 MACs: ")
    assert all(f"{mac} ({name})" in text for mac, name in told)
    assert alarms(report) == {"address-conflict"}
    assert {row.state for row in report.arp if row.target_ip == "172.17.0.3"} == {"conflict"}


def test_a_failover_is_no_alarm(bench: Bench) -> None:
    """A further address goes from tomcat02 to tomcat03, which announces it."""
    bench.inside("tomcat02", "ip addr add 172.17.0.100/16 dev eth0")
    new = bench.mac("tomcat03")

    def fail_over() -> None:
        bench.inside("tomcat01", "ping -c1 -W1 172.17.0.100")
        bench.inside("tomcat02", "ip addr del 172.17.0.100/16 dev eth0")
        bench.inside("tomcat03", "ip addr add 172.17.0.100/16 dev eth0")
        say(bench, "tomcat03", 1, (new, "172.17.0.100"), ("00:00:00:00:00:00", "172.17.0.100"))
        bench.inside("tomcat01", "ping -c1 -W1 172.17.0.100")

    report = bench.capture(["all"], fail_over)
    (text,) = texts(report, "address-moved")
    assert text.startswith(f"172.17.0.100 moved to {new} (tomcat03), which announced it;")
    assert alarms(report) == set()


def test_proxy_arp_of_the_host_is_no_alarm(bench: Bench) -> None:
    """A port set isolated, and the host answering for what is behind the other (RFC 1027)."""
    bench.host("sysctl -qw net.ipv4.conf.docker0.proxy_arp_pvlan=1")
    bench.inside("tomcat01", "ip neigh flush dev eth0")
    for name in ("tomcat01", "tomcat02"):
        bench.host(f"bridge link set dev {bench.veth(name)} isolated on")
    report = bench.capture(
        ["all"], lambda: bench.inside("tomcat01", "ping -c1 -W1 172.17.0.3", check=False)
    )
    (text,) = texts(report, "proxy-arp")
    assert text.startswith("the host answers for 172.17.0.3, which is tomcat02:eth0's, with its")
    assert "arp-spoofing" not in alarms(report)


def test_without_topology_two_answers_to_one_question_conflict() -> None:
    """From a file that tells nothing of its interfaces; a hand-over in it is none."""
    s = 1_000_000_000
    outlook = Outlook([Vantage("eth0", "eth0")])
    place = (0, 0, 0xFFFF_0000_0000 | 0xAC110003)

    def codes(*claims: Claim) -> list[ClaimKind]:
        return [v.kind for v in judge_claims({place: claims}, [0], outlook).verdicts]

    first = Claim(1, 10 * s, 10 * s, 0, 1, 0, 0)
    assert codes(first, Claim(2, 10 * s + 9, 10 * s + 9, 0, 1, 0, 0)) == [ClaimKind.CONFLICT]
    assert codes(first, Claim(2, 20 * s, 20 * s, 0, 1, 0, 0)) == []
    assert codes(first, Claim(2, 10 * s + 9, 11 * s, 0, 1, 0, 1)) == [ClaimKind.MOVED]
    assert codes(Claim(1, 10 * s, 30 * s, 0, 2, 0, 0), Claim(2, 20 * s, 20 * s, 0, 1, 0, 0)) == [
        ClaimKind.CONFLICT
    ]
