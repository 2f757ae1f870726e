"""Packets that their sender dropped while it waited for the MAC of the next hop.

The kernel keeps some bytes for each neighbour that is not resolved (``unres_qlen_bytes``), and
drops the oldest beyond that: such packets leave by no interface, so no frame tells of them. The
kernel tells the interface's name and the next hop's address, of all namespaces of the machine; here
it is told of those who asked for that address by such an interface, and waited.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_plural
from analyzer.model.flow_rows import ArpRow
from analyzer.model.report import Finding
from analyzer.model.vantage import Role

NEIGHBOUR_QUEUE_FULL = Code(
    "neighbour-queue-full",
    (WARNING,),
    "A sender dropped packets of its own while it waited for an answer to ARP or ND.",
    "sysctl net.ipv4.neigh.default.unres_qlen_bytes and ip -s neigh show inside the sender",
)
QUEUE_FULL, FAILED = "NEIGH_QUEUEFULL", "NEIGH_FAILED"
_NAMED = 3


def find(inputs: FindingInputs) -> Iterator[Finding]:
    rows = [row for kind in ("arp", "nd") for row in inputs.flows.get(kind, ())]
    rows = [] if inputs.outlook.one_way else rows
    for told in (inputs.info.drops or {}).get("neighbours", ()):
        waited = [row for row in rows if _asked_in_vain(row) and row.target_ip == told["next_hop"]]
        waited = [row for row in waited if _may_be(row.asker, told["interface"], inputs)]
        if told["reason"] != QUEUE_FULL or not waited:
            continue
        yield NEIGHBOUR_QUEUE_FULL.finding(
            f"{format_plural(told['packets'], 'packet')} (each fragment is one) by way of "
            f"{told['next_hop']} were dropped on this machine before they left an interface "
            f"{told['interface']}, while their sender waited for that next hop's MAC "
            f"({QUEUE_FULL}: its queue was full): likely those of {_askers(waited)}, for the "
            "kernel tells interface and next hop, and no namespace: sysctl "
            f"{_sysctl(told['next_hop'])} and ip -s neigh show there"
        )


def waited_in_vain(inputs: FindingInputs, next_hops: Sequence[str]) -> int:
    """Packets that never left because none of these addresses answered."""
    told = (inputs.info.drops or {}).get("neighbours", ())
    return sum(
        one["packets"] for one in told if one["reason"] == FAILED and one["next_hop"] in next_hops
    )


def _asked_in_vain(row: ArpRow) -> bool:
    return bool(row.requests > max(row.replies, 1) and row.asker_ip)


def _may_be(asker: str, device: str, inputs: FindingInputs) -> bool:
    """Whether the asker has an interface of that name, or we do not know its interfaces."""
    names = set()
    for vantage in inputs.outlook.vantages:
        if vantage.container != asker or not asker:
            continue
        if vantage.role is Role.CONTAINER:
            names.add(vantage.interface)
        elif vantage.role is Role.HOST_VETH and vantage.peer:
            names.add(vantage.peer.rpartition(":")[2])
    return not names or device in names


def _askers(rows: Sequence[ArpRow]) -> str:
    counts = ", ".join(
        f"{row.asker} (asked {row.requests}×, {_answers(row.replies)})" for row in rows[:_NAMED]
    )
    return counts + (f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else "")


def _answers(count: int) -> str:
    return format_plural(count, "answer") if count else "no answer"


def _sysctl(next_hop: str) -> str:
    return f"net.{'ipv6' if ':' in next_hop else 'ipv4'}.neigh.default.unres_qlen_bytes"


RULE = Rule((NEIGHBOUR_QUEUE_FULL,), find, place=68, needs="--drops")
