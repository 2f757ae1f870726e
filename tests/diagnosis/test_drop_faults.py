"""Faults made for real in the lab: each is named with its reason, its place and what to do."""

from __future__ import annotations

import json
import socket
import sys
import threading
from pathlib import Path

import pytest
from faulty import Bench, the_loss

from analyzer.analysis.analyse import report_files
from analyzer.app.ping import PingPlan, ping
from analyzer.echo import EchoOutcome
from analyzer.engines.lab import Lab
from analyzer.net.netns import run_inside

pytestmark = pytest.mark.root


@pytest.mark.fault("DROP in DOCKER-USER")
def test_a_drop_between_containers_names_the_rule(bench: Bench) -> None:
    bench.bridge_netfilter()
    bench.host(
        "iptables -N DOCKER-USER; iptables -I FORWARD -j DOCKER-USER;"
        "iptables -A DOCKER-USER -s 203.0.113.9 -j DROP;"
        "iptables -A DOCKER-USER -s 172.17.0.2 -j DROP"
    )
    result = bench.ping()
    a, b = bench.veth("tomcat01"), bench.veth("tomcat02")
    row = the_loss(result.report)
    assert result.exit_code == 1
    assert (row.packets, row.reason, row.last_seen, row.expected) == (5, "NETFILTER_DROP", a, b)
    assert row.location.startswith(
        f"in bridge docker0, between its ports {a} and {b} (kernel: nft_do_chain+0x"
    )
    assert row.advice == (
        "iptables DOCKER-USER rule 2 (-s 172.17.0.2/32 -j DROP) counted 5: "
        "iptables -nvL DOCKER-USER --line-numbers"
    )
    offline, errors = report_files([bench.file])
    assert errors == []
    assert the_loss(offline) == row


@pytest.mark.fault("REJECT in FORWARD")
def test_a_reject_between_containers(bench: Bench) -> None:
    bench.bridge_netfilter()
    bench.host("iptables -I FORWARD -s 172.17.0.2 -j REJECT")
    row = the_loss(bench.ping().report)
    assert (row.packets, row.reason) == (5, "NETFILTER_DROP")
    assert "iptables FORWARD rule 1 (-s 172.17.0.2/32 -j REJECT" in row.advice


@pytest.mark.fault("a chain's policy is DROP")
def test_a_policy_is_named_where_no_rule_dropped(bench: Bench) -> None:
    bench.bridge_netfilter()
    bench.host("iptables -P FORWARD DROP")
    row = the_loss(bench.ping().report)
    assert (row.packets, row.reason) == (5, "NETFILTER_DROP")
    assert row.advice == (
        "iptables FORWARD policy DROP counted 5: iptables -nvL FORWARD --line-numbers"
    )


def test_only_some_are_dropped(bench: Bench) -> None:
    bench.bridge_netfilter()
    some = "iptables -A FORWARD -s 172.17.0.2"
    bench.host(f"{some} -m limit --limit 1/min --limit-burst 20 -j ACCEPT; {some} -j DROP")
    result = bench.ping(count=30)
    row = the_loss(result.report)
    answered = result.report.icmp[0].answered
    assert result.exit_code == 0
    assert (row.packets, answered, row.reason) == (10, 20, "NETFILTER_DROP")


@pytest.mark.fault("a firewall inside the destination")
def test_a_firewall_inside_the_destination(bench: Bench) -> None:
    bench.inside("tomcat02", "iptables -A INPUT -p icmp -j DROP")
    row = the_loss(bench.ping().report)
    assert (row.packets, row.reason) == (5, "NETFILTER_DROP")
    assert row.last_seen == "tomcat02:eth0"
    assert row.location.startswith("in tomcat02's stack, behind tomcat02:eth0 (kernel: ")
    assert row.advice == (
        "iptables INPUT rule 1 (-p icmp -j DROP) counted 5: "
        "in tomcat02's namespace: iptables -nvL INPUT --line-numbers"
    )


@pytest.mark.fault("a firewall inside the destination, against answers")
def test_a_firewall_inside_that_drops_the_answers(bench: Bench) -> None:
    bench.inside("tomcat02", "iptables -A OUTPUT -p icmp -j DROP")
    row = the_loss(bench.ping().report)
    assert (row.packets, row.reason) == (5, "NETFILTER_DROP")
    assert row.location.startswith(
        "in tomcat02's stack, its answer dropped before it left tomcat02:eth0 (kernel: "
    )
    assert "iptables OUTPUT rule 1 (-p icmp -j DROP) counted 5" in row.advice


