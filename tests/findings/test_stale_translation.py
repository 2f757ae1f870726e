"""A flow that goes on to where its rule led once: said where it is proved, and of no other."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from evidence_samples import EVENT_NS, HOST, S, moments, seen, texts
from msgspec.structs import replace
from test_rules import NAT

from analyzer.findings.stale_translation import find
from analyzer.model.evidence import KernelEvent
from analyzer.model.flow_rows import UdpRow
from analyzer.model.kernel_state import Ruleset

ROW = replace(
    NAT,
    protocol="udp",
    source="198.51.100.2",
    source_ip="198.51.100.2",
    source_port=5000,
    destination="tomcat01",
    destination_ip="198.51.100.1",
    destination_port=8125,
    new_source_ip="198.51.100.2",
    new_source_port=5000,
    new_destination_ip="172.17.0.2",
    new_destination_port=8125,
    from_="uplink0",
    to="docker0",
    answers=0,
    told_by="conntrack",
)
CHANGE = KernelEvent(EVENT_NS, HOST, "nftables", "changed", "ip nat PREROUTING")


def dnat(target: str, match: str = "-p udp -m udp --dport 8125") -> str:
    return f"-A PREROUTING {match} -j DNAT --to-destination {target}"


def said(start: str, end: str, *, change: bool = True, last_s: int = 18, **row: Any) -> list[str]:
    """start, end: the rule at either end; last_s: when the last datagram came."""
    both = [{"rulesets": (Ruleset("iptables-save", text or "*nat"),)} for text in (start, end)]
    evidence = moments(*both, netns=HOST)
    if change:
        evidence = replace(evidence, events=(CHANGE,))
    flow = replace(UDP, client=ROW.source, server=ROW.destination)
    names = {"protocol": "udp", "source": ROW.source, "destination": ROW.destination}
    outcomes = pl.DataFrame({**{n: [v] for n, v in names.items()}, "last_ns": [last_s * S]})
    flows = {"nat": [replace(ROW, **row)], "udp": [flow]}
    return texts(find, seen(evidence, flows=flows, outcomes=outcomes))


UDP = UdpRow(**dict.fromkeys(UdpRow.__struct_fields__, 0))  # type: ignore[arg-type]

START = (
    "stale-translation UDP of 198.51.100.2 (port 5000) to 198.51.100.1:8125 went on to tomcat01 "
    "(172.17.0.2:8125) by its conntrack entry, while "
)
SINCE = " since 1970-01-01 00:00:15.000000 UTC"
OLD, NEW = dnat("172.17.0.2:8125"), dnat("172.17.0.3:8125")


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [
        (OLD, NEW, f"new flows are sent to 172.17.0.3:8125{SINCE} ({NEW})"),
        (NEW, NEW, f"new flows are sent to 172.17.0.3:8125 ({NEW})"),
        (OLD, "", f"no rule sends them there any more{SINCE}"),
    ],
    ids=["changed meanwhile", "changed before", "gone"],
)
def test_where_new_flows_go_instead(start: str, end: str, why: str) -> None:
    assert said(start, end) == [f"{START}{why}: conntrack -D -p udp --dport 8125"]


@pytest.mark.parametrize(
    "given",
    [
        {"start": OLD, "end": OLD},
        {"start": OLD, "end": f"{NEW}\n{OLD}"},
        {"start": OLD, "end": dnat("172.17.0.2")},
        {"start": OLD, "end": NEW, "last_s": 12},
        {"start": OLD, "end": NEW, "change": False},
        {"start": OLD, "end": NEW, "answers": 3},
        {"start": OLD, "end": NEW, "protocol": "tcp"},
        {"start": OLD, "end": NEW, "told_by": "packets"},
        {"start": "", "end": ""},
        {"start": OLD, "end": f"{NEW}\n{dnat('172.17.0.2', '-i uplink0')}"},
        {"start": OLD, "end": dnat("172.17.0.3-172.17.0.9")},
    ],
    ids=[
        "nothing changed",
        "one of two leads there",
        "the same, without a port",
        "no datagram after the change",
        "when it changed is not known",
        "it is answered",
        "a connection that drains",
        "no entry was told",
        "whoever translates, no rule that is read",
        "a rule for all ports",
        "a range",
    ],
)
def test_nothing_is_said(given: dict[str, Any]) -> None:
    assert said(**given) == []
