"""Who reset a TCP connection: the container, the host in its name, the other side."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty import Bench

from analyzer.engines.lab import Lab
from analyzer.model.report import Report
from analyzer.net.netns import run_inside

pytestmark = pytest.mark.root
REJECT = "-j REJECT --reject-with tcp-reset"


def texts(report: Report, code: str) -> list[str]:
    return [finding.text for finding in report.findings if finding.code == code]


def refuse(bench: Bench, source: str, address: str, port: int, times: int = 1) -> None:
    def connect() -> None:
        for _ in range(times):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, port), timeout=10)

    run_inside(bench.lab.netns_path(source), connect)


def test_by_the_container_itself(bench: Bench) -> None:
    report = bench.capture(
        ["tomcat01", "tomcat02"], lambda: refuse(bench, "tomcat01", "172.17.0.3", 80, 3)
    )
    assert texts(report, "tcp-refused") == [
        "tomcat01 → tomcat02 TCP port 80: refused, 3× by tomcat02 itself: nothing listens there, "
        "see ss -ltnp inside tomcat02"
    ]


@pytest.mark.parametrize("routed", [False, True])
def test_by_the_host_in_the_containers_name(bench: Bench, routed: bool) -> None:
    """A rule in FORWARD: between two ports of docker0, and towards the outside."""
    bench.bridge_netfilter()
    bench.host(f"iptables -I FORWARD -p tcp --dport 81 {REJECT}")
    address = "198.51.100.2" if routed else "172.17.0.3"
    report = bench.capture(["all"], lambda: refuse(bench, "tomcat01", address, 81), uplink=True)
    server = address if routed else "tomcat02"
    (text,) = texts(report, "tcp-refused")
    assert text.startswith(
        f"tomcat01 → {server} TCP port 81: refused by the host in {server}'s name (its RST is "
        f"first seen going out of {bench.veth('tomcat01')}): iptables FORWARD rule 1 "
        f"(-p tcp -m tcp --dport 81 {REJECT}) counted 1: iptables -nvL FORWARD"
    )
    assert "DOCKER-USER" not in text  # there is no Docker


def test_by_the_host_without_bridge_netfilter(bench: Bench) -> None:
    """Then the RST goes out by docker0 itself."""
    bench.host("sysctl -qw net.bridge.bridge-nf-call-iptables=0")
    bench.host(f"iptables -I FORWARD -p tcp --dport 81 {REJECT}")
    report = bench.capture(
        ["all"], lambda: refuse(bench, "tomcat01", "198.51.100.2", 81), uplink=True
    )
    (text,) = texts(report, "tcp-refused")
    assert "by the host in 198.51.100.2's name (its RST is first seen going out of doc" in text


def test_by_the_host_for_itself(bench: Bench) -> None:
    report = bench.capture(["all"], lambda: refuse(bench, "tomcat01", "172.17.0.1", 84))
    assert texts(report, "tcp-refused") == [
        "tomcat01 → host TCP port 84: refused by host itself: nothing listens there, see ss -ltnp "
        "on the host"
    ]


def test_by_the_other_side_of_the_uplink(bench: Bench) -> None:
    report = bench.capture(
        ["all"], lambda: refuse(bench, "tomcat01", "198.51.100.2", 83), uplink=True
    )
    (text,) = texts(report, "tcp-refused")
    assert text.startswith(
        "tomcat01 → 198.51.100.2 TCP port 83: refused (RST first seen at uplink0): nothing listens"
    )


@pytest.mark.parametrize("rejected", [False, True])
def test_by_the_other_side_of_an_uplink_that_is_not_captured(bench: Bench, rejected: bool) -> None:
    """The RST is first seen going out of docker0, as if a rule of the host's had made it."""
    if rejected:
        bench.host(f"iptables -I FORWARD -p tcp --dport 83 {REJECT}")
    report = bench.capture(["tomcat01"], lambda: refuse(bench, "tomcat01", "198.51.100.2", 83))
    (text,) = texts(report, "tcp-refused")
    assert " by the host" not in text
    assert ("iptables FORWARD rule 1" in text) is rejected
    assert ("nothing listens there" in text) is not rejected