@pytest.mark.fault("the host's own firewall")
def test_the_hosts_own_firewall(bench: Bench) -> None:
    bench.host("iptables -I INPUT -p icmp -j DROP")
    row = the_loss(bench.ping(destination="host").report)
    assert (row.packets, row.reason, row.last_seen) == (5, "NETFILTER_DROP", "docker0")
    assert row.location.startswith("in the host's stack, behind docker0 (kernel: ")
    assert "iptables INPUT rule 1 (-p icmp -j DROP) counted 5: iptables -nvL INPUT" in row.advice


@pytest.mark.fault("both ports are set to isolated")
def test_isolated_ports(bench: Bench) -> None:
    a, b = bench.veth("tomcat01"), bench.veth("tomcat02")
    for port in (a, b):
        bench.host(f"bridge link set dev {port} isolated on")
    row = the_loss(bench.ping().report)
    assert (row.packets, row.last_seen, row.expected) == (5, a, b)
    assert row.reason == "both ports are isolated"
    assert f"bridge link set dev {b} isolated off" in row.advice


@pytest.mark.fault("the destination's port is disabled")
def test_the_destinations_port_is_disabled(bench: Bench) -> None:
    a, b = bench.veth("tomcat01"), bench.veth("tomcat02")
    bench.host(f"bridge link set dev {b} state 0")
    row = the_loss(bench.ping().report)
    assert (row.packets, row.last_seen, row.expected) == (5, a, b)
    assert row.reason == f"port {b} is disabled"
    assert f"bridge link show dev {b}" in row.advice


@pytest.mark.fault("the source's port is disabled")
def test_the_sources_port_is_disabled(bench: Bench) -> None:
    a = bench.veth("tomcat01")
    bench.host(f"bridge link set dev {a} state 0")
    row = the_loss(bench.ping().report)
    assert (row.packets, row.last_seen) == (5, a)
    assert row.reason == "BRIDGE_INGRESS_STP_STATE"
    assert "(kernel: br_handle_frame" in row.location
    assert f"bridge link show dev {a}" in row.advice


def test_a_disabled_port_that_the_host_asks_behind(bench: Bench) -> None:
    b = bench.veth("tomcat02")
    bench.host(f"ip neigh flush dev docker0; bridge link set dev {b} state 0")
    row = the_loss(bench.ping("host").report, "arp")
    assert (row.source, row.destination, row.expected) == ("host", "tomcat02", b)
    assert row.reason == f"port {b} is disabled"


@pytest.mark.fault("an FDB entry for a wrong port")
def test_an_fdb_entry_for_the_wrong_port(bench: Bench) -> None:
    b, c = bench.veth("tomcat02"), bench.veth("tomcat03")
    bench.host(f"bridge fdb replace {bench.mac('tomcat02')} dev {c} master static")
    row = the_loss(bench.ping().report)
    assert (row.packets, row.expected) == (5, b)
    assert row.reason == "the FDB points to the wrong port"
    assert f"docker0 has {bench.mac('tomcat02')} at {c}, but it lives behind {b}" in row.advice
    assert f"bridge fdb del {bench.mac('tomcat02')} dev {c} master" in row.advice


@pytest.mark.fault("an FDB entry that points back")
def test_an_fdb_entry_that_points_back(bench: Bench) -> None:
    a = bench.veth("tomcat01")
    bench.host(f"bridge fdb replace {bench.mac('tomcat02')} dev {a} master static")
    row = the_loss(bench.ping().report)
    assert (row.packets, row.last_seen) == (5, a)
    assert row.reason == "the FDB points back to the port it came from"
    assert "hairpin off" in row.advice


@pytest.mark.fault("a queue (tbf) that is too short")
def test_a_queue_that_is_full(bench: Bench) -> None:
    b = bench.veth("tomcat02")
    bench.host(f"tc qdisc add dev {b} root tbf rate 8kbit burst 200 limit 200")
    result = bench.ping(count=6, interval_s=0.001, wait_s=1.0)
    row = the_loss(result.report)
    sent, answered = result.report.icmp[0].sent, result.report.icmp[0].answered
    assert 0 < row.packets == sent - answered
    assert row.reason in ("QDISC_DROP", "QDISC_OVERLIMIT")
    assert row.expected == b
    assert row.advice.startswith(f"the queueing discipline tbf of 8 kbit/s of {b} dropped ")
    assert row.advice.endswith(f" by its own counter: tc -s qdisc show dev {b}")


