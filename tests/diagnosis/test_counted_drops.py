"""Whether a drop can have been in a namespace, by what that one counted."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from analyzer.diagnosis.counted_drops import may_have_dropped, stays_in
from analyzer.diagnosis.settings import Scene
from analyzer.model.evidence import KernelEvent, NamespaceEvidence
from analyzer.model.kernel_state import LinkState
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ethernet import IPV4
from analyzer.recorders.drops.untied import UntiedDrop
from analyzer.recorders.settings.facts import Facts
from analyzer.recorders.settings.matching import Rule

DROP = UntiedDrop("NETFILTER_DROP", "nft_do_chain+0x3e8", IPV4, 5, 1, 2)
READ = Facts(sysctls={7: {"net.ipv4.ip_forward": "0"}})
RULE = Rule("iptables", "filter", "INPUT", 1, "-j DROP", 5)


def scene(*, start: Any = (), end: Any = (), **values: Any) -> Scene:
    """Of namespace 7, whose rules and counters were read at both ends."""
    moments = [
        NamespaceEvidence(7, 1, at == 0, at, dict(counters))
        for at, counters in enumerate((start, end))
    ]
    return Scene((), **{"facts": (READ, READ), "moments": moments, **values})


@pytest.mark.parametrize(
    ("values", "may"),
    [
        ({}, False),
        ({"facts": (READ,)}, True),
        ({"facts": (READ, replace(READ, moved={7: [RULE]}))}, True),
        ({"facts": (READ, replace(READ, uncounted={7: [RULE]}))}, True),
        ({"facts": (READ, replace(READ, moved={8: [RULE]}))}, False),
        ({"events": [KernelEvent(1, 7, "nftables", "changed", "ip filter INPUT")]}, True),
        ({"events": [KernelEvent(1, 8, "nftables", "changed", "ip filter INPUT")]}, False),
    ],
)
def test_a_packet_filter_drops_where_rules_are(values: dict[str, Any], may: bool) -> None:
    assert may_have_dropped([7], DROP, scene(**values)) is may
    assert may_have_dropped([], DROP, scene(**values))
    assert may_have_dropped([7], DROP._replace(location="nf_hook_slow+0x9"), scene(**values))


@pytest.mark.parametrize(
    ("reason", "location", "counter"),
    [
        ("IP_RPFILTER", "ip_rcv_finish_core+0x1", "TcpExtIPReversePathFilter"),
        ("NO_SOCKET", "__udp4_lib_rcv+0x4bc", "UdpNoPorts"),
        ("IP_OUTNOROUTES", "__ip_queue_xmit+0x1", "Ip6OutNoRoutes"),
    ],
)
def test_a_stack_counts(reason: str, location: str, counter: str) -> None:
    drop = DROP._replace(reason=reason, location=location)
    assert not may_have_dropped([7], drop, scene())
    assert not may_have_dropped([7], drop, scene(start={counter: 3}, end={counter: 3}))
    assert may_have_dropped([7], drop, scene(start={counter: 3}, end={counter: 4}))
    assert may_have_dropped([8], drop, scene())
    assert may_have_dropped([7, 8], drop, scene())
    assert may_have_dropped([7], drop._replace(reason="NOT_SPECIFIED"), scene())
    absent = [replace(one, absent={"snmp": "gone", "netstat": "gone"}) for one in scene().moments]
    assert may_have_dropped([7], drop, scene(moments=absent))


def test_a_packet_stays_in_a_container_that_has_no_other_way_out() -> None:
    inside = Vantage("c:eth0", "eth0", Role.CONTAINER, 7, 2, container="c")
    lo, eth0, eth1 = (LinkState(n, name) for n, name in enumerate(("lo", "eth0", "eth1"), 1))

    def where(links: tuple[LinkState, ...], arrived: bool = False) -> set[int]:
        known = replace(scene(), vantages=(inside,))
        moments = [replace(one, links=links) for one in known.moments]
        return set(stays_in(inside, arrived, replace(known, moments=moments)))

    assert where((lo, eth0)) == {7}
    assert where((lo, eth0, eth1)) == where(()) == set()
    assert where((lo, eth0, eth1), arrived=True) == {7}
    assert not stays_in(replace(inside, role=Role.HOST_VETH), True, scene())
