"""Hops that take long because a queueing discipline holds packets back, by its own counter."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.diagnosis.queueing import Queue, queues_of
from analyzer.findings.counted import Owner, owned_spans, vantage_at
from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.findings.socket_overflows import NEEDS
from analyzer.formatting.numbers import format_count, format_ns
from analyzer.model.report import Finding
from analyzer.model.vantage import Vantage

SLOW_HOP = Code(
    "slow-hop",
    (INFO,),
    "A hop takes long, and the queueing discipline of the interface behind it held packets back.",
    "tc -s qdisc show dev DEVICE; a higher rate, or less traffic",
)
_LONG_NS = 1_000_000
"""a median that no bridge reaches without a queue"""


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One an interface: the hop that most packets took."""
    if inputs.hops is None:
        return
    slow = inputs.hops.filter(inputs.hops["p50_ns"] >= _LONG_NS)
    busiest = slow.sort("packets", descending=True, maintain_order=True).unique(
        "to", keep="first", maintain_order=True
    )
    for row in busiest.iter_rows(named=True):
        before, behind = (inputs.outlook.vantages[row[end]] for end in ("from", "to"))
        if held := _held_back(inputs, behind):
            queue, owner = held
            yield SLOW_HOP.finding(
                f"{row['source']} → {row['destination']} {row['protocol']}: the hop "
                f"{before.name} → {behind.name} takes {format_ns(row['p50_ns'])} (p50; max "
                f"{format_ns(row['max_ns'])}); {queue_text(queue, behind, owner)}"
            )


def queue_text(queue: Queue, vantage: Vantage, owner: Owner) -> str:
    """What the queue is, and what it counted."""
    dropped = f" and dropped {format_count(queue.dropped)}" if queue.dropped else ""
    waits = f", {queue.waiting()}" if queue.qdisc.queued else ""
    return (
        f"the {queue.name()} there held packets back {format_count(queue.overlimits)}×"
        f"{queue.holding()}{dropped}{waits}: {owner.run(queue.look(vantage.interface))}"
    )


def queue_at(inputs: FindingInputs, vantage: Vantage) -> str:
    """The same of the queue that a hop ends behind, with a semicolon; '' where none held back."""
    held = _held_back(inputs, vantage)
    return f"; {queue_text(held[0], vantage, held[1])}" if held else ""


def _held_back(inputs: FindingInputs, vantage: Vantage) -> tuple[Queue, Owner] | None:
    """The first discipline of an interface that held something back."""
    if vantage_at(inputs, vantage.netns, vantage.ifindex) is None:
        return None
    for span, owner in owned_spans(inputs):
        if span.start.netns == vantage.netns:
            for queue in queues_of(span, vantage.ifindex):
                if queue.overlimits:
                    return queue, owner
    return None


RULE = Rule((SLOW_HOP,), find, place=208, needs=NEEDS)
