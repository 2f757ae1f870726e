"""Settings and rules, read by themselves and taken from what was read besides, are the same."""

from __future__ import annotations

import pytest

from analyzer.engines.lab import Lab
from analyzer.recorders.evidence.namespace import read_namespaces
from analyzer.recorders.settings.facts import facts_of, read_facts
from analyzer.tap.evidence import namespaces_of
from analyzer.topology.discover import discover
from analyzer.topology.vantages import select_vantages

pytestmark = pytest.mark.root


def test_both_ways(lab: Lab) -> None:
    rules = (
        "iptables -A FORWARD -s 10.9.8.7 -j DROP; ip6tables -P FORWARD DROP; "
        "nft 'add table bridge t; add chain bridge t c { type filter hook forward priority 0; }; "
        "add rule bridge t c ip saddr 10.9.8.7 counter drop'"
    )
    lab.run("host", ["sh", "-ec", rules])
    lab.run("tomcat01", ["sh", "-ec", "iptables -A INPUT -s 10.9.8.7 -j REJECT"])
    topology = discover(lab)
    vantages = select_vantages(topology, targets=["all"], uplink=True)
    alone = read_facts(vantages, topology.netns_paths)
    spaces = namespaces_of(vantages, topology.netns_paths)
    besides = facts_of(read_namespaces(spaces, at_start=False), vantages)
    assert besides.links == alone.links
    assert besides.rules == alone.rules
    assert len(alone.rules[topology.host_netns]) == 3
    for netns, told in besides.sysctls.items():
        assert told.items() <= alone.sysctls[netns].items()
        assert "net.ipv4.icmp_echo_ignore_all" in told
    assert besides.sysctls.keys() == alone.sysctls.keys()
