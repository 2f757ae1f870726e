"""Captured interfaces whose MAC changed: neighbours go on sending to the one that they know.

A bridge without a MAC of its own (addr_assign_type is not set) takes the lowest one of its ports,
so that it changes when a port joins or leaves (br_stp_recalculate_bridge_id() in the kernel's
br_stp_if.c).
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.counted import has_just_come, owner_of
from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.findings.socket_overflows import NEEDS
from analyzer.model.report import Finding

MAC_CHANGED = Code(
    "mac-changed",
    (INFO,),
    "A captured interface got another MAC while the capture ran.",
    "ip neigh show inside the others tells who knows the old one; ip link set dev BRIDGE address "
    "MAC keeps a bridge's",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for at, macs in inputs.outlook.later_macs.items():
        vantage = inputs.outlook.vantages[at]
        owner, begun_ns = owner_of(inputs, vantage.netns), inputs.outlook.life(at).from_ns
        if owner is None or (begun_ns and has_just_come(inputs, vantage.netns, begun_ns)):
            continue
        keep = (
            f"; a bridge takes the lowest MAC of its ports unless it has its own: ip link set dev "
            f"{vantage.interface} address {vantage.mac}"
            if vantage.is_bridge
            else ""
        )
        yield MAC_CHANGED.finding(
            f"{vantage.name}'s MAC was {vantage.mac} and became {' and then '.join(macs)}: who "
            f"knows the old one goes on sending to it until it asks again: ip neigh show inside "
            f"the others{keep}"
        )


RULE = Rule((MAC_CHANGED,), find, place=209, needs=NEEDS)
