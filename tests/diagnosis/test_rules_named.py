"""The rule that is named: of the right backend, one that fits, and none where none does."""

from __future__ import annotations

import pytest
from faulty import Bench, the_loss

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
    assert row.advice.startswith("a rule of nftables (or iptables-nft) dropped it, and none of")
    assert "--dport 9" in the_loss(report, "udp").advice
    (verdict,) = [v for v in report.verdicts if v.source == "tomcat01"]
    assert (verdict.result, verdict.delivered, verdict.packets) == ("proved", 3, 9)
    assert "saw 3 of 9 packets" in verdict.evidence[2].fact
