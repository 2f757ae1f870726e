"""The slow TCP handshakes of a service, and the hop that made them so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.findings.slow_hop import queue_at
from analyzer.model.report import Finding

SLOW_HANDSHAKE = Code(
    "slow-handshake",
    (INFO,),
    "The 99th percentile of a service's TCP handshakes is far off the median.",
    "the text names the hop or the turnaround that was slow",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for row in inputs.handshakes:
        rtt_ns = row.trip["rtt_ns"]
        yield SLOW_HANDSHAKE.finding(
            f"{row.source} → {row.destination} TCP port {row.port}: the 99th percentile of "
            f"{row.handshakes} handshakes took {rtt_ns / 1e3:.0f} µs, "
            f"{rtt_ns / max(row.median_ns, 1):.0f} times the median"
            f"{_slowest_part(row.trip, inputs)}"
        )


def _slowest_part(trip: Mapping[str, Any], inputs: FindingInputs) -> str:
    """The hop, or the turnaround, that took the longest; empty where none is known."""
    vantages = inputs.outlook.vantages
    part_ns, where = trip["slow_ns"], ""
    if trip["turnaround_ns"] > part_ns:
        part_ns = trip["turnaround_ns"]
        where = f"in the turnaround behind {vantages[trip['at']].name}"
    elif part_ns >= 0:
        before, after = (vantages[trip[f"slow_{end}"]] for end in ("from", "to"))
        where = f"between {before.name} → {after.name}{queue_at(inputs, after)}"
    return f"; {part_ns / 1e3:.0f} µs of it {where}" if where else ""


RULE = Rule((SLOW_HANDSHAKE,), find, place=270)
