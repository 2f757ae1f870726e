"""Untied drops that fit what came to nothing: by number, protocol and time."""

from __future__ import annotations

import pytest
from finding_inputs import BRIDGE, PORTS, inputs
from msgspec.structs import replace

from analyzer.diagnosis.drop_places import behind_vantage, between_vantages
from analyzer.diagnosis.likely import LOST, UNANSWERED, InVain, LikelyCause, likely_causes
from analyzer.diagnosis.settings import Scene
from analyzer.findings import unanswered
from analyzer.findings.likely_cause import find
from analyzer.model.flow_rows import ArpRow
from analyzer.model.vantage import Role
from analyzer.net.ethernet import ARP, IPV4, IPV6
from analyzer.recorders.drops.untied import UntiedDrop, UntiedDrops

S = 1_000_000_000
PINGS = InVain("icmp", "tomcat01", "tomcat02", LOST, 5, 100 * S, 110 * S)
FILTERED = UntiedDrop("NETFILTER_DROP", "nft_do_chain+0x3e8", IPV4, 5, 100 * S, 110 * S)


def test_what_fits_alone_is_likely() -> None:
    assert likely_causes([PINGS], [FILTERED], Scene(())) == [LikelyCause(PINGS, (FILTERED,))]


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
    assert likely_causes([PINGS], [FILTERED._replace(**other)], Scene(())) == []


def test_what_fits_two_conversations_is_told_of_neither() -> None:
    assert likely_causes([PINGS, replace(PINGS, source="tomcat03")], [FILTERED], Scene(())) == []


def test_two_that_fit_one_are_both_told() -> None:
    full = FILTERED._replace(reason="QDISC_DROP", location="")
    (cause,) = likely_causes([PINGS], [FILTERED, full], Scene(()))
    assert cause.drops == (FILTERED, full)
    (finding,) = find(inputs(likely_causes=[cause]))
    assert finding.text == (
        "5 icmp packets tomcat01 → tomcat02 lost: likely NETFILTER_DROP at nft_do_chain+0x3e8 or "
        "QDISC_DROP, by which as many were dropped meanwhile anywhere on this machine (the kernel "
        "does not tell whose)"
    )


ASKED = InVain("udp", "tomcat01", "tomcat02", UNANSWERED, 5, 100 * S, 110 * S, port=123)


@pytest.mark.parametrize(
    ("reason", "location", "reached", "routed", "bridged"),
    [
        ("NO_SOCKET", "__udp4_lib_rcv+0x4bc", True, False, False),
        ("NOT_SPECIFIED", "ip_local_deliver+0x1", True, False, False),
        ("NOT_SPECIFIED", "ip_forward+0x1", False, True, True),
        ("NEIGH_FAILED", "neigh_invalidate+0x1", True, True, False),
        ("QDISC_DROP", "__dev_queue_xmit+0x1", True, True, True),
        ("IP_OUTNOROUTES", "__ip_queue_xmit+0x1", True, True, False),
        ("NETFILTER_DROP", "nft_do_chain+0x3e8", True, True, True),
    ],
)
def test_a_drop_fits_where_the_packets_may_have_come_to(
    reason: str, location: str, reached: bool, routed: bool, bridged: bool
) -> None:
    drop = FILTERED._replace(reason=reason, location=location)
    own = replace(PORTS[1], role=Role.CONTAINER, addresses=("172.17.0.3/16",))
    places = {
        behind_vantage(own, "172.17.0.3"): reached,
        behind_vantage(PORTS[1], "172.17.0.3"): reached,
        behind_vantage(BRIDGE, "198.51.100.2"): routed,
        between_vantages(*PORTS): bridged,
    }
    for some, fits in places.items():
        assert bool(likely_causes([replace(ASKED, places=some)], [drop], Scene(()))) is fits


def test_requests_are_told_with_their_port() -> None:
    (finding,) = find(inputs(likely_causes=[LikelyCause(ASKED, (FILTERED,))]))
    start = "5 udp packets tomcat01 → tomcat02 port 123 unanswered: likely NETFILTER_DROP at "
    assert finding.text.startswith(start)


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


REQUESTS = InVain("arp", "tomcat01", "172.17.0.3", UNANSWERED, 3, 100 * S, 102 * S)


def test_requests_that_nobody_answered() -> None:
    elsewhere = UntiedDrop("QDISC_DROP", "", ARP, 3, 100 * S, 102 * S)
    (cause,) = likely_causes([REQUESTS, PINGS], [elsewhere], Scene(()))
    (finding,) = find(inputs(likely_causes=[cause]))
    assert finding.text.startswith("3 arp packets tomcat01 → 172.17.0.3 unanswered: likely QDISC_D")
    assert not likely_causes([REQUESTS], [elsewhere._replace(ethertype=IPV4)], Scene(()))


def test_what_is_tied_is_told_with_the_request() -> None:
    tied = LikelyCause(REQUESTS, (FILTERED._replace(packets=3, ethertype=ARP),), tied=True)
    assert not list(find(inputs(likely_causes=[tied])))
    row = ArpRow("tomcat01", "172.17.0.2", "", "172.17.0.3", "", "", 3, 0, None, None, "unanswered")
    (told,) = unanswered.find(inputs({"arp": [row]}, likely_causes=[tied]))
    assert told.text.endswith(
        "; the kernel dropped as many of them, or of the answers to them: NETFILTER_DROP at "
        "nft_do_chain+0x3e8"
    )
    (told,) = unanswered.find(
        inputs({"arp": [replace(row, asker="tomcat03")]}, likely_causes=[tied])
    )
    assert "the kernel dropped" not in told.text
