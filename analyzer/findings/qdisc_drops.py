"""Packets that a queueing discipline of a captured interface dropped, by its own counter.

Egress taps sit behind the queue, so what is dropped there is never seen at that interface. A
classful root counts what its children drop, too: they are asked only where it counted nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.counted import Owner, between, owned_spans, vantage_at
from analyzer.findings.rule import WARNING, Code, FindingInputs, Rule
from analyzer.findings.socket_overflows import NEEDS
from analyzer.formatting.numbers import format_bytes, format_plural
from analyzer.model.evidence import Span
from analyzer.model.kernel_state import QdiscState
from analyzer.model.report import Finding
from analyzer.model.vantage import Vantage

QDISC_DROPS = Code(
    "qdisc-drops",
    (WARNING,),
    "A queueing discipline of a captured interface dropped packets.",
    "tc -s qdisc show dev DEVICE; a higher rate, a longer queue, or less traffic",
)


_OF_FILTERS = ("clsact", "ingress")
"""they hold filters and no queue, and count what those drop"""


def find(inputs: FindingInputs) -> Iterator[Finding]:
    for span, owner in owned_spans(inputs):
        for ifindex in {qdisc.ifindex: None for qdisc in span.end.qdiscs}:
            vantage = vantage_at(inputs, span.end.netns, ifindex)
            if vantage is None:
                continue
            for qdisc, drops, over in _dropping(span, ifindex):
                yield QDISC_DROPS.finding(_text(span, owner, vantage, (qdisc, drops, over)))


def _dropping(span: Span, ifindex: int) -> list[tuple[QdiscState, int, int]]:
    """(qdisc, drops, overlimits) of the root, or else of what hangs below."""
    before = {_key(one): one for one in span.start.qdiscs}
    recorded = "qdiscs" not in span.start.absent and "qdiscs" not in span.start.truncated
    grown = []
    for one in span.end.qdiscs:
        old = before.get(_key(one), QdiscState() if recorded else one)
        if one.ifindex == ifindex and one.dropped > old.dropped:
            over = max(one.overlimits - old.overlimits, 0)
            grown.append((one, one.dropped - old.dropped, over))
    roots = [row for row in grown if row[0].is_root]
    return roots or grown


def _key(one: QdiscState) -> tuple[int, str, int, int]:
    return (one.ifindex, one.kind, one.handle, one.parent)


def _text(span: Span, owner: Owner, vantage: Vantage, row: tuple[QdiscState, int, int]) -> str:
    qdisc, drops, over = row
    rate = f" of {_rate(qdisc.rate_bit_s)}" if qdisc.rate_bit_s else ""
    waits = (
        f", {format_plural(qdisc.queued, 'packet')} ({format_bytes(qdisc.backlog_bytes)}) waited "
        "in it at the end"
        if qdisc.queued
        else ""
    )
    beyond = f" (overlimits {over:,})" if over else ""
    if qdisc.kind in _OF_FILTERS:
        looks = (
            f"tc -s filter show dev {vantage.interface} {way}" for way in ("ingress", "egress")
        )
        return (
            f"tc filters of {vantage.name} ({qdisc.kind}) dropped {format_plural(drops, 'packet')} "
            f"{between(span)}, on their way in or out: {'; '.join(map(owner.run, looks))}"
        )
    return (
        f"the queueing discipline {qdisc.kind}{rate} of {vantage.name} dropped "
        f"{format_plural(drops, 'packet')}{beyond} {between(span)}{waits}; they never left that "
        f"interface: {owner.run(f'tc -s qdisc show dev {vantage.interface}')}"
    )


def _rate(bit_s: int) -> str:
    for scale, unit in ((10**9, "Gbit/s"), (10**6, "Mbit/s"), (10**3, "kbit/s")):
        if bit_s >= scale:
            return f"{bit_s / scale:g} {unit}"
    return f"{bit_s} bit/s"


RULE = Rule((QDISC_DROPS,), find, place=63, needs=NEEDS)
