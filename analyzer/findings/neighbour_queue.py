"""Packets that their sender dropped while it waited for the MAC of the next hop.

The kernel keeps some bytes for each neighbour that is not resolved (``unres_qlen_bytes``), and
drops the oldest beyond that: such packets leave by no interface, so no frame tells of them. The
kernel's event does not say in which namespace that was, so nobody is accused: askers whose requests
were not all answered are named as possible.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import INFO, WARNING, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_plural
from analyzer.model.flow_rows import ArpRow
from analyzer.model.report import Finding

NEIGHBOUR_QUEUE_FULL = Code(
    "neighbour-queue-full",
    (WARNING, INFO),
    "A sender dropped packets of its own while it waited for an answer to ARP or ND.",
    "sysctl net.ipv4.neigh.default.unres_qlen_bytes and ip -s neigh show inside the sender",
)
REASON = "NEIGH_QUEUEFULL"
_NAMED = 3


def find(inputs: FindingInputs) -> Iterator[Finding]:
    others = (inputs.info.drops or {}).get("others", {})
    if not (count := others.get(REASON, 0)):
        return
    rows = [row for kind in ("arp", "nd") for row in inputs.flows.get(kind, ())]
    rows = [] if inputs.outlook.one_way else rows
    waited = [row for row in rows if row.requests > max(row.replies, 1) and row.asker_ip]
    yield NEIGHBOUR_QUEUE_FULL.finding(
        f"{format_plural(count, 'packet')} (each fragment is one) were dropped by a sender on this "
        "machine before they left any interface, while it waited for the MAC of the next hop "
        f"({REASON}: its queue was full){_possible(waited)}: sysctl "
        "net.ipv4.neigh.default.unres_qlen_bytes and ip -s neigh show there",
        WARNING if waited else INFO,
    )


def _possible(rows: list[ArpRow]) -> str:
    if not rows:
        return "; the kernel does not tell whose"
    counts = ", ".join(
        f"{row.asker} (asked {row.requests}× for {row.target_ip}, {_answers(row.replies)})"
        for row in rows[:_NAMED]
    )
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return f"; the kernel does not tell whose; askers that waited: {counts}{more}"


def _answers(count: int) -> str:
    return format_plural(count, "answer") if count else "no answer"


RULE = Rule((NEIGHBOUR_QUEUE_FULL,), find, place=68, needs="--drops")