@pytest.mark.fault("eth0 inside is down")
def test_the_interface_inside_is_down(bench: Bench) -> None:
    bench.inside("tomcat02", "ip link set eth0 down")
    row = the_loss(bench.ping().report)
    assert (row.packets, row.reason) == (5, "tomcat02:eth0 is down")
    assert "ip link show in tomcat02" in row.advice


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("inside", marks=pytest.mark.fault("a smaller MTU inside, DF set")),
        pytest.param("port", marks=pytest.mark.fault("a smaller MTU at the port, DF set")),
    ],
)
def test_an_mtu_that_is_smaller_on_one_side(bench: Bench, end: str) -> None:
    b = bench.veth("tomcat02")
    if end == "inside":
        bench.inside("tomcat02", "ip link set eth0 mtu 1400")
    else:
        bench.host(f"ip link set {b} mtu 1400")
    row = the_loss(bench.ping(size=1440).report)
    name = "tomcat02:eth0" if end == "inside" else b
    assert (row.packets, row.expected) == (5, name)
    assert row.reason == f"larger than the MTU of {name}"
    assert "1468 bytes do not go into an MTU of 1400" in row.advice
    assert bench.ping(size=56).exit_code == 0


@pytest.mark.fault("icmp_echo_ignore_all inside the destination")
def test_echoes_that_are_ignored(bench: Bench) -> None:
    bench.inside("tomcat02", "sysctl -qw net.ipv4.icmp_echo_ignore_all=1")
    row = the_loss(bench.ping().report)
    assert (row.packets, row.reason, row.last_seen) == (5, "echo ignored", "tomcat02:eth0")
    assert row.advice.endswith("sysctl net.ipv4.icmp_echo_ignore_all")


@pytest.mark.fault("a wrong static ARP entry")
def test_a_wrong_static_arp_entry(bench: Bench) -> None:
    wrong = "02:42:ac:11:00:99"
    bench.inside("tomcat01", f"ip neigh replace 172.17.0.3 lladdr {wrong} dev eth0 nud permanent")
    row = the_loss(bench.ping().report)
    assert (row.packets, row.reason) == (5, "wrong neighbour entry")
    assert row.location == f"on the way to {wrong}, the MAC of nobody"
    assert row.advice == (
        f"tomcat02 is at {bench.mac('tomcat02')}; tomcat01 believes otherwise: "
        "in tomcat01's namespace: ip neigh show"
    )


@pytest.mark.fault("a static ARP entry with another's MAC")
def test_a_wrong_static_arp_entry_with_anothers_mac(bench: Bench) -> None:
    wrong = bench.mac("tomcat03")
    bench.inside("tomcat03", "sysctl -qw net.ipv4.ip_forward=0")
    bench.inside("tomcat01", f"ip neigh replace 172.17.0.3 lladdr {wrong} dev eth0 nud permanent")
    report = bench.capture(
        ["all"], lambda: bench.inside("tomcat01", "ping -c3 -i.01 -W.1 172.17.0.3", check=False)
    )
    row = the_loss(report)
    assert (row.packets, row.reason) == (3, "wrong neighbour entry")
    assert (row.destination, row.last_seen) == ("tomcat02", "tomcat03:eth0")
    assert row.location == f"on the way to {wrong}, the MAC of tomcat03"


def test_the_same_address_in_two_containers(bench: Bench) -> None:
    bench.inside("tomcat03", "ip addr add 172.17.0.3/16 dev eth0")
    bench.inside("tomcat01", "ip neigh flush all")
    report = bench.capture(
        ["all"], lambda: bench.inside("tomcat01", "ping -c3 -i.01 -W.2 172.17.0.3", check=False)
    )
    (finding,) = [f for f in report.findings if f.code == "address-conflict"]
    assert "172.17.0.3 is claimed by 2 MACs" in finding.text
    assert {bench.mac("tomcat02"), bench.mac("tomcat03")} == {
        mac for mac in (bench.mac("tomcat02"), bench.mac("tomcat03")) if mac in finding.text
    }


