"""Which recorded rules would translate a packet."""

from __future__ import annotations

import pytest

from analyzer.diagnosis.nat_rules import (
    Translated,
    destination_rules,
    source_rules,
    target_of,
    untracking_rules,
)
from analyzer.model.kernel_state import Ruleset

OUT = Translated("icmp", "172.17.0.2", "198.51.100.2", outgoing="uplink0")
IN = Translated("udp", "198.51.100.2", "198.51.100.1", 8125, incoming="uplink0")


@pytest.mark.parametrize(
    ("line", "fits"),
    [
        ("[3:180] -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", True),
        ('ip saddr 172.17.0.0/16 oifname != "docker0" counter packets 0 bytes 0 masquerade', True),
        ("-A POSTROUTING -o uplink+ -j SNAT --to-source 198.51.100.1", True),
        ("-A POSTROUTING -o eth0 -j MASQUERADE", False),
        ('oifname "uplink0" ip saddr != 172.17.0.0/16 masquerade', False),
        ("-A POSTROUTING ! -s 172.17.0.0/16 -j MASQUERADE", False),
        ("-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -j MASQUERADE", False),
        ("-A POSTROUTING -s 172.17.0.0/16 -p udp -j MASQUERADE", False),
        ("-A POSTROUTING -s 172.17.0.0/16 -j ACCEPT", False),
    ],
)
def test_sources(line: str, fits: bool) -> None:
    assert bool(source_rules([Ruleset("iptables-save", f"*nat\n{line}\nCOMMIT")], OUT)) == fits


@pytest.mark.parametrize(
    ("line", "fits"),
    [
        ("-A PREROUTING -i uplink0 -p udp -m udp --dport 8125 -j DNAT --to-destination x", True),
        ('iifname "uplink0" udp dport 8100-8200 dnat to 172.17.0.2', True),
        ("-A DOCKER ! -i docker0 -p udp -m udp --dport 8000:9000 -j DNAT", True),
        ("-A DOCKER -i docker0 -p udp -m udp --dport 8125 -j DNAT", False),
        ("-A PREROUTING -p tcp -m tcp --dport 8125 -j DNAT", False),
        ("tcp dport 8125 dnat to 172.17.0.2", False),
        ("-A PREROUTING -p udp -m udp --dport 81 -j DNAT", False),
        ("-A PREROUTING -j DNAT --to-destination 172.17.0.2", False),
    ],
)
def test_destinations(line: str, fits: bool) -> None:
    assert bool(destination_rules([Ruleset("nft", line)], IN)) == fits


@pytest.mark.parametrize(
    ("line", "fits"),
    [
        ("-A PREROUTING -s 172.17.0.2/32 -p icmp -j NOTRACK", True),
        ("-A PREROUTING -s 172.17.0.0/16 -j CT --notrack", True),
        ("ip saddr 172.17.0.2 counter packets 3 bytes 252 notrack", True),
        ("-A PREROUTING -i eth9 -j CT --notrack", False),
        ("-A PREROUTING -p udp -j NOTRACK", False),
        ("-A PREROUTING -s 172.17.0.2/32 -j CT --zone 1", False),
    ],
)
def test_what_conntrack_leaves_alone(line: str, fits: bool) -> None:
    assert bool(untracking_rules([Ruleset("nft", line)], OUT)) == fits


def test_rules_for_ipv6_translate_none() -> None:
    assert source_rules([Ruleset("ip6tables-save", "-A POSTROUTING -j MASQUERADE")], OUT) == []


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("-p tcp --dport 8080 -j DNAT --to-destination 172.17.0.3:80", ("172.17.0.3", 80)),
        ("-p tcp --dport 80 -j DNAT --to-destination 172.17.0.3", ("172.17.0.3", 0)),
        ("tcp dport 8080 dnat to 172.17.0.3:80", ("172.17.0.3", 80)),
        ("tcp dport 8080 dnat ip to 172.17.0.3", ("172.17.0.3", 0)),
        ("-j DNAT --to-destination 172.17.0.3-172.17.0.9", None),
        ("-j DNAT --to-destination 172.17.0.3:80-90", None),
        ("-j REDIRECT --to-ports 80", None),
    ],
)
def test_where_a_rule_sends_packets_on_to(line: str, target: tuple[str, int] | None) -> None:
    assert target_of(line) == target
