"""Echo requests that nobody answered: one line each, unless a loss tells why."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from evidence_samples import ETH0, PID, VANTAGES, moments, seen, texts
from msgspec.structs import replace

from analyzer.findings.echo_unanswered import find
from analyzer.model.batch import Outlook
from analyzer.model.echo_rows import IcmpRow
from analyzer.model.evidence import Evidence
from analyzer.model.frames import EXAMPLE
from analyzer.model.kernel_state import AddressState, LinkState, RouteState, RoutingRule
from analyzer.model.report import LossRow
from analyzer.net.ip import address_value

INSIDE = replace(ETH0, addresses=("172.17.0.2/16",))
SEEN = [*VANTAGES[:-1], INSIDE]
AT = len(SEEN) - 1
START = "echo-unanswered 3 echo requests of tomcat02 to tomcat01 "
AWAY = "203.0.113.9"
OUT = START.replace("tomcat01", AWAY)
REACHED = f"{START}reached tomcat01:eth0, and no reply came out there: "


def silent(at: int = AT, asked: str = "172.17.0.2", name: str = "tomcat01") -> dict[str, Any]:
    example = dict.fromkeys(EXAMPLE, 0)
    for side, address in (("src", "172.17.0.3"), ("dst", asked)):
        example[f"{side}_hi"], example[f"{side}_lo"] = address_value(address)
    ends = {"source": "tomcat02", "destination": name}
    return {"protocol": "icmp", **ends, "at": at, "packets": 3, "example": example}


def routes(*rows: RouteState, **end: Any) -> Evidence:
    links = (LinkState(5, "eth0", "veth"), LinkState(6, "eth1", "veth"))
    own = (AddressState(5, "172.17.0.2/16"),)
    main = RoutingRule(family=2, priority=32766, table=254, action=1)
    start = {"routes": rows, "rules": (main,), "addresses": own, "links": links}
    return moments(start, end)


NEAR = RouteState(2, 254, "unicast", "172.17.0.0/16", "", 5)
LOOK = f"nsenter -n -t {PID} ip route get 172.17.0.3"


@pytest.mark.parametrize(
    ("evidence", "cause"),
    [
        (routes(), f"tomcat01 has no route to 172.17.0.3, so no answer can leave: {LOOK}"),
        (
            routes(replace(NEAR, kind="unreachable", ifindex=0)),
            "tomcat01 has the route unreachable 172.17.0.0/16 for 172.17.0.3, so no answer can "
            f"leave: {LOOK}",
        ),
        (
            routes(replace(NEAR, ifindex=6)),
            "tomcat01 would send the answers out of eth1 (route 172.17.0.0/16 dev eth1), not of "
            f"eth0, by which they were asked for: {LOOK}",
        ),
        (
            routes(NEAR),
            f"capture with --drops; {LOOK}; nsenter -n -t {PID} nft list ruleset",
        ),
        (
            routes(NEAR, routes=()),
            f"capture with --drops; {LOOK}; nsenter -n -t {PID} nft list ruleset",
        ),
    ],
    ids=["no route", "refused", "another device", "a good route", "it changed meanwhile"],
)
def test_the_way_back(evidence: Evidence, cause: str) -> None:
    given = seen(evidence, outlook=Outlook(SEEN), silent=[silent()])
    assert texts(find, given) == [REACHED + cause]


def test_at_the_port_it_is_said_what_to_capture() -> None:
    given = seen(Evidence(), outlook=Outlook(SEEN), silent=[silent(0)])
    assert texts(find, given) == [
        f"{START}reached veth1, and no reply came out there: capture with --drops; capture inside "
        "of tomcat01, too"
    ]


def test_beyond_what_is_captured() -> None:
    given = seen(Evidence(), outlook=Outlook(SEEN), silent=[silent(2, AWAY, AWAY)])
    assert texts(find, given) == [
        f"{OUT}came as far as docker0, and no reply came back there: the cause lies beyond: "
        "capture there, too; ip route get 203.0.113.9"
    ]


@pytest.mark.parametrize(
    "values",
    [
        {"outlook": Outlook(SEEN, one_way=frozenset({"icmp[0] == 8"}))},
        {"outlook": Outlook(SEEN, complete=False)},
        {"losses": [LossRow("icmp", "tomcat02", "tomcat01", INSIDE.name, "", 3, "", "", "")]},
    ],
    ids=["only requests were captured", "frames were dropped", "a loss tells why"],
)
def test_nothing_is_said(values: dict[str, Any]) -> None:
    given = seen(routes(), **{"outlook": Outlook(SEEN), "silent": [silent()], **values})
    assert texts(find, given) == []


def test_what_left_untranslated_is_not_blamed_on_what_lies_beyond() -> None:
    rows = [{"source": "tomcat02", "vantage": 2, "inward": False}]
    given = seen(
        Evidence(), outlook=Outlook(SEEN), silent=[silent(2, AWAY, AWAY)], untranslated=rows
    )
    assert texts(find, given) == [
        f"{OUT}came as far as docker0, and no reply came back there: they left with tomcat02's "
        "own address 172.17.0.3, to which nobody out there may know the way: iptables -t nat -nvL "
        "POSTROUTING"
    ]


@pytest.mark.parametrize(("sent", "told"), [(3, 0), (6, 1)])
def test_fragments_of_requests_that_a_loss_tells_of(sent: int, told: int) -> None:
    """Three of three were lost elsewhere, in part; or three were lost and three others came."""
    pings = IcmpRow("tomcat02", "tomcat01", "", "", 1, sent, 0, sent, 0, *[None] * 5)
    loss = LossRow("icmp", "tomcat02", "tomcat01", "veth2", "", 3, "TC_EGRESS", "", "")
    given = seen(Evidence(), outlook=Outlook(SEEN), silent=[silent()], losses=[loss])
    given = replace(given, flows={**given.flows, "icmp": [pings]})
    assert len(texts(find, given)) == told


def test_answers_that_came_back_and_went_no_farther() -> None:
    """They were to be translated back: no packet for the asker."""
    row = {"protocol": "icmp", "source": "tomcat01", "destination": "host"}
    outcomes = pl.DataFrame([row | {"first_vantage": 2, "count": 3}])
    given = seen(
        Evidence(), outlook=Outlook(SEEN), silent=[silent(2, "203.0.113.9")], outcomes=outcomes
    )
    assert texts(find, given) == [
        f"{START}came as far as docker0, and 3 icmp packets of tomcat01 came in there for host, "
        "likely the answers, which the host dropped or did not translate back: iptables -nvL "
        "FORWARD; conntrack -L -d 203.0.113.9"
    ]


OUTER = LossRow("udp", "h1", AWAY, "", "", 2, "NETFILTER_DROP", "in h2's stack", "look there")


@pytest.mark.parametrize(
    ("losses", "cause"),
    [
        ([], "they went on in packets to 203.0.113.9 (a tunnel, or translated): follow those"),
        (
            [OUTER],
            "they went on in packets to 203.0.113.9, of which some were lost in h2's stack "
            "(NETFILTER_DROP): look there",
        ),
    ],
)
def test_what_went_on_in_a_tunnel(losses: list[LossRow], cause: str) -> None:
    given = seen(Evidence(), outlook=Outlook(SEEN), silent=[silent(2, AWAY)], losses=losses)
    assert texts(find, given) == [
        f"{START}came as far as docker0, and no reply came back there: {cause}"
    ]


def test_a_translated_copy_of_what_was_answered_is_nobodys_silence() -> None:
    """A promiscuous bridge makes the kernel deliver such packets twice."""
    copy = silent()
    copy["example"]["src_hi"], copy["example"]["src_lo"] = address_value("172.17.0.1")
    pings = IcmpRow("tomcat02", "tomcat01", "", "", 1, 3, 3, 0, 0, *[None] * 5)
    given = seen(routes(NEAR), outlook=Outlook(SEEN), silent=[copy])
    assert texts(find, given) != []
    assert texts(find, replace(given, flows={"icmp": [pings]})) == []


def test_who_was_asked_had_gone() -> None:
    """At another container's interface, to which the bridge flooded them."""
    watched = [(1, 7 if v.container == "tomcat02" else None) for v in SEEN]
    gone = Outlook(SEEN, watched_ns=watched)
    asked = silent(asked="172.17.0.3", name="tomcat02") | {"source": "tomcat03"}
    (text,) = texts(find, seen(moments({}, {}), outlook=gone, silent=[asked]))
    assert text == (
        "echo-unanswered 3 echo requests of tomcat03 to tomcat02 came as far as tomcat01:eth0, and "
        "no reply came back: it was tomcat02's, whose interface vanished while the capture ran"
    )
