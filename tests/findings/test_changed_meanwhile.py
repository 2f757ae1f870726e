"""Routes and rules that were changed while the capture ran: said with their times, as no fault."""

from __future__ import annotations

import pytest
from evidence_samples import ETH0, EVENT_NS, HOST, INSIDE, PID, VANTAGES, S, moments, seen, texts
from faulty import Bench
from msgspec.structs import replace

from analyzer.findings.changed_meanwhile import find
from analyzer.model.evidence import Evidence, KernelEvent
from analyzer.model.kernel_state import Ruleset
from analyzer.model.tenures import Life

VIA = "unicast via 172.17.0.1 metric 0 table 254"
RA = "unicast via fe80::66 metric 1024 table 254"


def route(second: int, action: str, detail: str) -> KernelEvent:
    return KernelEvent(EVENT_NS + second * S, INSIDE, "route", action, "default", detail, 5)


def told(*events: KernelEvent) -> list[str]:
    return texts(find, seen(Evidence(events=events)))


def test_a_default_route_that_changed() -> None:
    assert told(route(0, "gone", VIA), route(1, "new", RA)) == [
        "default-route-changed a default route of tomcat01 changed: "
        f"1970-01-01 00:00:15.000000 UTC went: {VIA}; 1970-01-01 00:00:16.000000 UTC came: {RA}: "
        f"nsenter -n -t {PID} ip -6 route show default"
    ]


@pytest.mark.parametrize(
    ("from_ns", "second", "action", "said"),
    [(0, 0, "new", 1), (EVENT_NS, 1, "new", 0), (EVENT_NS, 3, "new", 1), (EVENT_NS, 1, "gone", 1)],
)
def test_a_container_that_comes_gets_its_first_route(
    from_ns: int, second: int, action: str, said: int
) -> None:
    lives = [Life(from_ns if one is ETH0 else 0) for one in VANTAGES]
    given = seen(Evidence(events=[route(second, action, VIA)]))
    given = replace(given, outlook=replace(given.outlook, lives=lives))
    assert len(list(find(given))) == said


def test_rules_that_were_changed_and_by_whom() -> None:
    events = [
        KernelEvent(
            EVENT_NS, HOST, "nftables", "changed", f"ip filter {name}", "+1 -0 rules by iptables"
        )
        for name in ("A", "B", "C", "D", "E")
    ]
    (text,) = told(*events)
    assert text.startswith(
        "rules-changed the packet filter of the host was changed: 1970-01-01 00:00:15.000000 UTC "
        "ip filter A +1 -0 rules by iptables; "
    )
    assert text.endswith("ip filter C +1 -0 rules by iptables and 2 more: nft list ruleset")


def test_sysctls_that_were_set_with_their_full_names() -> None:
    name = "net.ipv4.icmp_echo_ignore_all"
    events = [
        KernelEvent(EVENT_NS, INSIDE, "sysctl", "changed", name, "1"),
        KernelEvent(EVENT_NS + S, INSIDE, "sysctl", "changed", "ipv4 rp_filter", "2", 5),
    ]
    assert told(*events) == [
        f"sysctl-changed sysctls of tomcat01 were set: 1970-01-01 00:00:15.000000 UTC {name} = 1; "
        "1970-01-01 00:00:16.000000 UTC net.ipv4.conf.eth0.rp_filter = 2: "
        f"nsenter -n -t {PID} sysctl {name} net.ipv4.conf.eth0.rp_filter"
    ]


SAVED = """*filter
:INPUT ACCEPT [5:420]
:FORWARD {policy} [0:0]
:DOCKER - [0:0]
[{packets}:84] -A FORWARD -j DOCKER
{rules}COMMIT
"""


def legacy(
    start: str, end: str, tool: str = "iptables-legacy-save", cut: bool = False
) -> list[str]:
    ends = ({"rulesets": (Ruleset(tool, text, cut),)} for text in (start, end))
    return texts(find, seen(moments(*ends)))