def test_a_connection_that_is_cut_beyond_an_uplink_that_is_not_captured(bench: Bench) -> None:
    def talk() -> None:
        path, server = bench.lab.netns_path("outside"), ("198.51.100.2", 84)
        with run_inside(path, lambda: socket.create_server(server)) as listener:
            mine = bench.lab.netns_path("tomcat01")
            with run_inside(mine, lambda: socket.create_connection(server, timeout=10)) as client:
                peer, _ = listener.accept()
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.close()
                with pytest.raises(ConnectionResetError):
                    client.recv(1)

    report = bench.capture(["tomcat01"], talk)
    (text,) = texts(report, "tcp-reset")
    assert text.startswith("198.51.100.2 reset TCP towards tomcat01, port 84, 1×")
    assert "it came by an interface that was not captured" in text
    assert not [one for one in report.findings if one.severity != "info"]


def test_a_published_port_that_nobody_serves(bench: Bench) -> None:
    bench.host(
        "iptables -t nat -A PREROUTING -i uplink0 -p tcp --dport 8080 -j DNAT --to 172.17.0.2:80"
    )
    report = bench.capture(
        ["all"], lambda: refuse(bench, "outside", "198.51.100.1", 8080), uplink=True
    )
    (text,) = texts(report, "published-unserved")
    assert text.startswith(
        "198.51.100.2 → tomcat01 TCP port 80: refused by tomcat01 itself, asked at the published "
        "port 198.51.100.1:8080: nothing listens there, see ss -ltnp inside tomcat01"
    )
    assert texts(report, "tcp-refused") == []


def test_an_open_connection_that_was_cut(bench: Bench) -> None:
    """The server closes with data unread: its kernel resets."""

    def listen() -> socket.socket:
        return socket.create_server(("172.17.0.3", 80))

    def talk() -> None:
        with (
            run_inside(bench.lab.netns_path("tomcat02"), listen) as listener,
            run_inside(
                bench.lab.netns_path("tomcat01"),
                lambda: socket.create_connection(("172.17.0.3", 80), timeout=10),
            ) as client,
        ):
            server, _ = listener.accept()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            server.close()
            with pytest.raises(ConnectionResetError):
                client.recv(1)

    report = bench.capture(["all"], talk)
    (text,) = texts(report, "tcp-reset")
    assert text.startswith(
        "tomcat02 reset TCP towards tomcat01, port 80, 1× (first seen at tomcat02:eth0): "
    )
    assert [f.code for f in report.findings if f.severity != "info"] == []
    assert [row.state for row in report.tcp] == ["reset"]


def test_a_rule_refuses_what_a_process_listens_for(bench: Bench) -> None:
    reject = "-p tcp --dport 80 -j REJECT --reject-with tcp-reset"
    bench.inside("tomcat02", f"iptables -A INPUT {reject}")
    server = run_inside(
        bench.lab.netns_path("tomcat02"), lambda: socket.create_server(("0.0.0.0", 80))
    )

    def connect() -> None:
        with pytest.raises(ConnectionRefusedError):
            run_inside(
                bench.lab.netns_path("tomcat01"),
                lambda: socket.create_connection(("172.17.0.3", 80), timeout=5),
            )

    with server:
        report = bench.capture(["all"], connect)
    (text,) = texts(report, "tcp-refused")
    assert text.endswith(
        "refused by tomcat02 itself: iptables INPUT rule 1 (-p tcp -m tcp --dport 80 "
        f"{REJECT}) counted 1: in tomcat02's namespace: iptables -nvL INPUT --line-numbers"
    )


def test_what_listens_on_its_loopback_only(bench: Bench) -> None:
    path = bench.lab.netns_path("tomcat02")
    with run_inside(path, lambda: socket.create_server(("127.0.0.1", 82))):
        report = bench.capture(["all"], lambda: refuse(bench, "tomcat01", "172.17.0.3", 82))
    (text,) = texts(report, "tcp-refused")
    assert text.endswith(
        "refused by tomcat02 itself: it listens on 127.0.0.1:82 only: ss -ltnp inside tomcat02"
    )


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Bench]:
    """tomcat01 on docker0, tomcat02 in a network of its own."""
    with Lab(3, networks={"back": "172.20.0.0/16"}, members={"tomcat02": ("back",)}) as lab:
        yield Bench(lab, tmp_path)


def test_nobody_answers_arp_for_a_container_in_another_network(apart: Bench) -> None:
    """A route that says that it is on the link; the file was captured at tomcat01 alone."""
    apart.inside("tomcat01", "ip route add 172.20.0.2/32 dev eth0")
    report = apart.capture(
        ["tomcat01"], lambda: apart.inside("tomcat01", "ping -c1 -W1 172.20.0.2", check=False)
    )
    (text,) = texts(report, "arp-unanswered")
    assert text.endswith(
        "who has 172.20.0.2 and nobody answered: it is tomcat02's in network back, "
        "and tomcat01 asks in another one"
    )


