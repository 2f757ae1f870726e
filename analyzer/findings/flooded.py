"""Unicast that left by several ports of a bridge."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import INFO, MANY, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_plural
from analyzer.model.report import Finding
from analyzer.net.ethernet import mac_text

FLOODED = Code(
    "flooded",
    (INFO,),
    "Unicast left a bridge by several ports: it does not know the MAC, or a mirror copies it.",
    "bridge fdb show br BRIDGE",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for row in inputs.flooded:
        port, mac = row["in_port"], mac_text(row["mac"])
        bridge = inputs.outlook.vantages[port].bridge if port >= 0 else ""
        what = f"{format_plural(row['packets'], 'unicast packet')} of {row['source']} for {mac}"
        look = f"bridge fdb show br {bridge or 'BRIDGE'}"
        if mac in (known for known, _ in inputs.outlook.fdb.get(bridge, ())):
            yield FLOODED.finding(
                f"{what} left {bridge} by several ports, although it has learned where that MAC "
                f"is: flooded before it had, or again after a change, or copied by a mirror: "
                f"{look}; tc filter show dev PORT ingress"
            )
            continue
        yield FLOODED.finding(
            f"{bridge or 'the bridge'} flooded {what} out of several ports: it does not know "
            f"where that MAC is: {look}"
        )


RULE = Rule((FLOODED,), find, needs="a topology", most=MANY, place=190)
