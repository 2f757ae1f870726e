"""Drops that fit what came to nothing in the capture, though no packet was lost by them. Pure.

The kernel tells of them without a frame: they were dropped anywhere on this machine. Where as many
were dropped as packets of one conversation are lost or unanswered, of their protocol, only while
those were on their way, and at a place that they may have come to, that is the likely cause, and no
more. Where it fits two conversations, it is told of neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from analyzer.diagnosis.counted_drops import may_have_dropped
from analyzer.diagnosis.drop_places import PLACES, place_of_drop
from analyzer.diagnosis.reasons import is_harmless
from analyzer.diagnosis.settings import Scene
from analyzer.net.ethernet import ARP, IPV4, IPV6
from analyzer.recorders.drops.untied import UntiedDrop

LOST, UNANSWERED = "lost", "unanswered"
MARGIN_NS = 1_000_000_000
"""untied drops are counted for half a second, and what waits for an answer is dropped later"""
_OF_PROTOCOL = {"arp": {ARP}, "icmpv6": {IPV6}, "icmp": {IPV4}}


class InVain(Struct, frozen=True):
    """Packets of a conversation that came to nothing, and nothing tells why."""

    protocol: str
    source: str
    destination: str
    what: str
    """LOST or UNANSWERED"""
    packets: int
    first_ns: int
    last_ns: int
    places: frozenset[str] = PLACES
    """of the stack, that they, or answers to them, may have come to: see
    `analyzer.diagnosis.drop_places`"""
    port: int = 0
    """of the server; 0: none, or not told apart"""
    namespaces: frozenset[int] = frozenset()
    """in one of which they ended; none: not known"""


class LikelyCause(Struct, frozen=True):
    """What they may have come to."""

    of: InVain
    drops: tuple[UntiedDrop, ...]
    """one of these"""
    tied: bool = False
    """they are of these packets, or of answers to them; but one went to many, and was dropped on
    some of the ways"""


def likely_causes(
    in_vain: Sequence[InVain], drops: Iterable[UntiedDrop], scene: Scene
) -> list[LikelyCause]:
    """Those of which something fits that fits nothing else."""
    fitting: dict[int, list[UntiedDrop]] = {}
    for drop in drops:
        places = [at for at, one in enumerate(in_vain) if _fits(one, drop, scene)]
        if len(places) == 1:
            fitting.setdefault(places[0], []).append(drop)
    return [LikelyCause(in_vain[at], tuple(fitting[at])) for at in sorted(fitting)]


def _fits(one: InVain, drop: UntiedDrop, scene: Scene) -> bool:
    if drop.packets != one.packets or not drop.first_ns:
        return False
    if drop.ethertype not in _OF_PROTOCOL.get(one.protocol, {IPV4, IPV6}):
        return False
    if is_harmless(drop.reason, drop.location, one.protocol, opens=True):
        return False
    if place_of_drop(drop.reason, drop.location) not in (*one.places, ""):
        return False
    early, late = one.first_ns - MARGIN_NS, one.last_ns + MARGIN_NS
    if not (early <= drop.first_ns and drop.last_ns <= late):
        return False
    return may_have_dropped(one.namespaces, drop, scene)
