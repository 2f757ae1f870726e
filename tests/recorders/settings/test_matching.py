"""Which packets a rule can have dropped, by its text."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from analyzer.recorders.settings.iptables_rules import Rule
from analyzer.recorders.settings.matching import NFT, Traits, fits, fits_wholly, passes

ASKED = Traits("172.17.0.2", "", "arp", incoming="eth0")
PING = Traits("172.17.0.2", "172.17.0.3", "icmp")
WEB = Traits("172.17.0.2", "198.51.100.2", "tcp", 80, 40000, "docker0", "eth0")


def rule(text: str, tool: str = "iptables", **more: str) -> Rule:
    return Rule(tool, more.pop("table", "filter"), "FORWARD", 1, text, 1, **more)


@pytest.mark.parametrize(
    ("text", "packet", "fitting"),
    [
        ("-j DROP", PING, True),
        ("-s 172.17.0.0/16 -j DROP", PING, True),
        ("-s 172.18.0.0/16 -j DROP", PING, False),
        ("! -s 172.17.0.2/32 -j DROP", PING, False),
        ("-d 172.17.0.3/32 -p icmp -j DROP", PING, True),
        ("-p tcp -m tcp --dport 80 -j DROP", PING, False),
        ("! -p tcp -j DROP", PING, True),
        ("-i docker0 ! -o docker0 -j DROP", PING, True),  # its devices are not known
        ("-i docker0 ! -o docker0 -j DROP", WEB, True),
        ("-i docker0 -o docker0 -j DROP", WEB, False),
        ("-i dock+ -j DROP", WEB, True),
        ("-i veth+ -j DROP", WEB, False),
        ("-p tcp -m tcp --dport 80 -j DROP", WEB, True),
        ("-p tcp -m tcp --dport 81 -j DROP", WEB, False),
        ("-p tcp -m tcp ! --dport 80 -j DROP", WEB, False),
        ("-p tcp -m tcp --dport 79:81 -j DROP", WEB, True),
        ("-p tcp -m tcp --sport 1024: -j DROP", WEB, True),
        ("-p tcp -m multiport --dports 22,8000:8100 -j DROP", WEB, False),
        ("-p tcp -m multiport --dports 22,80 -j DROP", WEB, True),
        ("-p tcp -m tcp --dport http -j DROP", WEB, True),  # no number: it rules nothing out
        ("-m mark --mark 0x1 -j DROP", WEB, True),
    ],
)
def test_an_iptables_rule(text: str, packet: Traits, fitting: bool) -> None:
    assert fits(rule(text), packet) is fitting
    assert fits(rule(text, "iptables-legacy"), packet) is fitting


@pytest.mark.parametrize(
    ("text", "wholly"),
    [
        ("-s 172.17.0.0/16 -p tcp -m tcp --dport 80 -j DROP", True),
        ("-i docker0 ! -o docker0 -m comment --comment 'no web' -j DROP", True),
        ("-p tcp -m multiport --dports 22,80 -j REJECT --reject-with tcp-reset", True),
        ("-p tcp -m tcp --dport 81 -j DROP", False),
        ("-p tcp -m limit --limit 1/sec -j DROP", False),
        ("-m conntrack --ctstate INVALID -j DROP", False),
        ("-p tcp -m tcp --tcp-flags SYN SYN -j DROP", False),
        ("-m set --match-set banned src -j DROP", False),
    ],
)
def test_what_leaves_nothing_open(text: str, wholly: bool) -> None:
    assert fits_wholly(rule(text), WEB) is wholly
    unknown = replace(WEB, source="", port=0, outgoing="", protocol="")
    assert not fits_wholly(rule(text), unknown)


@pytest.mark.parametrize("tool", ["iptables", "iptables-legacy"])
def test_families_are_kept_apart(tool: str) -> None:
    six = replace(PING, source="fd00::2", destination="fd00::3", protocol="icmpv6")
    assert not fits(rule("-j DROP", tool), six)
    assert fits(rule("-j DROP", tool.replace("ip", "ip6", 1)), six)


@pytest.mark.parametrize(
    ("text", "packet", "fitting"),
    [
        ("ip saddr 172.17.0.2 counter drop", PING, True),
        ("ip saddr 172.17.0.2 counter drop", replace(PING, source="172.17.0.4"), False),
        ("ip saddr != 172.17.0.2 drop", PING, False),
        ("ip protocol icmp counter drop", WEB, False),
        ("ip saddr @bad drop", WEB, True),  # sets are not looked into
        ("tcp dport 80 reject with tcp reset", WEB, True),
        ("tcp dport 80 reject with tcp reset", replace(WEB, port=81), False),
        ("tcp dport 80 reject with tcp reset", PING, False),
        ("tcp dport 70-90 drop", WEB, True),
        ("tcp dport != 80 drop", WEB, False),
        ("tcp dport { 80, 443 } drop", WEB, True),
        ('iifname "docker0" drop', WEB, True),
        ('iifname "veth*" drop', WEB, False),
        ('oifname != "eth0" drop', WEB, False),
        ('iifname "docker0" drop', PING, True),
    ],
)
def test_a_rule_of_nftables(text: str, packet: Traits, fitting: bool) -> None:
    assert fits(rule(text, NFT, table="inet fw"), packet) is fitting


def test_devices_of_the_bridge_family_are_ports() -> None:
    bridged = Traits(
        "172.17.0.2",
        "172.17.0.3",
        "icmp",
        incoming="docker0",
        outgoing="docker0",
        incoming_port="veth1",
        outgoing_port="veth2",
    )
    there, elsewhere = (
        rule('oifname "veth2" drop', NFT, table="bridge filter"),
        "oifname veth3 drop",
    )
    assert fits(there, bridged)
    assert not fits(rule(elsewhere, NFT, table="bridge filter"), bridged)
    assert not fits(rule('oifname "veth2" drop', NFT, table="inet fw"), bridged)


def test_a_chain_that_others_call_is_not_traced() -> None:
    forward = frozenset({"FORWARD"})
    assert passes(rule("-j DROP"), forward)
    assert not passes(rule("-j DROP"), frozenset({"INPUT"}))
    assert passes(Rule("iptables", "filter", "DOCKER-USER", 1, "-j DROP", 1), forward)
    assert not passes(rule("drop", NFT, hook="input"), forward)


@pytest.mark.parametrize(
    ("table", "arp", "ip"),
    [
        ("arp filter", True, False),
        ("ip filter", False, True),
        ("ip6 filter", False, False),
        ("inet filter", False, True),
        ("bridge filter", True, True),
        ("netdev filter", True, True),
    ],
)
def test_only_rules_of_its_families_are_a_packets(table: str, arp: bool, ip: bool) -> None:
    one = rule("counter drop", NFT, table=table, hook="input")
    assert (fits(one, ASKED), fits(one, PING)) == (arp, ip)
    assert not fits(rule("-j DROP"), ASKED)
