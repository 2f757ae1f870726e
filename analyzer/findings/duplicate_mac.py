"""A MAC address that two stations of one segment have."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import ERROR, MANY, Code, FindingInputs, Rule
from analyzer.model.report import Finding
from analyzer.model.tenures import Tenures
from analyzer.model.vantage import Role

DUPLICATE_MAC = Code(
    "duplicate-mac",
    (ERROR,),
    "Two stations of one layer-2 segment have the same MAC: a bridge cannot serve both.",
    "give each its own (docker run --mac-address)",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """Two stations of one segment with the same MAC, at the same time."""
    owners = Tenures()
    pairs = zip(inputs.segments, inputs.outlook.vantages, strict=True)
    for at, (segment, vantage) in enumerate(pairs):
        # ports and devices on others share a MAC with these by design, macvlans do not
        if (
            not vantage.ifindex
            or vantage.is_bridge
            or (vantage.role is Role.CONTAINER and vantage.master_ifindex)
            or (vantage.lower_ifindex and not vantage.kind.startswith("macv"))
        ):
            continue
        life = inputs.outlook.life(at)
        if vantage.role is Role.CONTAINER and vantage.mac:
            owners.add((segment, vantage.mac), vantage.name, life)
        elif vantage.role is Role.HOST_VETH and vantage.peer and vantage.peer_mac:
            owners.add((segment, vantage.peer_mac), vantage.peer, life)
    for key in owners:
        if names := sorted(owners.at_once(key)):
            yield DUPLICATE_MAC.finding(
                f"{key[1]} is the MAC of {', '.join(names)}: the bridge sends what is for one "
                "of them to whichever spoke last; give each its own"
            )


RULE = Rule((DUPLICATE_MAC,), find, needs="a topology", most=MANY, place=200)
