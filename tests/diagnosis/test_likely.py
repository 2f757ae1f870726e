"""Untied drops that fit what came to nothing: by number, protocol and time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from finding_inputs import inputs

from analyzer.diagnosis.likely import LOST, InVain, LikelyCause, likely_causes
from analyzer.findings.likely_cause import find
from analyzer.net.ethernet import ARP, IPV4, IPV6
from analyzer.recorders.drops.untied import UntiedDrop, UntiedDrops

S = 1_000_000_000
PINGS = InVain("icmp", "tomcat01", "tomcat02", LOST, 5, 100 * S, 110 * S)
FILTERED = UntiedDrop("NETFILTER_DROP", "nft_do_chain+0x3e8", IPV4, 5, 100 * S, 110 * S)


def test_what_fits_alone_is_likely() -> None:
    assert likely_causes([PINGS], [FILTERED]) == [LikelyCause(PINGS, (FILTERED,))]


@pytest.mark.parametrize(
    "other",
    [
        {"packets": 6},
        {"packets": 4},
        {"ethertype": IPV6},
        {"ethertype": ARP},
        {"first_ns": 98 * S},
        {"last_ns": 112 * S},
        {"first_ns": 0, "last_ns": 0},
        {"reason": "SOCKET_CLOSE"},
        {"location": "skb_release_data+0x1"},
    ],
)
def test_what_differs_is_none(other: dict[str, int]) -> None:
    assert likely_causes([PINGS], [FILTERED._replace(**other)]) == []


def test_what_fits_two_conversations_is_told_of_neither() -> None:
    assert likely_causes([PINGS, replace(PINGS, source="tomcat03")], [FILTERED]) == []


def test_two_that_fit_one_are_both_told() -> None:
    full = FILTERED._replace(reason="QDISC_DROP", location="")
    (cause,) = likely_causes([PINGS], [FILTERED, full])
    assert cause.drops == (FILTERED, full)
    (finding,) = find(inputs(likely_causes=[cause]))
    assert finding.text == (
        "5 icmp packets tomcat01 → tomcat02 lost: likely NETFILTER_DROP at nft_do_chain+0x3e8 or "
        "QDISC_DROP, by which as many were dropped meanwhile anywhere on this machine (the kernel "
        "does not tell whose)"
    )


def test_untied_drops_of_one_kind_are_one() -> None:
    kind = ("NO_SOCKET", "udp_rcv+0x1", IPV4)
    untied = UntiedDrops()
    for count, first, last in ((2, 50, 60), (3, 40, 45)):
        untied.add(kind, count, first, last)
    untied.add(("NO_SOCKET", "", IPV6), 1, 0, 0)
    assert list(untied) == [
        UntiedDrop(*kind, 5, 40, 60),
        UntiedDrop("NO_SOCKET", "", IPV6, 1, 0, 0),
    ]
    assert untied.by_reason() == {"NO_SOCKET": 6}
