"""The rule that is named: of the right backend, one that fits, and none where none does."""

from __future__ import annotations

import pytest
from faulty import Bench, the_loss

from analyzer.model.report import Report

pytestmark = pytest.mark.root
PING = "ping -c3 -i.05 -W.3 -q 172.17.0.3 || true"


def test_a_rule_of_the_legacy_tables_is_named_so(bench: Bench) -> None:
    bench.bridge_netfilter()
    bench.host("iptables -A FORWARD -i docker0 -o docker0 -j ACCEPT")
    bench.host("iptables-legacy -A FORWARD -s 172.17.0.2/32 -d 172.17.0.3/32 -p icmp -j DROP")
    row = the_loss(bench.ping().report)
    assert row.reason == "NETFILTER_DROP"
    assert row.advice == (
        "iptables-legacy FORWARD rule 1 (-s 172.17.0.2/32 -d 172.17.0.3/32 -p icmp -j DROP) "
        "counted 5: iptables-legacy -nvL FORWARD --line-numbers"
    )


def test_a_rule_that_was_there_for_a_while_only(bench: Bench) -> None:
    """Another rule drops other packets: it is not blamed for these."""
    bench.bridge_netfilter()
    bench.host("iptables -A FORWARD -i docker0 -o docker0 -p udp --dport 9 -j DROP")

    def ban_for_a_while() -> None:
        bench.inside("tomcat01", PING)
        bench.host("iptables -I FORWARD -s 172.17.0.2 -j DROP")
        bench.inside("tomcat01", PING)
        bench.host("iptables -D FORWARD -s 172.17.0.2 -j DROP")
        bench.inside(
            "tomcat01", "bash -c 'for n in 1 2 3; do echo x > /dev/udp/172.17.0.3/9; done'"
        )

    report = bench.capture(["tomcat01", "tomcat02"], ban_for_a_while)
    row = the_loss(report)
    assert (row.packets, row.reason) == (3, "NETFILTER_DROP")
    assert "while these were sent a rule was added to ip filter FORWARD by iptables" in row.advice
    assert "--dport 9" not in row.advice
    assert "--dport 9" in the_loss(report, "udp").advice
    (verdict,) = [v for v in report.verdicts if v.source == "tomcat01"]
    assert (verdict.result, verdict.delivered, verdict.packets) == ("proved", 3, 9)
    assert "saw 3 of 9 packets" in verdict.evidence[2].fact


def send(bench: Bench, **counts: int) -> None:
    """So many datagrams from tomcat01 to these ports of tomcat02, from one socket."""
    ports = [int(port[1:]) for port, count in counts.items() for _ in range(count)]
    bench.inside(
        "tomcat01",
        'python3 -c "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); '
        f"[s.sendto(b'x', ('172.17.0.3', port)) for port in {ports}]\"",
    )


def dropped(report: Report, place: str) -> dict[str, int]:
    """Advice → packets, of UDP that the filter dropped at a place."""
    rows = [row for row in report.losses if row.protocol == "udp" and place in row.location]
    assert {row.reason for row in rows} == {"NETFILTER_DROP"}
    return {row.advice.partition(": ")[0]: row.packets for row in rows}


def test_each_flow_of_two_containers_is_dropped_by_a_rule_of_its_own(bench: Bench) -> None:
    bench.bridge_netfilter()
    rule = "iptables -A {} -p udp --dport {} -j DROP"
    bench.host("; ".join(rule.format("FORWARD", port) for port in (8001, 8002)))
    bench.inside("tomcat02", "; ".join(rule.format("INPUT", port) for port in (8003, 8004)))
    report = bench.capture(
        ["tomcat01", "tomcat02"], lambda: send(bench, p8001=3, p8002=5, p8003=2, p8004=4)
    )
    said = "iptables {} rule {} (-p udp -m udp --dport {} -j DROP) counted {}"
    assert dropped(report, "in bridge docker0") == {
        said.format("FORWARD", 1, 8001, 3): 3,
        said.format("FORWARD", 2, 8002, 5): 5,
    }
    assert dropped(report, "in tomcat02's stack") == {
        said.format("INPUT", 1, 8003, 2): 2,
        said.format("INPUT", 2, 8004, 4): 4,
    }


def test_a_rule_behind_one_that_drops_them_all_is_innocent(bench: Bench) -> None:
    bench.bridge_netfilter()
    bench.host(
        "iptables -A FORWARD -p udp --dport 8001 -j DROP;"
        "iptables -A FORWARD -s 172.17.0.2 -p udp -j DROP"
    )
    report = bench.capture(["tomcat01", "tomcat02"], lambda: send(bench, p8001=2, p8002=4, p8003=3))
    assert dropped(report, "in bridge docker0") == {
        "iptables FORWARD rule 1 (-p udp -m udp --dport 8001 -j DROP) counted 2": 2,
        "iptables FORWARD rule 2 (-s 172.17.0.2/32 -p udp -j DROP) counted 7": 7,
    }


def test_ports_where_nobody_listens_are_named_each(bench: Bench) -> None:
    report = bench.capture(["tomcat01", "tomcat02"], lambda: send(bench, p8001=1, p8002=2))
    closed = {row.advice.split(" there")[0]: row.packets for row in report.losses}
    assert closed == {
        "nobody listens on udp port 8001": 1,
        "nobody listens on udp port 8002": 2,
    }


def test_a_published_port_that_is_not_forwarded(bench: Bench) -> None:
    """The rule looks at the container's port, the frame on the uplink bears the published one."""
    bench.host(
        "iptables -t nat -A PREROUTING -p udp --dport 8080 -j DNAT --to-destination 172.17.0.3:80;"
        "iptables -A FORWARD -o docker0 -p udp --dport 80 -j DROP;"
        "iptables -A FORWARD -o lo -p udp -j DROP; iptables -A INPUT -p udp --dport 9 -j DROP"
    )
    ask = ["bash", "-c", "for n in 1 2 3; do echo x > /dev/udp/198.51.100.1/8080; done"]
    report = bench.capture(["tomcat02"], lambda: bench.lab.run("outside", ask), uplink=True)
    row = the_loss(report, "udp")
    assert (row.packets, row.reason, row.last_seen) == (3, "NETFILTER_DROP", "uplink0")
    assert row.advice == (
        "a rule sends it on to 172.17.0.3 (-A PREROUTING -p udp -m udp --dport 8080 -j DNAT "
        "--to-destination 172.17.0.3:80), and then iptables FORWARD rule 1 (-o docker0 -p udp "
        "-m udp --dport 80 -j DROP) counted 3: iptables -nvL FORWARD --line-numbers"
    )
