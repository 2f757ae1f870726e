"""What queueing disciplines counted while a capture ran, and the losses that this explains. Pure.

Segments that a queue cuts from a large frame are other buffers than the frame's: the kernel's drop
of one cannot be tied to it. The queue's own counter tells.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from analyzer.diagnosis.reasons import QDISC_DROP, Place
from analyzer.formatting.numbers import format_bytes, format_plural
from analyzer.model.evidence import Evidence, Span
from analyzer.model.kernel_state import ClassState, QdiscState
from analyzer.model.report import LossRow
from analyzer.model.vantage import Role, Vantage

OF_FILTERS = ("clsact", "ingress")
"""kinds that have no queue: what they count is what filters drop"""
_UNKNOWN = "unknown"
_TIED = re.compile(rf"{QDISC_DROP} \((\d+) of \d+\)")
"""a reason of the kernel's alone, that some of the drops were tied to"""
_TOLD = 3
"""classes"""


class ClassCount(NamedTuple):
    """A class of a queueing discipline, and what it counted meanwhile."""

    state: ClassState
    dropped: int
    overlimits: int

    def name(self) -> str:
        """``class 1:10 of 2 Mbit/s``."""
        rate = f" of {rate_text(self.state.rate_bit_s)}" if self.state.rate_bit_s else ""
        return f"class {self.state.classid >> 16:x}:{self.state.classid & 0xFFFF:x}{rate}"


class Queue(Struct, frozen=True):
    """A queueing discipline as it stood at the end, and what it counted meanwhile."""

    qdisc: QdiscState
    dropped: int
    overlimits: int
    """times that it held something back"""
    classes: tuple[ClassCount, ...] = ()
    """those that were read at both ends, or are new"""

    def dropping(self) -> str:
        """`` in its class 1:10 of 2 Mbit/s (7)``, of all classes that dropped; '' where none is
        known to have."""
        return _in_classes([(one, one.dropped) for one in self.classes])

    def holding(self) -> str:
        """The same of those that held packets back."""
        return _in_classes([(one, one.overlimits) for one in self.classes])

    def look(self, interface: str) -> str:
        """The command that shows the counters."""
        return f"tc -s {'class' if self.classes else 'qdisc'} show dev {interface}"

    def name(self) -> str:
        """``queueing discipline tbf of 2 Mbit/s``."""
        rate = f" of {rate_text(self.qdisc.rate_bit_s)}" if self.qdisc.rate_bit_s else ""
        return f"queueing discipline {self.qdisc.kind}{rate}"

    def waiting(self) -> str:
        """``2 packets (3.00 kB) waited in it at the end``; '' where none did."""
        if not self.qdisc.queued:
            return ""
        packets = format_plural(self.qdisc.queued, "packet")
        return f"{packets} ({format_bytes(self.qdisc.backlog_bytes)}) waited in it at the end"


def _in_classes(counts: Sequence[tuple[ClassCount, int]]) -> str:
    told = sorted((pair for pair in counts if pair[1]), key=lambda pair: -pair[1])
    if not told:
        return ""
    listed = ", ".join(f"{one.name()} ({count:,})" for one, count in told[:_TOLD])
    more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    return f" in its {listed}{more}"


def queues_of(span: Span, ifindex: int) -> Iterator[Queue]:
    """All of an interface. What one that was not read at the start counted is not known."""
    before = {_key(one): one for one in span.start.qdiscs}
    known = "qdiscs" not in span.start.absent and "qdiscs" not in span.start.truncated
    for one in span.end.qdiscs:
        if one.ifindex == ifindex:
            old = before.get(_key(one), QdiscState() if known else one)
            dropped, over = one.dropped - old.dropped, one.overlimits - old.overlimits
            yield Queue(one, max(dropped, 0), max(over, 0), tuple(_classes(span, one)))


