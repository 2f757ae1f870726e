"""Drops that a namespace would have counted: those that it did not count were in another. Pure.

The kernel tells of a drop without its namespace. Its counters are the namespace's own: of routing
and sockets those of SNMP (snmp_counter in the kernel's documentation), of packet filters those of
the rules.
"""

from __future__ import annotations

from collections.abc import Collection

from analyzer.diagnosis.settings import Scene
from analyzer.model.evidence import Evidence, counter_source
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ethernet import ARP
from analyzer.recorders.drops.untied import UntiedDrop

_BY_RULES = ("nft_do_chain", "ipt_do_table", "ip6t_do_table")
"""functions that drop by a rule or by a chain's policy"""
_OF_ARP = ("arp", "bridge", "netdev")
"""families of nftables that ARP passes; the first one nothing else"""
_COUNTERS = {
    ("IP_RPFILTER", ""): ("TcpExtIPReversePathFilter",),
    ("IP_OUTNOROUTES", ""): ("IpOutNoRoutes", "Ip6OutNoRoutes"),
    ("IP_INADDRERRORS", "ip_"): ("IpInAddrErrors",),
    ("UDP_CSUM", ""): ("UdpInCsumErrors", "Udp6InCsumErrors"),
    ("TCP_CSUM", ""): ("TcpInCsumErrors",),
    ("NO_SOCKET", "__udp"): ("UdpNoPorts", "Udp6NoPorts"),
    ("SOCKET_RCVBUFF", "__udp"): ("UdpRcvbufErrors", "Udp6RcvbufErrors"),
}
"""reason, beginning of the function → counters of which one grows with each such drop"""


def may_have_dropped(namespaces: Collection[int], drop: UntiedDrop, scene: Scene) -> bool:
    """Whether one of these can have. namespaces: inode numbers; none: it is not known which."""
    return not namespaces or any(_may(netns, drop, scene) for netns in namespaces)


def stays_in(vantage: Vantage, arrived: bool, scene: Scene) -> frozenset[int]:
    """Where a packet is that was seen last at a captured interface; empty: not known.

    arrived: it was for that container. What a container passes on is seen again, if each interface
    of it is captured.
    """
    if vantage.role is not Role.CONTAINER:
        return frozenset()
    captured = {v.ifindex for v in scene.vantages if v.netns == vantage.netns}
    links = [one.links for one in scene.moments if one.netns == vantage.netns]
    others = {link.name for some in links for link in some if link.ifindex not in captured}
    is_all = bool(links) and all(links) and others <= {"lo"}
    return frozenset({vantage.netns}) if arrived or is_all else frozenset()


def _may(netns: int, drop: UntiedDrop, scene: Scene) -> bool:
    function = drop.location.partition("+")[0]
    if function.startswith(_BY_RULES):
        return not scene.read_rules(netns) or _has_rules(netns, drop.ethertype, scene)
    for (reason, beginning), names in _COUNTERS.items():
        if drop.reason == reason and function.startswith(beginning):
            return _may_have_counted(netns, names, scene)
    return True


def _has_rules(netns: int, ethertype: int, scene: Scene) -> bool:
    """That dropped, or may have: uncounted, or there only for a time."""
    rules = [
        rule
        for facts in scene.facts
        for some in (facts.moved, facts.uncounted)
        for rule in some.get(netns, ())
    ]
    return any(
        [
            *(_is_passed(rule.table, ethertype) for rule in rules),
            *(event.what == "nftables" and event.netns == netns for event in scene.events),
        ]
    )


def _is_passed(table: str, ethertype: int) -> bool:
    """Whether such packets come to rules of a table, of nftables with its family before it."""
    family = table.partition(" ")[0]
    return family in _OF_ARP if ethertype == ARP else family != _OF_ARP[0]


def _may_have_counted(netns: int, names: Collection[str], scene: Scene) -> bool:
    spans = [span for span in Evidence(scene.moments).spans() if span.start.netns == netns]
    sources = {counter_source(name) for name in names if not name.startswith(("Ip6", "Udp6"))}
    if len(spans) != 1 or any(sources & {*m.absent} for s in spans for m in (s.start, s.end)):
        return True
    return any(spans[0].grown(name) for name in names)
