"""One container's MAC or address on packets that another container sent: the port tells who did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from analyzer.findings.rule import INFO, WARNING, Code, FindingInputs, Rule
from analyzer.model.report import Finding
from analyzer.model.tenures import Tenures
from analyzer.model.vantage import Role, Vantage
from analyzer.net.ethernet import mac_text, mac_value
from analyzer.net.ip import address_text, address_value

FOREIGN_SOURCE = Code(
    "foreign-source",
    (WARNING, INFO),
    "A container sent packets with a MAC or an address that is not its own: the port that they "
    "entered by tells who it was.",
    "bridge fdb show br BRIDGE; ps inside the sender",
)


class _Told(NamedTuple):
    """What is to be said of one interface."""

    vantage: int
    with_what: str
    follows: str
    severity: str


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """What is another's, by the MAC first: with its MAC, its address is no wonder."""
    macs, addresses = _owners(inputs)
    counts: dict[_Told, int] = {}
    bridging = set(_bridging(inputs))
    for row in inputs.foreign_sources:
        if inputs.outlook.vantages[row["vantage"]].container in bridging:
            continue
        if told := _told(row, macs, addresses, inputs):
            counts[told] = counts.get(told, 0) + row["packets"]
    for told, packets in counts.items():
        yield _finding(told, packets, inputs.outlook.vantages[told.vantage])


def _bridging(inputs: FindingInputs) -> Iterator[str]:
    """Containers whose interfaces were a bridge's ports at either end: they pass on what others
    sent."""
    vantages = inputs.outlook.vantages
    inside = {v.key: v.container for v in vantages if v.role is Role.CONTAINER}
    inside |= {v.peer_key: v.container for v in vantages if v.role is Role.HOST_VETH and v.peer_key}
    for moment in inputs.evidence.moments:
        for one in moment.ports:
            if (container := inside.get((moment.netns, one.ifindex))) is not None:
                yield container


def _told(
    row: Mapping[str, Any], macs: Tenures, addresses: Tenures, inputs: FindingInputs
) -> _Told | None:
    at, mac, address = row["vantage"], row["mac"], (row["hi"], row["lo"])
    segment, sender = inputs.segments[at], inputs.outlook.vantages[at].container
    if owner := _others(macs, (segment, mac), row, sender):
        follows = f"its bridge sends what is for {owner} to whichever of them spoke last"
        return _Told(at, f"{owner}'s MAC {mac_text(mac)}", f"it sent them, and {follows}", WARNING)
    if owner := _others(addresses, (segment, address), row, sender):
        what = f"{owner}'s address {address_text(*address)} but another MAC"
        return _Told(at, what, f"it sent them, and answers go to {owner}", WARNING)
    if (segment, mac) in macs or (segment, mac) in _hosts(inputs):
        return None
    what = f"the MAC {mac_text(mac)}, which no interface that was captured has,"
    return _Told(at, what, "it sent them, or somebody behind it", INFO)


def _hosts(inputs: FindingInputs) -> set[tuple[int, int]]:
    """The MACs of all interfaces, whosever."""
    pairs = zip(inputs.segments, inputs.outlook.vantages, strict=True)
    return {(segment, mac_value(vantage.mac)) for segment, vantage in pairs}


def _owners(inputs: FindingInputs) -> tuple[Tenures, Tenures]:
    """Who bears a MAC, and who has an address as the first one of its interface, by segment.

    Further addresses are moved from one to the next on purpose.
    """
    macs, addresses = Tenures(), Tenures()
    pairs = zip(inputs.segments, inputs.outlook.vantages, strict=True)
    for at, (segment, vantage) in enumerate(pairs):
        inside = vantage.role is Role.CONTAINER
        if not vantage.container or not (inside or vantage.role is Role.HOST_VETH):
            continue
        life = inputs.outlook.life(at)
        told = vantage.addresses if inside else vantage.peer_addresses
        if mac := vantage.mac if inside else vantage.peer_mac:
            macs.add((segment, mac_value(mac)), vantage.container, life)
        for address in told[:1]:
            addresses.add((segment, address_value(address)), vantage.container, life)
    return macs, addresses


def _others(owners: Tenures, key: tuple[int, Any], row: Mapping[str, Any], sender: str) -> str:
    """The only owner, where it is another than the sender, and there at that time for sure."""
    bear = owners.alive(key, row["first_ns"])
    return min(bear) if len(bear) == 1 and sender not in bear else ""


def _finding(told: _Told, packets: int, vantage: Vantage) -> Finding:
    inside = vantage.role is Role.CONTAINER
    port = vantage.peer if inside and vantage.bridge else "" if inside else vantage.name
    where = f"entered at {port}, the port of" if port else f"left {vantage.name}, so they are of"
    return FOREIGN_SOURCE.finding(
        f"{packets} packets with {told.with_what} {where} {vantage.container}: {told.follows}; "
        f"bridge fdb show br {vantage.bridge or 'BRIDGE'}",
        told.severity,
    )


RULE = Rule((FOREIGN_SOURCE,), find, needs="a topology", place=201)