def test_legacy_rules_that_are_others_at_the_end() -> None:
    before = SAVED.format(policy="ACCEPT", packets=1, rules="")
    rule = "[3:99] -A DOCKER -s 172.17.0.2/32 -j DROP\n"
    (text,) = legacy(before, SAVED.format(policy="DROP", packets=9, rules=rule))
    assert text == (
        "rules-changed the packet filter of tomcat01 is another one at the capture's end than at "
        "its start (iptables-legacy): + -t filter -P "
        "FORWARD DROP; + -t filter -A DOCKER -s 172.17.0.2/32 -j DROP; - -t filter -P FORWARD "
        f"ACCEPT: nsenter -n -t {PID} iptables-legacy-save"
    )


def test_counters_other_backends_and_what_was_cut_are_no_change() -> None:
    before = SAVED.format(policy="ACCEPT", packets=1, rules="")
    assert legacy(before, SAVED.format(policy="ACCEPT", packets=9, rules="")) == []
    other = SAVED.format(policy="DROP", packets=1, rules="")
    assert legacy(before, other, "iptables-save") == []
    assert legacy(before, other, cut=True) == []
    assert (
        texts(find, seen(moments({}, {"rulesets": (Ruleset("iptables-legacy-save", other),)})))
        == []
    )


@pytest.mark.parametrize(
    "event",
    [
        KernelEvent(EVENT_NS, INSIDE, "sysctl", "changed", "ipv4 rp_filter", "2", 99),
        KernelEvent(EVENT_NS, INSIDE, "route", "new", "10.0.0.0/8", VIA, 5),
        KernelEvent(EVENT_NS, INSIDE, "nftables", "changed", "", "by nft (pid 5)"),
        KernelEvent(EVENT_NS, 99, "nftables", "changed", "ip filter A", "+1 -0 rules by nft"),
        KernelEvent(EVENT_NS, 0, "container", "start", "tomcat03"),
    ],
    ids=["a device of nobody's", "another route", "no rules", "nobody's", "a container"],
)
def test_other_changes_are_not_worth_a_word(event: KernelEvent) -> None:
    assert told(event) == []


@pytest.mark.root
def test_a_rule_that_came_and_went_is_still_told(bench: Bench) -> None:
    rule = "FORWARD -s 203.0.113.9 -j DROP"

    def change() -> None:
        bench.host(f"iptables -I {rule}; iptables -D {rule}")
        bench.inside("tomcat01", "ip route replace default via 172.17.0.3")

    report = bench.capture(["tomcat01", "tomcat02"], change)
    said = {one.code: one.text for one in report.findings}
    assert " ip filter FORWARD +1 -0 rules by iptables (pid " in said["rules-changed"]
    assert " ip filter FORWARD +0 -1 rules by iptables (pid " in said["rules-changed"]
    assert said["default-route-changed"].startswith("a default route of tomcat01 changed: ")
    assert " came: unicast via 172.17.0.3 metric 0 table 254" in said["default-route-changed"]


@pytest.mark.root
def test_a_legacy_rule_that_came_is_told_at_the_end(bench: Bench) -> None:
    rule = "FORWARD -s 203.0.113.9 -j"
    bench.host(f"iptables-legacy -A {rule} ACCEPT")
    report = bench.capture(
        ["tomcat01", "tomcat02"], lambda: bench.host(f"iptables-legacy -A {rule} DROP")
    )
    (text,) = [one.text for one in report.findings if one.code == "rules-changed"]
    assert "(iptables-legacy): + -t filter -A FORWARD -s 203.0.113.9/32 -j DROP; " in text
    assert " iptables-legacy filter +1 entries: iptables-legacy-save" in text


@pytest.mark.root
def test_a_legacy_rule_that_came_and_went_leaves_a_trace(bench: Bench) -> None:
    rule = "FORWARD -s 203.0.113.9 -j DROP"
    bench.host("iptables-legacy -A FORWARD -s 203.0.113.8 -j ACCEPT")

    def act() -> None:
        tool = "iptables-legacy"
        bench.host(f"sleep 0.5; {tool} -I {rule}; sleep 0.7; {tool} -D {rule}; sleep 0.5")

    report = bench.capture(["tomcat01", "tomcat02"], act)
    (text,) = [one.text for one in report.findings if one.code == "rules-changed"]
    assert text.startswith("the packet filter of the host was changed: ")
    assert " iptables-legacy filter +1 entries; " in text
    assert text.endswith(" iptables-legacy filter -1 entries: iptables-legacy-save")
