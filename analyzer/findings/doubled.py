"""Packets that the capture itself made two."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import MANY, WARNING, Code, FindingInputs, Rule
from analyzer.model.report import Finding

DOUBLED = Code(
    "doubled",
    (WARNING,),
    "The bridge was promiscuous and NAT leads back into it: such packets are delivered twice.",
    "capture with -p",
)

SYSCTL = "net.bridge.bridge-nf-call-iptables"


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """A promiscuous bridge with NAT between two of its ports routes a second copy."""
    if inputs.outlook.sysctls.get(SYSCTL) != "1":
        return
    of_port = {v.name: v.bridge for v in inputs.outlook.vantages if v.master_ifindex}
    promiscuous = {v.name for v in inputs.outlook.vantages if v.promiscuous}
    pairs = dict.fromkeys(
        (of_port.get(row.from_, ""), f"{row.source} → {row.destination}")
        for row in inputs.flows.get("nat", ())
    )
    for bridge, pair in pairs:
        if bridge in promiscuous:
            yield DOUBLED.finding(
                f"{pair}: NAT between two ports of {bridge}, which was in promiscuous mode: the "
                f"kernel then routes a second copy of such packets; capture with -p (out of it)"
            )


RULE = Rule((DOUBLED,), find, needs="a topology", most=MANY, place=170)
