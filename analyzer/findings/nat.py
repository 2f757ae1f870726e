"""Addresses that were translated on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from analyzer.findings.rule import INFO, MANY, Code, FindingInputs, Rule
from analyzer.flows.nat import CONNTRACK, changes
from analyzer.formatting.numbers import format_plural
from analyzer.model.report import Finding

NAT = Code(
    "nat",
    (INFO,),
    "Addresses or ports were translated between two vantages.",
    "conntrack -L shows the kernel's own table",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One for what is translated alike; the flows tell each port's connections."""
    packets: Counter[tuple[str, str]] = Counter()
    for row in inputs.flows.get("nat", ()):
        sure = "" if row.told_by == CONNTRACK else "; likely, from the packets alone"
        text = (
            f"{row.protocol} {row.source} → {row.destination}: {' and '.join(changes(row))} "
            f"between {row.from_} and {row.to}"
        )
        packets[text, sure] += row.packets
    for (text, sure), count in packets.items():
        yield NAT.finding(f"{text} ({format_plural(count, 'packet')}{sure})")


RULE = Rule((NAT,), find, most=MANY, place=160)
