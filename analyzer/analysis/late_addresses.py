"""Addresses and MACs that interfaces got after they had been described: a container that joins a
running capture is seen before its engine has given it any, and a bridge takes the MAC of a new
port. Pure."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_interface

from msgspec.structs import replace

from analyzer.model.evidence import Evidence
from analyzer.model.tenures import FOREVER_NS, Life
from analyzer.model.vantage import Role, Vantage

_MAC = re.compile(r"\bmac ((?:[0-9a-f]{2}:){5}[0-9a-f]{2})\b")
_Key = tuple[int, int]
"""(netns, ifindex)"""
_Told = dict[_Key, list[tuple[int, str]]]
"""what was told of each interface, and when"""
_HEARD_NS = 2_000_000_000
"""a vantage is made so long after what is heard of its interface, at most"""


def with_late_addresses(
    vantages: Sequence[Vantage], lives: Sequence[Life], evidence: Evidence
) -> list[Vantage]:
    """The vantages; those that joined without an address have what was recorded of it.

    lives: [v] when each interface was there, for numbers of namespaces are used again.
    """
    told = _told_addresses(evidence)
    ends = _ends(vantages, lives)
    return [
        _addressed(vantage, life, told, ends) if life.from_ns else vantage
        for vantage, life in zip(vantages, lives, strict=True)
    ]


def later_macs(
    vantages: Sequence[Vantage], lives: Sequence[Life], evidence: Evidence
) -> Mapping[int, Sequence[str]]:
    """Vantage number → MACs that it was heard to have besides the one that is described."""
    heard: _Told = {}
    for event in evidence.events:
        if event.what == "link" and (told := _MAC.search(event.detail)):
            heard.setdefault((event.netns, event.ifindex), []).append((event.ts_ns, told[1]))
    macs: dict[int, Sequence[str]] = {}
    ends = _ends(vantages, lives)
    for at, (vantage, life) in enumerate(zip(vantages, lives, strict=True)):
        its = _meanwhile(heard, (vantage.netns, vantage.ifindex), life, ends)
        others = [mac for mac in its if mac != vantage.mac]
        if vantage.mac and others:
            macs[at] = list(dict.fromkeys(others))
    return macs


def _ends(vantages: Sequence[Vantage], lives: Sequence[Life]) -> Mapping[_Key, Sequence[int]]:
    """When interfaces with these numbers vanished: a namespace that is made right then may have
    the same ones."""
    ends: dict[_Key, list[int]] = {}
    for vantage, life in zip(vantages, lives, strict=True):
        if life.until_ns != FOREVER_NS:
            ends.setdefault((vantage.netns, vantage.ifindex), []).append(life.until_ns)
            ends.setdefault((vantage.peer_netns, vantage.peer_ifindex), []).append(life.until_ns)
    return ends


def _meanwhile(
    told: _Told, key: _Key, life: Life, ends: Mapping[_Key, Sequence[int]]
) -> Iterator[str]:
    """What was told of an interface while it was there, or shortly before it was captured: not
    what was told of the one before with the same numbers."""
    before = [ns for ns in ends.get(key, ()) if ns <= life.from_ns]
    since_ns = max([life.from_ns - _HEARD_NS, *before])
    return (text for ns, text in told.get(key, ()) if since_ns <= ns <= life.until_ns)


def _addressed(
    vantage: Vantage, life: Life, told: _Told, ends: Mapping[_Key, Sequence[int]]
) -> Vantage:
    if vantage.role is Role.CONTAINER and not vantage.addresses:
        own = _meanwhile(told, (vantage.netns, vantage.ifindex), life, ends)
        return replace(vantage, addresses=tuple(dict.fromkeys(own)))
    if vantage.role is Role.HOST_VETH and not vantage.peer_addresses:
        inside = _meanwhile(told, (vantage.peer_netns, vantage.peer_ifindex), life, ends)
        return replace(vantage, peer_addresses=tuple(dict.fromkeys(inside)))
    return vantage


def _told_addresses(evidence: Evidence) -> _Told:
    """Addresses with prefix length: how namespaces stood, then what was heard of; what is none is
    left out, for a file may tell anything."""
    told: _Told = {}
    for moment in evidence.moments:
        for one in moment.addresses:
            _take(told, (moment.netns, one.ifindex), moment.ts_ns, one.address)
    for event in evidence.events:
        if (event.what, event.action) == ("address", "new"):
            _take(told, (event.netns, event.ifindex), event.ts_ns, event.subject)
    return told


def _take(told: _Told, key: _Key, ns: int, text: str) -> None:
    if all(key):
        with contextlib.suppress(ValueError):
            told.setdefault(key, []).append((ns, str(ip_interface(text))))
