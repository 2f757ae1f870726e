"""What was delivered is no loss, whatever the kernel frees on the way. The receiver counts."""

from __future__ import annotations

import pytest
from faulty import Bench

from analyzer.model.report import Report

pytestmark = pytest.mark.root


def bad_words(report: Report) -> list[str]:
    """What must not be said of healthy traffic."""
    told = [f"{row.packets} {row.protocol} {row.reason} {row.location}" for row in report.losses]
    return told + [f.text for f in report.findings if f.severity != "info"]


@pytest.mark.parametrize("filtered", [False, True])
def test_fragments_that_were_put_together(bench: Bench, filtered: bool) -> None:
    """The kernel frees fragments once they are one packet; connection tracking does it earlier."""
    if filtered:
        bench.bridge_netfilter()
        bench.host("iptables -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT")
    report = bench.capture(
        ["all"], lambda: bench.inside("tomcat01", "ping -c5 -i.02 -W2 -s 4000 172.17.0.3")
    )
    (row,) = report.icmp
    assert (row.sent, row.answered, row.lost) == (5, 5, 0)
    assert report.capture.drops is not None
    assert bad_words(report) == []


def test_our_own_process_tells_what_it_received(bench: Bench) -> None:
    result = bench.ping()
    (row,) = result.report.icmp
    assert result.exit_code == 0
    assert row.process is not None
    assert row.process.received == row.answered == 5
    assert row.process.rtt_p50_ns == row.process_rtt_p50_ns


def test_answers_that_the_askers_own_stack_drops_did_not_reach_it(bench: Bench) -> None:
    bench.inside("tomcat01", "iptables -A INPUT -p icmp --icmp-type echo-reply -j DROP")
    result = bench.ping()
    (row,) = result.report.icmp
    assert (row.answered, row.process.received if row.process else None) == (5, 0)
    assert result.exit_code == 1
    (told,) = [f.text for f in result.report.findings if f.code == "answers-not-received"]
    assert "5 of 5 echoes answered on the wire, 0 of the answers reached" in told
    (loss,) = result.report.losses
    assert (loss.source, loss.destination, loss.packets) == ("tomcat02", "tomcat01", 5)
    assert "INPUT rule 1" in loss.advice
