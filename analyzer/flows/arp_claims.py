"""Who says that an address is its own: conflicts, hand-overs, and the shape of ARP spoofing.

Every ARP reply and announcement claims an address for a MAC. Two MACs for one address are a
conflict only where both hold it at the same time. A container that is made anew with the address
of the one before, or a failover, hands it over: the claims of one end before those of the other
begin. Where the topology knows the owner, a claim by anybody else while the owner is there is
what spoofing looks like, whether or not the owner speaks up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from itertools import combinations
from types import MappingProxyType

from msgspec import Struct, field
from msgspec.structs import replace

from analyzer.flows.claims import Claim, Place
from analyzer.flows.endpoints import HOST
from analyzer.model.batch import Outlook
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ethernet import mac_value
from analyzer.net.ip import address_text, address_value

_FOR_EVER = (1 << 63) - 1
_AT_ONCE_NS = 1_000_000_000
"""two answers so close to each other are to one question"""


class Owner(Struct, frozen=True):
    """An interface of the topology that has the address."""

    name: str
    """vantage name"""
    who: str
    """container, or the host"""
    mac: int
    primary: bool
    """its first address: the one that the engine gave to it"""
    since_ns: int = 0
    seen_ns: int = _FOR_EVER
    """its last sign of life, see `analyzer.model.tenures.Life`"""
    until_ns: int = _FOR_EVER


class ClaimKind(Enum):
    """What a claim of an address turned out to be."""

    PROXY = "the host answers for it"
    FLUX = "another interface of its owner answers"
    SPOOFED = "somebody claims it unasked while its owner is there"
    CONFLICT = "several hold it at once"
    MOVED = "it was handed over"


class ClaimVerdict(Struct, frozen=True):
    """A claim that is not everyday's."""

    kind: ClaimKind
    address: str
    macs: tuple[int, ...]
    """of the claim, or of all that hold the address"""
    sender: str = ""
    """who claims: a container, or the host"""
    claim: Claim | None = None
    owners: tuple[Owner, ...] = ()
    """as the topology knows them"""
    others: int = 0
    """further MACs that claimed it, of which nothing is kept"""


class ArpClaimVerdicts(Struct):
    """What became of the claims."""

    verdicts: list[ClaimVerdict] = field(default_factory=list)
    settled: set[Place] = field(default_factory=set)
    """addresses that more than one MAC claimed, one after the other: no conflict"""


def judge_claims(
    claims: Mapping[Place, Sequence[Claim]],
    segments: Sequence[int],
    outlook: Outlook,
    others: Mapping[Place, int] = MappingProxyType({}),
) -> ArpClaimVerdicts:
    """segments: of each vantage, as in `Journeys`. others: see `Claims.others`."""
    owners = _owners(segments, outlook)
    judged = ArpClaimVerdicts()
    for place, said in claims.items():
        its_owners = owners.get(place, [])
        verdicts = _judge(place, said, its_owners, judged.settled, outlook.vantages)
        more = others.get(place, 0)
        judged.verdicts += [replace(one, others=more) for one in verdicts] if more else verdicts
    return judged


def _judge(
    place: Place,
    said: Sequence[Claim],
    owners: Sequence[Owner],
    settled: set[Place],
    vantages: Sequence[Vantage],
) -> Iterator[ClaimVerdict]:
    address = address_text(*place[1:])
    owner_macs = {owner.mac for owner in owners}
    pending = [c for c in said if c.mac not in owner_macs and _while_owned(c, owners)]
    for claim in pending:
        sender = _sender(claim, vantages)
        if sender in (HOST, owners[0].who):
            own = sender == owners[0].who
            kind = ClaimKind.FLUX if own else ClaimKind.PROXY
            yield ClaimVerdict(kind, address, (claim.mac,), sender, claim, tuple(owners))
        elif _handed_over(claim, said, owners):
            yield ClaimVerdict(ClaimKind.MOVED, address, (claim.mac,), sender, claim)
        elif claim.unasked or claim.announced:
            yield ClaimVerdict(
                ClaimKind.SPOOFED, address, (claim.mac,), sender, claim, tuple(owners)
            )
        else:  # it answers when it is asked, as who has the address, too
            macs = (owners[0].mac, claim.mac)
            yield ClaimVerdict(ClaimKind.CONFLICT, address, macs, owners=tuple(owners))
    holders = _at_once(said, owners)
    if len(holders) > 1:
        yield ClaimVerdict(ClaimKind.CONFLICT, address, tuple(holders), owners=tuple(owners))
    if len(said) > 1 and len(holders) < 2:
        if not pending:
            settled.add(place)
        last = max(said, key=lambda claim: claim.first_ns)
        if not owners and last.announced:
            yield ClaimVerdict(ClaimKind.MOVED, address, (last.mac,), _sender(last, vantages), last)


