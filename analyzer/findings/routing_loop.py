"""Packets that routers send to each other, round and round, until their hop limit runs out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from analyzer.findings.counted import owner_of
from analyzer.findings.rule import ERROR, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_plural
from analyzer.model.journeys import Hop
from analyzer.model.report import Finding
from analyzer.net.ip import address_text

ROUTING_LOOP = Code(
    "routing-loop",
    (ERROR,),
    "Routers send packets to each other, which went by one place again and again.",
    "ip route get ADDRESS inside each router that is named",
)
MOST_VISITS = 2
"""in and out again: as often a packet passes an interface whose router sends it back once"""


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One a pair of ends and protocol."""
    packets: Counter[tuple[str, str, str]] = Counter()
    rows: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    if inputs.outcomes is None or "path" not in inputs.outcomes.columns:
        return
    long = inputs.outcomes.filter(inputs.outcomes["path"].list.len() > 2 * MOST_VISITS)
    for row in long.iter_rows(named=True):
        if row["path"] and max(Counter(row["path"]).values()) > MOST_VISITS:
            ends = row["source"], row["destination"], row["protocol"]
            packets[ends] += row["count"]
            rows.setdefault(ends, row)
    for ends, count in packets.items():
        if text := _text(inputs, ends, count, rows[ends]):
            yield ROUTING_LOOP.finding(text)


def _text(
    inputs: FindingInputs, ends: tuple[str, str, str], count: int, row: Mapping[str, Any]
) -> str:
    """'' where nobody routes: what goes round in bridges has its own finding."""
    vantages, path = inputs.outlook.vantages, row["path"]
    routing = [path[at] for at, hop in enumerate(row["hops"]) if hop == Hop.ROUTE]
    routers = dict.fromkeys(vantages[v].netns for v in routing)
    owners = [owner for netns in routers if (owner := owner_of(inputs, netns))]
    if len(routing) <= MOST_VISITS or not owners:
        return ""
    place, visits = Counter(path).most_common(1)[0]
    source, destination, protocol = ends
    names = " and ".join(owner.name for owner in owners)
    each = "each other" if len(owners) > 1 else "where they come from"
    address = address_text(row["dst_hi"], row["dst_lo"])
    looks = "; ".join(owner.run(f"ip route get {address}") for owner in owners)
    return (
        f"{format_plural(count, f'{protocol} packet')} {source} → {destination} went round: "
        f"{names} sent them to {each}, one of them came by {vantages[place].name} {visits}×: "
        f"{looks}"
    )


RULE = Rule((ROUTING_LOOP,), find, place=77)
