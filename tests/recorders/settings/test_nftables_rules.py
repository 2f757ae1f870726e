"""Rules of native nftables: read from the tool's text, and named where they drop for real."""

from __future__ import annotations

import pytest
from faulty import Bench, the_loss

from analyzer.net import programs
from analyzer.net.netns import run_inside
from analyzer.recorders.settings.nftables_rules import parse_ruleset, read_all_rules

RULES = """
table inet fw {
	set bad { # handle 4
		type ipv4_addr
		elements = { 172.17.0.9, 172.17.0.10 }
	}
	chain mine { # handle 1
		ip protocol icmp counter packets 3 bytes 252 drop comment "no ping" # handle 5
		ip saddr 172.17.0.2 accept comment "not a drop" # handle 6
	}
	chain forward { # handle 2
		type filter hook forward priority filter; policy accept;
		ip saddr 172.17.0.2 counter packets 7 bytes 588 drop # handle 7
		ip saddr @bad drop # handle 8
		tcp dport 80 reject with tcp reset # handle 9
		ip daddr vmap { 172.17.0.7 : drop,
				172.17.0.8 : accept } # handle 10
		jump mine # handle 11
	}
	chain incoming { # handle 3
		type filter hook input priority filter; policy drop;
		ct state established accept # handle 12
	}
}
table bridge br { # handle 2
	chain onward { # handle 1
		type filter hook forward priority 0; policy accept;
		ether type ip counter packets 1 bytes 84 drop # handle 2
	}
}
"""


def test_what_may_drop_is_found_with_its_chain_and_counter() -> None:
    found = [
        (r.table, r.chain, r.hook, r.number, r.packets, r.counted) for r in parse_ruleset(RULES)
    ]
    assert found == [
        ("inet fw", "mine", "", 5, 3, True),
        ("inet fw", "forward", "forward", 7, 7, True),
        ("inet fw", "forward", "forward", 8, 0, False),
        ("inet fw", "forward", "forward", 9, 0, False),
        ("inet fw", "forward", "forward", 10, 0, False),
        ("inet fw", "incoming", "input", 0, 0, False),
        ("bridge br", "onward", "forward", 2, 1, True),
    ]


def nft(bench: Bench, *lines: str) -> None:
    bench.lab.run("host", ["nft", "-f", "-"], input="\n".join(lines))


@pytest.mark.root
def test_a_native_rule_with_a_counter_is_named(bench: Bench) -> None:
    bench.bridge_netfilter()
    nft(
        bench,
        "table inet box {",
        "chain onward {",
        "type filter hook forward priority 0; policy accept;",
        "ip saddr 203.0.113.9 counter drop",
        "ip saddr 172.17.0.2 icmp type echo-request counter drop",
        "}",
        "}",
    )
    row = the_loss(bench.ping().report)
    assert (row.packets, row.reason) == (5, "NETFILTER_DROP")
    rule = "ip saddr 172.17.0.2 icmp type echo-request counter drop"
    assert row.advice.startswith(f"nft inet box onward (hook forward) ({rule}, handle ")
    assert row.advice.endswith(" counted 5: nft -a list chain inet box onward")


@pytest.mark.root
def test_native_rules_without_a_counter_are_candidates(bench: Bench) -> None:
    """Two that fit, one that does not: which it was cannot be known."""
    bench.bridge_netfilter()
    nft(
        bench,
        "table ip box {",
        "chain onward {",
        "type filter hook forward priority 0; policy drop;",
        "ct state established accept",
        "ip saddr 172.17.0.2 drop",
        "udp dport 53 drop",
        "}",
        "chain incoming {",
        "type filter hook input priority 0; policy drop;",
        "}",
        "}",
    )
    row = the_loss(bench.ping().report)
    assert (row.packets, row.reason) == (5, "NETFILTER_DROP")
    assert row.advice.startswith(
        "no counter tells which rule; without one, and fitting: nft ip box onward (hook forward) "
        "(policy drop), nft ip box onward (hook forward) (ip saddr 172.17.0.2 drop, handle "
    )
    assert "udp dport 53" not in row.advice
    assert "hook input" not in row.advice
    assert row.advice.endswith("nft -a list chain ip box onward")


@pytest.mark.root
def test_tables_that_iptables_shows_are_told_once(bench: Bench) -> None:
    bench.host("iptables -A FORWARD -s 203.0.113.9 -j DROP")
    nft(bench, "table ip mine { chain c { ip saddr 203.0.113.9 counter drop; }; }")
    found = run_inside(bench.lab.host_netns_path, read_all_rules)
    assert [(rule.tool, rule.table) for rule in found] == [
        ("iptables", "filter"),
        ("nft", "ip mine"),
    ]


@pytest.mark.root
def test_without_the_tool_native_rules_are_unknown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.bridge_netfilter()
    nft(
        bench,
        "table inet box {",
        "chain onward {",
        "type filter hook forward priority 0;",
        "ip saddr 172.17.0.2 counter drop",
        "}",
        "}",
    )
    there = programs.find_program
    monkeypatch.setattr(
        programs, "find_program", lambda name: None if name == "nft" else there(name)
    )
    row = the_loss(bench.ping().report)
    assert (row.packets, row.reason) == (5, "NETFILTER_DROP")
    assert row.advice.startswith("a rule of nftables (or iptables-nft) dropped it, and none of")
    assert "that no tool here shows: nft -a list ruleset" in row.advice
