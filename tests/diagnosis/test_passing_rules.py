"""A rule that stood for a while only explains what was lost in that time, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from faulty import Bench, the_loss

from analyzer.diagnosis.passing_rules import passing_rules, tell
from analyzer.model.evidence import KernelEvent
from analyzer.model.report import LossRow

HERE, ELSEWHERE = 7, 8
SECOND = 1_000_000_000
CHAIN = "ip filter DOCKER-USER"


def change(at_s: int, detail: str, chain: str = CHAIN, netns: int = HERE) -> KernelEvent:
    what = "x_tables" if "legacy" in chain else "nftables"
    return KernelEvent(at_s * SECOND, netns, what, "changed", chain, detail)


def added(at_s: int, chain: str = CHAIN, netns: int = HERE) -> KernelEvent:
    return change(at_s, "+1 -0 rules by iptables (pid 9)", chain, netns)


def taken_out(at_s: int, chain: str = CHAIN, netns: int = HERE) -> KernelEvent:
    return change(at_s, "+0 -1 rules by nft (pid 10)", chain, netns)


def sent(first_s: float, last_s: float) -> tuple[int, int]:
    return int(first_s * SECOND), int(last_s * SECOND)


def test_what_was_sent_while_it_stood() -> None:
    events = [added(10), taken_out(20)]
    assert tell(passing_rules(events, HERE, 4, sent(11, 19))) == (
        "a rule was added to ip filter DOCKER-USER by iptables (pid 9) at "
        "1970-01-01 00:00:10.000000 UTC, and one taken out at 00:00:20.000000 UTC"
    )


@pytest.mark.parametrize(
    "events",
    [
        [added(12), taken_out(20)],
        [added(5), taken_out(18)],
        [added(10)],
        [taken_out(10), added(20)],
        [added(10, netns=ELSEWHERE), taken_out(20, netns=ELSEWHERE)],
        [added(10, "ip6 filter FORWARD"), taken_out(20, "ip6 filter FORWARD")],
        [added(10, "arp filter IN"), taken_out(20, "arp filter IN")],
        [added(10), taken_out(20, "ip filter INPUT")],
        [change(10, "is there", "iptables-legacy filter"), taken_out(20)],
    ],
    ids=str,
)
def test_nothing_else_is_explained(events: list[KernelEvent]) -> None:
    assert passing_rules(events, HERE, 4, sent(11, 19)) == []


def test_tables_of_the_old_kind_and_of_bridges() -> None:
    legacy = "iptables-legacy filter"
    events = [change(10, "+1 entries", legacy), change(20, "-1 entries", legacy)]
    (one,) = passing_rules(events, HERE, 4, sent(11, 19))
    assert (one.chain, one.by) == (legacy, "")
    assert passing_rules(events, HERE, 6, sent(11, 19)) == []
    bridge = "bridge filter FORWARD"
    assert passing_rules([added(10, bridge), taken_out(20, bridge)], HERE, 6, sent(11, 19))


def lost_meanwhile(bench: Bench, rule: Callable[[str], str]) -> tuple[LossRow, str]:
    """(the loss, who added the rule): five echoes pass, five do not, and five do."""
    ping = "ping -c5 -i.01 -W.3 172.17.0.3"

    def act() -> None:
        bench.inside("tomcat01", ping)
        bench.host(rule("-I"))
        bench.inside("tomcat01", ping, check=False)
        bench.host(rule("-D"))
        bench.inside("tomcat01", ping)

    bench.bridge_netfilter()
    row = the_loss(bench.capture(["tomcat01", "tomcat02"], act))
    assert (row.packets, row.reason, row.source) == (5, "NETFILTER_DROP", "tomcat01")
    return row, row.advice.partition("by iptables")[2].partition(")")[0]


@pytest.mark.root
@pytest.mark.fault("a rule that stood for a while only")
def test_a_rule_that_came_and_went(bench: Bench) -> None:
    row, who = lost_meanwhile(bench, lambda how: f"iptables {how} FORWARD -p icmp -j DROP")
    assert row.advice.startswith(
        "no rule that stood at the capture's start or end: while these were sent a rule was added "
        "to ip filter FORWARD by iptables (pid "
    )
    assert who.removeprefix(" (pid ").isdecimal()
    assert row.advice.endswith(": nft -a list ruleset")


@pytest.mark.root
@pytest.mark.fault("a rule of iptables-legacy that stood for a while only")
def test_one_of_the_legacy_tables(bench: Bench) -> None:
    bench.host("iptables-legacy -A FORWARD -p udp --dport 9 -j ACCEPT")  # the table is there
    row, _ = lost_meanwhile(bench, lambda how: f"iptables-legacy {how} FORWARD -p icmp -j DROP")
    assert "a rule was added to iptables-legacy filter at " in row.advice
    assert row.advice.endswith(": iptables-legacy-save -c")