@pytest.mark.fault("TTL 1 through the host")
def test_ttl_1_through_the_host(bench: Bench) -> None:
    report = bench.capture(
        ["tomcat01"],
        lambda: bench.inside("tomcat01", "ping -c3 -i.01 -W.1 -t1 198.51.100.2", check=False),
    )
    row = the_loss(report)
    assert (row.packets, row.reason, row.last_seen) == (3, "IP_INHDR", "docker0")
    assert row.location.startswith("in the host's stack, behind docker0 (kernel: ip_forward+0x")
    assert row.advice == (
        "its hop limit ran out at this router (TTL 1 on arrival): raise it (ping -t), or look for "
        "a loop: ip route get 198.51.100.2"
    )


@pytest.mark.fault("strict rp_filter and a spoofed source")
def test_a_spoofed_source_and_a_strict_reverse_path_filter(bench: Bench) -> None:
    bench.host(
        "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.docker0.rp_filter=1;"
        "ip route add 192.0.2.0/24 via 198.51.100.2"
    )
    bench.inside("tomcat01", "ip addr add 192.0.2.77/32 dev eth0")
    report = bench.capture(
        ["tomcat01"],
        lambda: bench.inside(
            "tomcat01",
            "ping -c1 172.17.0.1; ping -c3 -i.01 -W.1 -I 192.0.2.77 198.51.100.2",
            check=False,
        ),
    )
    row = the_loss(report)
    assert (row.packets, row.reason, row.last_seen) == (3, "IP_RPFILTER", "docker0")
    assert row.advice == (
        "the way back to its source leads by another interface (rp_filter): "
        "sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.docker0.rp_filter; "
        "ip route get 192.0.2.77"
    )


@pytest.mark.fault("forwarding to the outside is dropped")
def test_forwarding_to_the_outside_is_dropped(bench: Bench) -> None:
    bench.host("iptables -A FORWARD -i docker0 -o uplink0 -j DROP")
    report = bench.capture(
        ["tomcat01"],
        lambda: bench.inside("tomcat01", "ping -c3 -i.01 -W.1 198.51.100.2", check=False),
    )
    row = the_loss(report)
    assert (row.packets, row.reason, row.last_seen) == (3, "NETFILTER_DROP", "docker0")
    assert row.location.startswith("in the host's stack, behind docker0")
    assert "iptables FORWARD rule 1 (-i docker0 -o uplink0 -j DROP) counted 3" in row.advice


@pytest.mark.fault("containers in two networks")
def test_networks_that_are_kept_apart(tmp_path: Path) -> None:
    plan = {"networks": {"back": "172.18.0.0/16"}, "members": {"tomcat02": ("back",)}}
    with Lab(containers=2, **plan) as lab:
        bench = Bench(lab, tmp_path)
        back = json.loads(bench.host("ip -j link show type bridge"))
        (other,) = [link["ifname"] for link in back if link["ifname"] != "docker0"]
        ping(lab, PingPlan("tomcat01", "tomcat02", count=1, wait_s=0.2))
        for chain in ("1", "2"):
            bench.host(f"iptables -N DOCKER-ISOLATION-STAGE-{chain}")
        bench.host(
            "iptables -A FORWARD -j DOCKER-ISOLATION-STAGE-1;"
            "iptables -A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 "
            "-j DOCKER-ISOLATION-STAGE-2;"
            f"iptables -A DOCKER-ISOLATION-STAGE-2 -o {other} -j DROP"
        )
        result = bench.ping()
    row = the_loss(result.report)
    assert result.exit_code == 1
    assert (row.packets, row.reason, row.last_seen) == (5, "NETFILTER_DROP", "docker0")
    assert row.advice.startswith(
        "Docker keeps its networks apart (iptables DOCKER-ISOLATION-STAGE-2 rule 1 "
        f"(-o {other} -j DROP) counted 5): connect both containers to one network "
        "(docker network connect NETWORK CONTAINER)"
    )


@pytest.mark.fault("nobody listens on a UDP port")
def test_nobody_listens_on_a_udp_port(bench: Bench) -> None:
    def send() -> None:
        with run_inside(bench.lab.netns_path("tomcat01"), udp_socket) as sender:
            for _ in range(3):
                sender.sendto(b"anybody there?", ("172.17.0.3", 4711))

    row = the_loss(bench.capture(["tomcat01", "tomcat02"], send), "udp")
    assert (row.packets, row.reason, row.last_seen) == (3, "NO_SOCKET", "tomcat02:eth0")
    assert row.advice == (
        "nobody listens on udp port 4711 there: in tomcat02's namespace: ss -lunp"
    )


