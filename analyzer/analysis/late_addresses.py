"""Addresses and MACs that interfaces got after they had been described: a container that joins a
running capture is seen before its engine has given it any, and a bridge takes the MAC of a new
port. Pure."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_interface

from analyzer.model.evidence import Evidence
from analyzer.model.tenures import Life
from analyzer.model.vantage import Role, Vantage

_MAC = re.compile(r"\bmac ((?:[0-9a-f]{2}:){5}[0-9a-f]{2})\b")
_HEARD_NS = 2_000_000_000
"""a vantage is made so long after what is heard of its interface, at most"""


def with_late_addresses(
    vantages: Sequence[Vantage], lives: Sequence[Life], evidence: Evidence
) -> list[Vantage]:
    """The vantages; those that joined without an address have what was recorded of it.

    lives: [v] when each interface was there, for numbers of namespaces are used again.
    """
    return [
        _addressed(vantage, life, evidence) if life.from_ns else vantage
        for vantage, life in zip(vantages, lives, strict=True)
    ]


def later_macs(
    vantages: Sequence[Vantage], lives: Sequence[Life], evidence: Evidence
) -> Mapping[int, Sequence[str]]:
    """Vantage number → MACs that it was heard to have besides the one that is described."""
    heard: dict[tuple[int, int], list[tuple[int, str]]] = {}
    for event in evidence.events:
        if event.what == "link" and (told := _MAC.search(event.detail)):
            heard.setdefault((event.netns, event.ifindex), []).append((event.ts_ns, told[1]))
    macs: dict[int, Sequence[str]] = {}
    for at, (vantage, life) in enumerate(zip(vantages, lives, strict=True)):
        since_ns, until_ns = life.from_ns - _HEARD_NS, life.until_ns
        its = heard.get((vantage.netns, vantage.ifindex), ())
        others = [mac for ns, mac in its if since_ns <= ns <= until_ns and mac != vantage.mac]
        if vantage.mac and others:
            macs[at] = list(dict.fromkeys(others))
    return macs


def _addressed(vantage: Vantage, life: Life, evidence: Evidence) -> Vantage:
    if vantage.role is Role.CONTAINER and not vantage.addresses:
        own = _recorded(vantage.netns, vantage.ifindex, life, evidence)
        return replace(vantage, addresses=tuple(dict.fromkeys(own)))
    if vantage.role is Role.HOST_VETH and not vantage.peer_addresses:
        inside = _recorded(vantage.peer_netns, vantage.peer_ifindex, life, evidence)
        return replace(vantage, peer_addresses=tuple(dict.fromkeys(inside)))
    return vantage


def _recorded(netns: int, ifindex: int, life: Life, evidence: Evidence) -> Iterator[str]:
    """Addresses of one interface, with prefix length, in order of time; what is none is left out,
    for a file may tell anything."""
    for text in _told(netns, ifindex, life, evidence):
        with contextlib.suppress(ValueError):
            yield str(ip_interface(text))


def _told(netns: int, ifindex: int, life: Life, evidence: Evidence) -> Iterator[str]:
    if not (netns and ifindex):
        return
    since_ns, until_ns = life.from_ns - _HEARD_NS, life.until_ns
    for moment in evidence.moments:
        if moment.netns == netns and since_ns <= moment.ts_ns <= until_ns:
            yield from (one.address for one in moment.addresses if one.ifindex == ifindex)
    for event in evidence.events:
        its = (event.netns, event.ifindex) == (netns, ifindex)
        its &= (event.what, event.action) == ("address", "new")
        if its and since_ns <= event.ts_ns <= until_ns:
            yield event.subject
