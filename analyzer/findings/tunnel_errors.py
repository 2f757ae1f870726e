"""VXLAN packets that brought an ICMP error back: the far end is none, or the way is too narrow.

A tunnel's device swallows the error, so that who sent through the tunnel never hears of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from analyzer.findings.counted import Owner, owned_ends
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.flow_rows import IcmpErrorRow
from analyzer.model.kernel_state import LinkState
from analyzer.model.report import Finding
from analyzer.net.ports import VXLAN_PORTS

WRONG_DESTINATION = Code(
    "vxlan-wrong-destination",
    (WARNING,),
    "A VXLAN device sends to an address from where errors come back: no tunnel ends there.",
    "bridge fdb show dev DEVICE; bridge fdb replace MAC dev DEVICE dst ADDRESS",
)
TOO_LARGE = Code(
    "vxlan-mtu",
    (WARNING,),
    "A VXLAN device's MTU and the tunnel's headers are more than the way to its far end takes.",
    "ip link set DEVICE mtu N, and the same inside of the containers behind it",
)
OVERHEAD_V4, OVERHEAD_V6 = 50, 70
"""bytes of IP, UDP, VXLAN and the Ethernet header inside (RFC 7348): the device's MTU has none of
them"""
_TOLD = 3
"""MACs"""


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for row in inputs.flows.get("icmp_errors", ()):
        if row.protocol != "udp" or row.destination_port not in VXLAN_PORTS:
            continue
        for moment, owner in owned_ends(inputs):
            if not _is_at(moment, row.source_ip):
                continue
            for link in moment.links:
                if link.kind != "vxlan":
                    continue
                if row.mtu is not None:
                    yield from _too_large(row, link, owner)
                elif "unreachable" in row.error:
                    yield from _wrong(row, moment, link, owner)


def _is_at(moment: NamespaceEvidence, address: str) -> bool:
    return any(one.address.partition("/")[0] == address for one in moment.addresses)


def _too_large(row: IcmpErrorRow, link: LinkState, owner: Owner) -> Iterator[Finding]:
    overhead = OVERHEAD_V4 if ip_address(row.destination_ip).version == 4 else OVERHEAD_V6
    if row.mtu and link.mtu + overhead > row.mtu:
        fitting = row.mtu - overhead
        yield TOO_LARGE.finding(
            f"{link.name} of {owner.name} has MTU {link.mtu}, and its VXLAN packets are {overhead} "
            f"bytes larger: {row.reporter} says that the way to {row.destination_ip} takes "
            f"{row.mtu}: {owner.run(f'ip link set dev {link.name} mtu {fitting}')}, and the same "
            "inside of the containers behind it"
        )


def _wrong(
    row: IcmpErrorRow, moment: NamespaceEvidence, link: LinkState, owner: Owner
) -> Iterator[Finding]:
    macs = dict.fromkeys(
        one.mac
        for one in moment.fdb
        if one.ifindex == link.ifindex and one.destination == row.destination_ip
    )
    if not macs:
        return
    more = f" and {len(macs) - _TOLD} more" if len(macs) > _TOLD else ""
    default = " (the default)" if "00:00:00:00:00:00" in macs else ""
    yield WRONG_DESTINATION.finding(
        f"{link.name} of {owner.name} sends to {row.destination_ip}, and {row.reporter} answers "
        f"{row.error}, {row.errors}×: no tunnel ends there; its FDB has that address for "
        f"{', '.join(list(macs)[:_TOLD])}{more}{default}: "
        f"{owner.run(f'bridge fdb show dev {link.name} | grep {row.destination_ip}')}"
    )


RULE = Rule((WRONG_DESTINATION, TOO_LARGE), find, place=73, needs="counters, the errors captured")
