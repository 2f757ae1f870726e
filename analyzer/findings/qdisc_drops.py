"""Packets that a queueing discipline of a captured interface dropped, by its own counter.

Egress taps sit behind the queue, so what is dropped there is never seen at that interface. A
classful root counts what its children drop, too: they are asked only where it counted nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.diagnosis.queueing import OF_FILTERS, Queue, dropping_queues
from analyzer.findings.counted import Owner, between, owned_spans, vantage_at
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.findings.socket_overflows import NEEDS
from analyzer.formatting.numbers import format_plural
from analyzer.model.evidence import Span
from analyzer.model.report import Finding
from analyzer.model.vantage import Vantage

QDISC_DROPS = Code(
    "qdisc-drops",
    (WARNING,),
    "A queueing discipline of a captured interface dropped packets.",
    "tc -s qdisc show dev DEVICE; a higher rate, a longer queue, or less traffic",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for span, owner in owned_spans(inputs):
        for ifindex in {qdisc.ifindex: None for qdisc in span.end.qdiscs}:
            vantage = vantage_at(inputs, span.end.netns, ifindex)
            if vantage is None:
                continue
            for queue in dropping_queues(span, ifindex):
                yield QDISC_DROPS.finding(_text(span, owner, vantage, queue))


def _text(span: Span, owner: Owner, vantage: Vantage, queue: Queue) -> str:
    waits = f", {queue.waiting()}" if queue.qdisc.queued else ""
    beyond = f" (overlimits {queue.overlimits:,})" if queue.overlimits else ""
    if queue.qdisc.kind in OF_FILTERS:
        looks = (
            f"tc -s filter show dev {vantage.interface} {way}" for way in ("ingress", "egress")
        )
        return (
            f"tc filters of {vantage.name} ({queue.qdisc.kind}) dropped "
            f"{format_plural(queue.dropped, 'packet')} {between(span)}, on their way in or out: "
            f"{'; '.join(map(owner.run, looks))}"
        )
    return (
        f"the {queue.name()} of {vantage.name} dropped "
        f"{format_plural(queue.dropped, 'packet')}{queue.dropping()}{beyond} {between(span)}"
        f"{waits}; they never left that interface: {owner.run(queue.look(vantage.interface))}"
    )


RULE = Rule((QDISC_DROPS,), find, place=63, needs=NEEDS)