def test_nobody_answers_arp_for_a_container_that_went_away(apart: Bench) -> None:
    port = apart.veth("tomcat03")

    def lose() -> None:
        apart.host(f"ip link del {port}")
        apart.inside("tomcat01", "ping -c1 -W1 172.17.0.3", check=False)

    report = apart.capture(["all"], lose)
    (text,) = texts(report, "arp-unanswered")
    assert text.endswith(
        "who has 172.17.0.3 and nobody answered: it was tomcat03's, whose interface vanished "
        "while the capture ran"
    )


@pytest.mark.parametrize("family", [4, 6])
def test_who_only_checks_whether_it_is_still_there_lacks_nothing(apart: Bench, family: int) -> None:
    """The kernel polls a neighbour that it knew (NUD_PROBE): nobody wants to send to it."""
    port, address = apart.veth("tomcat03"), "172.17.0.3" if family == 4 else "fd00:17::3"
    for name in ("tomcat01", "tomcat03"):
        for key in ("all.disable_ipv6", "all.accept_dad", "eth0.disable_ipv6"):
            apart.inside(name, f"sysctl -qw net.ipv6.conf.{key}=0")
        apart.inside(name, f"ip addr add fd00:17::{name[-1]}/64 dev eth0 nodad")
    apart.inside("tomcat01", f"ping -c1 -W4 {address}")

    def lose() -> None:
        apart.inside("tomcat03", "ip link set eth0 arp off")  # it asks nobody itself
        apart.host(f"ip link del {port}")
        change = f"ip neigh change {address} dev eth0 nud probe"
        apart.inside("tomcat01", f"{change}; sleep 3.5")

    report = apart.capture(["all"], lose)
    rows = report.flows["arp" if family == 4 else "nd"]
    (row,) = [row for row in rows if row.target_ip == address]
    assert (row.asker, row.state) == ("tomcat01", "unanswered")
    assert 0 < row.polls == row.requests
    code = "arp-unanswered" if family == 4 else "nd-unanswered"
    (finding,) = [one for one in report.findings if one.code == code]
    assert finding.severity == "info"
    assert "it was tomcat03's, whose interface vanished" in finding.text


def test_echoes_to_a_container_that_went_away(bench: Bench) -> None:
    """Their MAC is known still, so that they are sent, and flooded."""
    port, mac = bench.veth("tomcat02"), bench.mac("tomcat02")
    known = f"ip neigh replace 172.17.0.3 lladdr {mac} dev eth0 nud permanent"

    def lose() -> None:
        bench.host(f"ip link del {port}")
        time.sleep(0.5)
        bench.inside("tomcat01", f"{known}; ping -c3 -i.05 -W.3 172.17.0.3", check=False)

    report = bench.capture(["all"], lose)
    told = texts(report, "echo-unanswered") + [loss.location for loss in report.losses]
    assert any("tomcat02" in one for one in told), told
    assert not any("the cause lies beyond" in one for one in told), told


@pytest.mark.parametrize("masqueraded", [False, True])
def test_answers_that_nobody_translates_back(bench: Bench, masqueraded: bool) -> None:
    """Two containers of one bridge, the one asking for the other by the host's address."""
    bench.host("sysctl -qw net.bridge.bridge-nf-call-iptables=0")
    bench.host("iptables -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to 172.17.0.3:80")
    if masqueraded:
        ends = "-s 172.17.0.0/16 -d 172.17.0.0/16"
        bench.host(f"iptables -t nat -A POSTROUTING {ends} -j MASQUERADE")

    def ask() -> None:
        try:
            socket.create_connection(("172.17.0.1", 8080), timeout=0.5).close()
        except TimeoutError:
            assert not masqueraded
        else:
            assert masqueraded

    netns = bench.lab.netns_path("tomcat01")
    with bench.serving("tomcat02", SERVING):
        report = bench.capture(["all"], lambda: run_inside(netns, ask))
    alarms = [one for one in report.findings if one.severity != "info"]
    if masqueraded:
        assert alarms == []
        return
    (told,) = alarms
    assert told.code == "tcp-reset"
    assert told.text.startswith("tomcat01 reset TCP towards tomcat02, port 80, ")
    assert (
        "it asked 172.17.0.1 port 8080, which the host gives to 172.17.0.3 port 80, and tomcat02 "
        "answers it without the host, untranslated: "
    ) in told.text


SERVING = """
import socket, time
s = socket.socket(); s.bind(("", 80)); s.listen(); print("ready", flush=True); time.sleep(60)
"""
