"""Packets that leave the host with a container's own address."""

from __future__ import annotations

import re
from typing import Any

import pytest
from evidence_samples import EVENT_NS, HOST, START, S, seen
from faulty import Bench
from finding_inputs import BRIDGE, PORTS, VANTAGES
from msgspec.structs import replace

from analyzer.findings.left_untranslated import find
from analyzer.model.batch import Outlook
from analyzer.model.evidence import Evidence, KernelEvent
from analyzer.model.kernel_state import Ruleset
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ip import address_value

INSIDE, OUTSIDE = "172.17.0.2", "198.51.100.2"
UPLINK = Vantage("uplink0", "uplink0", Role.UPLINK, HOST, 2, "veth", addresses=("198.51.100.1/24",))
OUTLOOK = Outlook([*PORTS, replace(BRIDGE, addresses=("172.17.0.1/16",)), UPLINK], end_ns=20 * S)
MASQUERADE = "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"
LOOK = "iptables -t nat -nvL POSTROUTING; conntrack -L -s 172.17.0.2"


def flow(source: str, destination: str, *, inward: bool = False, **values: Any) -> dict[str, Any]:
    return {
        "inward": inward,
        "protocol": "icmp",
        "source": "tomcat01",
        "vantage": len(VANTAGES),
        "src": address_value(source)[1],
        "dst": address_value(destination)[1],
        "count": 2,
        "first_ns": 12 * S,
        "last_ns": 13 * S,
        **values,
    }


def rules(start: str, end: str) -> Evidence:
    begun = replace(START, netns=HOST, rulesets=(Ruleset("iptables-save", start),))
    ended = replace(begun, at_start=False, ts_ns=20 * S, rulesets=(Ruleset("iptables-save", end),))
    return Evidence((begun, ended))


def texts(*flows: dict[str, Any], evidence: Evidence | None = None, **values: Any) -> list[str]:
    given = {"outlook": OUTLOOK, "untranslated": flows, **values}
    return [one.text for one in find(seen(evidence or Evidence(), **given))]


LEFT = (
    "2 packets of tomcat01 left uplink0 with the container's own address 172.17.0.2 between "
    "1970-01-01 00:00:12.000000 UTC and 00:00:13.000000 UTC, and nothing came back for it: "
)


@pytest.mark.parametrize(
    ("evidence", "cause"),
    [
        (Evidence(), f"its source was not translated (MASQUERADE, SNAT): {LOOK}"),
        (
            rules(MASQUERADE, "*nat\n-A POSTROUTING -s 10.9.0.0/16 -j MASQUERADE"),
            "none of the rules that were read translates (MASQUERADE, SNAT) 172.17.0.0/16 out of "
            f"uplink0 at the capture's end, while one did at its begin: {LOOK}",
        ),
        (
            replace(
                rules("*nat", f"[0:0] {MASQUERADE}"),
                events=(
                    KernelEvent(EVENT_NS, HOST, "nftables", "changed", "ip nat POSTROUTING", "+1"),
                ),
            ),
            f"a rule for it stands there ({MASQUERADE}), whose chain was changed at 1970-01-01 "
            "00:00:15.000000 UTC: likely the flow's conntrack entry is older than the rule: "
            f"conntrack -D -s 172.17.0.2; {LOOK}",
        ),
    ],
    ids=["not read", "removed", "newer"],
)
def test_no_translation(evidence: Evidence, cause: str) -> None:
    assert texts(flow(INSIDE, OUTSIDE), evidence=evidence) == [LEFT + cause]


@pytest.mark.parametrize(
    "flows",
    [
        [flow(INSIDE, OUTSIDE), flow("198.51.100.9", "172.17.0.3", inward=True)],
        [flow(INSIDE, OUTSIDE, first_ns=19 * S + 1)],
        [flow("10.1.1.1", OUTSIDE)],
        [],
    ],
    ids=["routed there", "right before the end", "another network", "none"],
)
def test_what_is_no_fault(flows: list[dict[str, Any]]) -> None:
    assert texts(*flows) == []


def test_a_capture_with_holes_or_of_one_direction_says_nothing() -> None:
    for outlook in (
        replace(OUTLOOK, complete=False),
        replace(OUTLOOK, one_way=frozenset({"src c1"})),
    ):
        assert texts(flow(INSIDE, OUTSIDE), outlook=outlook) == []


def left(bench: Bench, network: str = "10.9.0.0/16") -> list[str]:
    bench.host(f"iptables -t nat -F; iptables -t nat -A POSTROUTING -s {network} -j MASQUERADE")

    def send() -> None:
        bench.inside("tomcat01", "ping -c2 -i0.2 -W2 198.51.100.2 || true")

    report = bench.capture(["tomcat01"], send, uplink=True)
    return [one.text for one in report.findings if one.code == "left-untranslated"]


@pytest.mark.root
def test_masquerade_is_missing(bench: Bench) -> None:
    (text,) = left(bench)
    assert text.startswith(
        "2 packets of tomcat01 left uplink0 with the container's own address 172.17.0.2 between "
    )
    assert "none of the rules that were read translates" in text


@pytest.mark.root
def test_a_network_that_is_routed_needs_no_masquerade(bench: Bench) -> None:
    bench.lab.run("outside", ["ip", "route", "add", "172.17.0.0/16", "via", "198.51.100.1"])
    assert left(bench) == []


@pytest.mark.root
def test_what_conntrack_leaves_alone_is_not_translated(bench: Bench) -> None:
    bench.host("iptables -t raw -A PREROUTING -s 172.17.0.0/16 -p icmp -j NOTRACK")
    (text,) = left(bench, "172.17.0.0/16")
    assert re.search(r": conntrack leaves them alone \(.*(NOTRACK|--notrack)\), and ", text)
