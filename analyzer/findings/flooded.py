"""Unicast that left by several ports of a bridge."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.model.report import Finding
from analyzer.net.ethernet import mac_text

FLOODED = Code(
    "flooded",
    (INFO,),
    "The bridge sent unicast out of several ports: it does not know the MAC.",
    "bridge fdb show br BRIDGE",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for row in inputs.flooded:
        port = row["in_port"]
        bridge = inputs.outlook.vantages[port].bridge if port >= 0 else ""
        yield FLOODED.finding(
            f"{bridge or 'the bridge'} flooded {row['packets']} unicast packets of "
            f"{row['source']} for {mac_text(row['mac'])} out of several ports: it does not know "
            f"where that MAC is: bridge fdb show br {bridge or 'BRIDGE'}"
        )


RULE = Rule((FLOODED,), find, needs="a topology", most=None, place=190)
