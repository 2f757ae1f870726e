"""Counters as /proc and netlink tell them."""

from __future__ import annotations

import pytest

from analyzer.model.evidence import counter_source
from analyzer.net.netns import new_netns, run_inside
from analyzer.recorders.evidence.counters import (
    parse_conntrack,
    parse_lines,
    parse_paired,
    read_counters,
)

SNMP = """\
Tcp: RtoAlgorithm MaxConn RetransSegs
Tcp: 1 -1 0
Udp: InDatagrams RcvbufErrors
Udp: 40 7
"""


def test_pairs_of_lines_are_named_as_nstat_names_them() -> None:
    assert parse_paired(SNMP) == {
        "TcpRtoAlgorithm": 1,
        "UdpInDatagrams": 40,
        "UdpRcvbufErrors": 7,
    }


def test_a_line_without_its_values_tells_nothing() -> None:
    assert parse_paired("Udp: InDatagrams RcvbufErrors\nUdp: 4\nTcp: RetransSegs\n") == {
        "UdpInDatagrams": 4
    }
    assert parse_paired("") == {}


def test_a_counter_a_line() -> None:
    text = "Udp6InDatagrams                 \t4\nUdp6RcvbufErrors \t0\nIp6OutNoRoutes\t2\n"
    assert parse_lines(text) == {"Udp6InDatagrams": 4, "Ip6OutNoRoutes": 2}


def test_conntrack_is_the_sum_of_all_cpus() -> None:
    text = (
        "entries  clashres found invalid insert_failed drop early_drop icmp_error\n"
        "00000005 00000001 00000000 00000010 00000002 00000003 00000000 00000000\n"
        "00000005 00000000 00000000 00000001 00000002 00000000 00000000 00000000\n"
    )
    assert {name: value for name, value in parse_conntrack(text).items() if value} == {
        "conntrack.clash_resolve": 1,
        "conntrack.invalid": 17,
        "conntrack.insert_failed": 4,
        "conntrack.drop": 3,
    }


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("TcpExtListenDrops", "netstat"),
        ("IpExtInOctets", "netstat"),
        ("UdpRcvbufErrors", "snmp"),
        ("Udp6RcvbufErrors", "snmp6"),
        ("Icmp6InErrors", "snmp6"),
        ("conntrack.drop", "conntrack"),
    ],
)
def test_each_counter_has_its_source(name: str, source: str) -> None:
    assert counter_source(name) == source


@pytest.mark.root
def test_a_new_namespace_has_counted_next_to_nothing() -> None:
    absent: dict[str, str] = {}
    found = run_inside(new_netns(), read_counters, absent)
    assert absent == {}
    assert found["conntrack.max"] > 0
    assert found.get("UdpRcvbufErrors", 0) == found.get("conntrack.count", 0) == 0
