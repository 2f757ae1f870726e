"""Ways that differ: requests by one bridge and answers by another, or out of another interface.

Told from the outcomes of packets (`analyzer.flows.outcomes`), each of which has one way, and from
the conversations: nothing here is looked at packet by packet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl
from msgspec import Struct, field

from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.flows.endpoints import HOST
from analyzer.model.journeys import Hop
from analyzer.model.report import Finding
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ip import address_text

ASYMMETRIC_PATH = Code(
    "asymmetric-path",
    (WARNING,),
    "Answers take another way than the requests: connection tracking sees one half only.",
    "ip route get at both ends, ip rule show",
)
ANSWERS_ELSEWHERE = Code(
    "answers-elsewhere",
    (WARNING,),
    "Answers leave by another interface or address than the one that was asked.",
    "ip route get ADDRESS from ADDRESS inside; sysctl -a -r rp_filter",
)


Way = tuple[str, ...]
Address = tuple[int, int]
_INSIDE = (Role.CONTAINER, Role.HOST_VETH)


class _Direction(Struct):
    """All packets of one protocol from one address to another."""

    source: str
    destination: str
    number: int
    """of the first of them"""
    packets: int = 0
    ways: list[Way] = field(default_factory=list)
    """bridges, routers and uplinks in order, each way once"""
    first: set[int] = field(default_factory=set)
    """vantages where they were first seen"""
    last: set[int] = field(default_factory=set)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One a pair of addresses whose answers never take the way of the requests back."""
    if inputs.outcomes is None or not inputs.outcomes_whole:
        return
    vantages = inputs.outlook.vantages
    directions = _directions(inputs.outcomes, vantages)
    for (protocol, source, target), asked in directions.items():
        answered = directions.get((protocol, target, source))
        if answered is None or answered.number < asked.number or source == target:
            continue
        if _come_back(asked.ways, answered.ways):
            continue
        what = f"{protocol} {asked.source} → {asked.destination}"
        exits = _other_interface(asked, answered, vantages)
        ends = address_text(*source), address_text(*target)
        yield (
            _elsewhere(what, asked, exits, ends)
            if exits
            else _asymmetric(what, asked, answered, ends[1])
        )


def _directions(
    outcomes: pl.DataFrame, vantages: Sequence[Vantage]
) -> dict[tuple[str, Address, Address], _Direction]:
    directions: dict[tuple[str, Address, Address], _Direction] = {}
    rows = outcomes.filter("judged", ~pl.col("stray"), ~pl.col("torn"))
    for row in rows.iter_rows(named=True):
        way = _way([vantages[v] for v in row["path"]], row["hops"])
        if not way:
            continue
        ends = (row["src_hi"], row["src_lo"]), (row["dst_hi"], row["dst_lo"])
        one = directions.setdefault(
            (row["protocol"], *ends),
            _Direction(row["source"], row["destination"], row["number"]),
        )
        one.packets += row["count"]
        one.first.add(row["first_vantage"])
        one.last.add(row["last_vantage"])
        if way not in one.ways:
            one.ways.append(way)
    return directions


def _way(path: Sequence[Vantage], hops: Sequence[int]) -> Way:
    """The bridges, routers and uplinks along a path; of each only its name."""
    places: list[str] = []
    for vantage, hop in zip(path, (Hop.NONE, *hops), strict=False):
        router = _namespace(vantage) if hop == Hop.ROUTE else ""
        for place in (router, _place(vantage)):
            if place and place not in places[-1:]:
                places.append(place)
    return tuple(places)


def _namespace(vantage: Vantage) -> str:
    """Whose stack the interface belongs to; a host veth's is the host's, not its container's."""
    inside = vantage.role is Role.CONTAINER
    return vantage.container if inside and vantage.container else HOST


def _place(vantage: Vantage) -> str:
    if vantage.role is Role.BRIDGE:
        return vantage.interface
    return vantage.name if vantage.role is Role.UPLINK else vantage.bridge


def _come_back(there: Sequence[Way], back: Sequence[Way]) -> bool:
    """Whether an answer takes the way of a request, as far as both were seen."""
    return any(_within(one, other[::-1]) for one in there for other in back)


def _within(one: Way, other: Way) -> bool:
    """Whether the shorter of the two ways is a part of the longer one."""
    short, long = sorted((one, other), key=len)
    starts = range(len(long) - len(short) + 1)
    return any(long[at : at + len(short)] == short for at in starts)


def _other_interface(
    asked: _Direction, answered: _Direction, vantages: Sequence[Vantage]
) -> tuple[str, str] | None:
    """(interface that was asked, one that answers) of one container; None where that is not it."""
    for at in sorted(asked.last):
        for out in sorted(answered.first):
            one, other = vantages[at], vantages[out]
            if one.role in _INSIDE and other.role in _INSIDE and _space(one) == _space(other):
                return (one.name, other.name) if one is not other else None
    return None


def _space(vantage: Vantage) -> tuple[int, str]:
    """The container's namespace; of a host veth that of its other end."""
    inside = vantage.role is Role.CONTAINER
    return (vantage.space if inside else vantage.peer_space, vantage.container)


def _elsewhere(
    what: str, asked: _Direction, exits: tuple[str, str], ends: tuple[str, str]
) -> Finding:
    return ANSWERS_ELSEWHERE.finding(
        f"{what}: {asked.destination} was asked at {exits[0]} and answers out of {exits[1]}; "
        "strict reverse path filters drop such answers. See inside "
        f"{asked.destination}: ip route get {ends[0]} from {ends[1]}; and "
        "sysctl -a -r rp_filter",
    )


def _asymmetric(what: str, asked: _Direction, answered: _Direction, target: str) -> Finding:
    there, back = (" → ".join(one.ways[0]) for one in (asked, answered))
    return ASYMMETRIC_PATH.finding(
        f"{what} goes by {there}, and its answers by {back}: connection tracking and reverse "
        f"path filters see one half only. Compare ip route get at both ends (for {target} and "
        "back), and ip rule show",
    )


RULE = Rule((ASYMMETRIC_PATH, ANSWERS_ELSEWHERE), find, needs="a topology", place=290)