def udp_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def test_a_refused_connection_is_answered_and_not_lost(bench: Bench) -> None:
    def knock() -> None:
        def connect() -> None:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("172.17.0.3", 4711), timeout=5)

        run_inside(bench.lab.netns_path("tomcat01"), connect)

    report = bench.capture(["tomcat01", "tomcat02"], knock)
    assert report.losses == []
    assert report.capture.drops is not None
    assert report.capture.drops["tied"] >= 1
    (refused,) = [finding.text for finding in report.findings if finding.code == "tcp-refused"]
    assert "nothing listens there, see ss -ltnp inside tomcat02" in refused


def test_the_container_goes_away_during_the_ping(bench: Bench) -> None:
    """What a killed container leaves: its interface is gone, and nobody answers any more."""
    veth = bench.veth("tomcat02")
    gone = threading.Event()

    def remove(outcome: EchoOutcome) -> None:
        if len(outcome.rtt_ns) >= 5 and not gone.is_set():
            gone.set()
            bench.host(f"ip link del {veth}")

    result = bench.ping(count=60, on_echo=remove)
    rows = [row for row in result.report.losses if row.protocol == "icmp"]
    stopped = [row for row in rows if row.reason == "container stopped"]
    assert 5 <= result.report.icmp[0].answered < 60
    assert [row.destination for row in stopped] == ["tomcat02"]
    assert stopped[0].packets > 0
    assert "docker ps -a" in stopped[0].advice


def test_a_source_that_may_not_send(bench: Bench) -> None:
    """Never on an interface: nothing to capture, so the pinging process says it."""
    bench.inside("tomcat01", "iptables -A OUTPUT -p icmp -j DROP")
    result = bench.ping()
    assert result.exit_code == 1
    assert any("could not be sent" in warning for warning in result.warnings)


def test_without_drops_a_ping_still_tells_what_settings_and_counters_tell(bench: Bench) -> None:
    bench.inside("tomcat02", "iptables -A INPUT -p icmp -j DROP")
    row = the_loss(bench.ping(drops=False).report)
    assert (row.packets, row.reason) == (5, "packet filter, by its counters")
    assert row.location == "in tomcat02's stack, behind tomcat02:eth0"
    assert "iptables INPUT rule 1 (-p icmp -j DROP) counted 5" in row.advice
    bench.inside("tomcat02", "iptables -F INPUT")
    bench.bridge_netfilter()
    bench.host("iptables -I FORWARD -s 172.17.0.2 -j DROP")
    row = the_loss(bench.ping(drops=False).report)
    assert (row.packets, row.reason) == (5, "packet filter, by its counters")
    assert "iptables FORWARD rule 1 (-s 172.17.0.2/32 -j DROP) counted 5" in row.advice
    bench.host("iptables -F FORWARD")
    for name in ("tomcat01", "tomcat02"):
        bench.host(f"bridge link set dev {bench.veth(name)} isolated on")
    row = the_loss(bench.ping(drops=False).report)
    assert (row.packets, row.reason) == (5, "both ports are isolated")


ECHO = """
import socket
import sys
plug = socket.socket(type=socket.SOCK_DGRAM)
plug.bind(("0.0.0.0", 5000))
print("ready", flush=True)
while True:
    data, sender = plug.recvfrom(100)
    plug.sendto(data, sender)
"""
ASK = """
import contextlib, socket
plug = socket.socket(type=socket.SOCK_DGRAM)
plug.connect(("172.17.0.3", 5000))
plug.settimeout(0.2)
for _ in range(3):
    with contextlib.suppress(OSError):
        plug.send(b"question")
        plug.recv(100)
"""


@pytest.mark.fault("the asker's own packet filter drops UDP answers")
def test_answers_that_their_asker_drops(bench: Bench) -> None:
    bench.inside("tomcat01", "iptables -A INPUT -p udp --sport 5000 -j DROP")
    with bench.serving("tomcat02", ECHO):
        report = bench.capture(
            ["tomcat01", "tomcat02"],
            lambda: bench.lab.run("tomcat01", [sys.executable, "-c", ASK]),
        )
    row = the_loss(report, "udp")
    assert (row.source, row.packets, row.reason) == ("tomcat02", 3, "NETFILTER_DROP")
    assert row.advice.startswith("iptables INPUT rule 1 (-p udp -m udp --sport 5000 -j DROP)")
    assert row.location.startswith("in tomcat01's stack")