def _while_owned(claim: Claim, owners: Sequence[Owner]) -> bool:
    """Whether it was made while an owner that the topology knows had the address."""
    return any(o.since_ns <= claim.last_ns and claim.first_ns < o.until_ns for o in owners)


def _handed_over(claim: Claim, said: Sequence[Claim], owners: Sequence[Owner]) -> bool:
    """A further address that was announced to all, and is not claimed by its owner any more."""
    others = [other for other in said if other.mac != claim.mac]
    silent = all(other.last_ns < claim.first_ns for other in others)
    further = not any(owner.primary for owner in owners)
    return further and silent and claim.announced > 0


def _at_once(said: Sequence[Claim], owners: Sequence[Owner]) -> list[int]:
    """MACs that hold the address at the same time: as its owners, else by when they claimed it."""
    if owners:
        macs = {
            one.mac
            for one in owners
            for other in owners
            if (one.mac != other.mac and one.name != other.name)
            and one.since_ns < other.until_ns
            and other.since_ns < one.until_ns
        }
    else:
        ordered = sorted(said, key=lambda claim: claim.first_ns)
        pairs = combinations(ordered, 2)
        macs = {c.mac for a, b in pairs if _clash(a, b) for c in (a, b)}
    all_macs = dict.fromkeys([c.mac for c in said] + [o.mac for o in owners])
    return [mac for mac in all_macs if mac in macs]


def _clash(before: Claim, after: Claim) -> bool:
    """Whether two that claim an address do not take turns: one question, two answers at the least.

    Who takes over an address announces it (RFC 5227, 5798).
    """
    if after.first_ns <= before.last_ns:
        return True
    return after.first_ns - before.last_ns < _AT_ONCE_NS and not after.announced


def _owners(segments: Sequence[int], outlook: Outlook) -> dict[Place, list[Owner]]:
    """Who has an address, each interface once."""
    by_place: dict[Place, dict[tuple[int, str], Owner]] = {}
    for at, vantage in enumerate(outlook.vantages):
        for name, who, mac, addresses in _interfaces(vantage, outlook.later_macs.get(at, ())):
            for number, address in enumerate(addresses):
                try:
                    place = (int(segments[at]), *address_value(address))
                except ValueError:
                    continue
                owner = Owner(name, who, mac, number == 0, *outlook.life(at))
                by_place.setdefault(place, {}).setdefault((mac, name), owner)
    return {place: _in_turn(list(owners.values())) for place, owners in by_place.items()}


def _in_turn(owners: Sequence[Owner]) -> list[Owner]:
    """The same, each ended where another begins that comes after its last sign of life."""
    begins = sorted(owner.since_ns for owner in owners)
    nexts = [next((ns for ns in begins if ns > owner.seen_ns), _FOR_EVER) for owner in owners]
    return [
        replace(owner, until_ns=min(owner.until_ns, next_ns))
        for owner, next_ns in zip(owners, nexts, strict=True)
    ]


def _interfaces(
    vantage: Vantage, later: Sequence[str]
) -> Iterator[tuple[str, str, int, Sequence[str]]]:
    """(name, whose, MAC, addresses) of what the vantage tells of. later: its further MACs."""
    if not vantage.ifindex:
        return
    if vantage.role is Role.HOST_VETH:
        if vantage.peer and vantage.peer_mac:
            yield (
                vantage.peer,
                vantage.container,
                mac_value(vantage.peer_mac),
                vantage.peer_addresses,
            )
    elif vantage.mac:
        who = vantage.container if vantage.role is Role.CONTAINER else HOST
        for mac in (vantage.mac, *later):
            yield vantage.name, who, mac_value(mac), vantage.addresses


def _sender(claim: Claim, vantages: Sequence[Vantage]) -> str:
    """Who sent it: whose interface showed it first."""
    vantage = vantages[claim.vantage]
    if vantage.container:
        return vantage.container
    return HOST if vantage.role is Role.BRIDGE else f"a station behind {vantage.name}"
