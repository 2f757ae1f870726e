"""The slowest echo of a pair, and the hop that made it so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from analyzer.findings.rule import INFO, MANY, Code, FindingInputs, Rule
from analyzer.findings.slow_hop import queue_at
from analyzer.model.report import Finding

SLOW_ECHO = Code(
    "slow-echo",
    (INFO,),
    "One echo took far longer than the others of its pair.",
    "the text names the hop; report --packets shows the echo",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for row in inputs.slow_echoes:
        where, part_ns = _slowest_part(row.trip, inputs)
        rtt_ns = row.trip["rtt_ns"]
        yield SLOW_ECHO.finding(
            f"{row.source} → {row.destination}: the echo with seq {row.trip['seq']} took "
            f"{rtt_ns / 1e3:.0f} µs, {rtt_ns / max(1, row.median_ns):.0f} times "
            f"the median; {part_ns / 1e3:.0f} µs of it {where}"
        )


def _slowest_part(trip: Mapping[str, int], inputs: FindingInputs) -> tuple[str, int]:
    """The hop of the request or the reply, or the turnaround, that took the longest."""
    vantages = inputs.outlook.vantages
    way = "request_" if trip["request_slow_ns"] >= trip["slow_ns"] else ""
    delay, turnaround = trip[f"{way}slow_ns"], trip["turnaround_ns"]
    if delay < turnaround:
        name = vantages[trip["request_seen_last"]].name
        return f"in the turnaround behind {name}", turnaround
    before, after = (vantages[trip[f"{way}slow_{end}"]] for end in ("from", "to"))
    return f"between {before.name} → {after.name}{queue_at(inputs, after)}", delay


RULE = Rule((SLOW_ECHO,), find, most=MANY, place=210)
