"""A capture filter that lets requests pass and answers not: silence is no finding then."""

from __future__ import annotations

import pytest
from faulty import Bench

from analyzer.analysis.narrowing import takes_one_direction
from analyzer.app.ping import FILTER


@pytest.mark.parametrize(
    ("expression", "one_way"),
    [
        ("", False),
        ("icmp", False),
        (FILTER, False),
        ("host 172.17.0.2 and tcp port 80", False),
        ("net 172.17.0.0/16", False),
        ("ether proto 0x88b5", False),
        ("src host 172.17.0.2", True),
        ("tcp dst port 80", True),
        ("inbound", True),
        ("icmp[icmptype] = icmp-echo", True),
        ("tcp[tcpflags] & tcp-syn != 0", True),
        ("greater 100", True),
    ],
)
def test_which_filters_take_one_direction(expression: str, one_way: bool) -> None:
    assert takes_one_direction(expression) is one_way


@pytest.mark.root
def test_a_filter_for_requests_only_makes_nobody_silent(bench: Bench) -> None:
    def talk() -> None:
        bench.inside("tomcat01", "ip neigh flush all; ping -c3 -i.05 -W1 172.17.0.3")

    expression = "(icmp or arp) and ether src 02:42:ac:11:00:02"
    report = bench.capture(["tomcat01", "tomcat02"], talk, filter_text=expression)
    (row,) = report.icmp
    assert (row.sent, row.answered, row.lost, row.unmatched) == (3, 0, 0, 3)
    assert report.losses == []
    assert [f.text for f in report.findings if f.severity != "info"] == []
    (told,) = [f.text for f in report.findings if f.code == "one-way-filter"]
    assert expression in told