def _classes(span: Span, qdisc: QdiscState) -> Iterator[ClassCount]:
    """Of a queueing discipline. An inner class passes on what it is asked for by the classes below
    it, which are the ones that hold packets."""
    if any("classes" in m.absent or "classes" in m.truncated for m in (span.start, span.end)):
        return
    before = {(one.ifindex, one.classid): one for one in span.start.classes}
    here = [one for one in span.end.classes if one.ifindex == qdisc.ifindex]
    inner = {one.parent for one in here}
    for one in here:
        if one.classid >> 16 == qdisc.handle >> 16 and one.classid not in inner:
            old = before.get((one.ifindex, one.classid), ClassState())
            dropped, over = one.dropped - old.dropped, one.overlimits - old.overlimits
            yield ClassCount(one, max(dropped, 0), max(over, 0))


def dropping_queues(span: Span, ifindex: int) -> list[Queue]:
    """Those that dropped: the root, or else what hangs below. A root counts for its children."""
    grown = [queue for queue in queues_of(span, ifindex) if queue.dropped]
    return [queue for queue in grown if queue.qdisc.is_root] or grown


def span_of(evidence: Evidence, netns: int) -> Span | None:
    """Of a namespace; None where it was not read, or several had its number by and by."""
    spans = [span for span in evidence.spans() if span.start.netns == netns]
    return spans[0] if len(spans) == 1 else None


def explain_by_queues(
    rows: Sequence[LossRow], evidence: Evidence, vantages: Sequence[Vantage], engine: str
) -> list[LossRow]:
    """The losses, those before a queue that counted as many with its name.

    A queue takes a large frame (GSO) that it drops whole for one packet, and its segments are lost:
    of TCP, where the kernel told of drops in a queue and nowhere else, it may have counted fewer.
    """
    packets: Counter[str] = Counter()
    for row in rows:
        if _may_be_queued(row):
            packets[row.expected] += _least_counted(row)
    queues = {}
    for vantage in vantages:
        span = span_of(evidence, vantage.netns) if packets[vantage.name] else None
        dropping = dropping_queues(span, vantage.ifindex) if span else []
        dropping = [queue for queue in dropping if queue.qdisc.kind not in OF_FILTERS]
        if sum(queue.dropped for queue in dropping) * 1.01 >= packets[vantage.name] and dropping:
            queues[vantage.name] = dropping[0], vantage
    return [
        replace(row, reason=QDISC_DROP, advice=_told(row, *queues[row.expected], engine))
        if _may_be_queued(row) and row.expected in queues
        else row
        for row in rows
    ]


def _least_counted(row: LossRow) -> int:
    """So many drops a queue has counted at least, if it did this."""
    if row.protocol != "tcp" or not (tied := _TIED.fullmatch(row.reason)):
        return row.packets
    return int(tied[1])


def _may_be_queued(row: LossRow) -> bool:
    return row.reason == _UNKNOWN or row.reason.startswith(QDISC_DROP)


def _told(row: LossRow, queue: Queue, vantage: Vantage, engine: str) -> str:
    place = Place("host", engine=engine)
    if vantage.role is Role.CONTAINER:
        place = Place("inside", container=vantage.container, engine=engine)
    waits = f", {queue.waiting()}" if queue.qdisc.queued else ""
    whole = " (a frame of several segments is one)" if row.packets > queue.dropped * 1.01 else ""
    return (
        f"the {queue.name()} of {vantage.name} dropped {format_plural(queue.dropped, 'packet')}"
        f"{queue.dropping()} by its own counter{whole}{waits}: "
        f"{place.run(queue.look(vantage.interface))}"
    )


def rate_text(bit_s: int) -> str:
    """``2 Mbit/s``."""
    for scale, unit in ((10**9, "Gbit/s"), (10**6, "Mbit/s"), (10**3, "kbit/s")):
        if bit_s >= scale:
            return f"{bit_s / scale:g} {unit}"
    return f"{bit_s} bit/s"


def _key(one: QdiscState) -> tuple[int, str, int, int]:
    return (one.ifindex, one.kind, one.handle, one.parent)
