"""Queueing disciplines that let go at a set rate: how long one may hold a packet. Pure.

The recorded state tells the rate and what may wait. One of classes (htb) gives each of them its own
rate at least, as long as those above it have as much to give as is promised below them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct, field

from analyzer.correlate.stages import QUEUE_NS
from analyzer.diagnosis.queueing import OF_FILTERS
from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.kernel_state import ClassState, QdiscState
from analyzer.recorders.evidence.record import decode_evidence

Key = tuple[int, int]
"""(netns, ifindex)"""
_MOST_NS = 60_000_000_000
"""no match is made over a longer time"""
_USUAL_BYTES = 1000 * 1514
"""what waits in a class that has no queueing discipline of its own: as many full frames as a veth's
txqueuelen"""
_IN_ORDER = ("tbf", "pfifo", "bfifo")
"""kinds that send in the order in which packets came, as long as no other hangs below"""
_IN_ORDER_BY_FLOW = (
    *("htb", "hfsc", "drr", "qfq", "fq", "fq_codel", "codel", "sfq", "red", "pie", "cake"),
)
"""not those that look at the type of service, which a flow may change (pfifo_fast, prio)"""
_QDISCS = b'"qdiscs"'


class SlowQueue(NamedTuple):
    """What lets packets go in front of an interface."""

    rate_bit_s: int
    """at which what waits is let go at least"""
    most_ns: int
    """how long a packet may wait"""
    in_order: bool = False
    """packets leave as they came"""

    def with_other(self, other: SlowQueue) -> SlowQueue:
        """What holds of both: one queue at two times."""
        return SlowQueue(
            min(self.rate_bit_s, other.rate_bit_s),
            max(self.most_ns, other.most_ns),
            self.in_order and other.in_order,
        )


class SlowQueues(Struct):
    """All that the blocks of evidence that were read so far tell of."""

    queues: dict[Key, SlowQueue] = field(default_factory=dict)
    _read: int = 0
    """blocks"""

    @property
    def patience_ns(self) -> Mapping[Key, int]:
        """How long a packet is waited for."""
        return {key: min(max(q.most_ns, QUEUE_NS), _MOST_NS) for key, q in self.queues.items()}

    def learn(self, blocks: Sequence[bytes]) -> None:
        """Of what was read, those that are new are looked at; of a queue that was changed meanwhile
        the longest time holds."""
        fresh = blocks[self._read :]
        self._read += len(fresh)
        moments = decode_evidence(one for one in fresh if _QDISCS in one).moments
        for key, queue in (pair for moment in moments for pair in _slow_queues(moment)):
            self.queues[key] = queue.with_other(self.queues.get(key, queue))


def _slow_queues(moment: NamespaceEvidence) -> Iterator[tuple[Key, SlowQueue]]:
    for ifindex in dict.fromkeys(one.ifindex for one in moment.qdiscs):
        here = waiting_rooms(moment.qdiscs, ifindex)
        rate = min((one.rate_bit_s for one in here if one.rate_bit_s), default=0)
        classes = [one for one in moment.classes if one.ifindex == ifindex]
        rate = min(filter(None, (rate, _least_rate(classes))), default=0)
        if rate:
            limits = [one.limit_bytes for one in here]
            room = limits[0] if len(here) == 1 and limits[0] else max(_USUAL_BYTES, *limits)
            wait_ns = room * 8 * 10**9 // rate
            yield (moment.netns, ifindex), SlowQueue(rate, wait_ns, is_in_order(here))


def waiting_rooms(qdiscs: Iterable[QdiscState], ifindex: int) -> list[QdiscState]:
    """Those of an interface in which packets may wait."""
    return [one for one in qdiscs if one.ifindex == ifindex and one.kind not in OF_FILTERS]


def is_in_order(queues: Sequence[QdiscState]) -> bool:
    """Whether packets leave an interface as they came."""
    return len(queues) == 1 and queues[0].kind in _IN_ORDER


def keeps_flows_in_order(queues: Sequence[QdiscState]) -> bool:
    """Whether at least the packets of each flow do."""
    return all(one.kind in _IN_ORDER + _IN_ORDER_BY_FLOW for one in queues)


def _least_rate(classes: Sequence[ClassState]) -> int:
    """Bits a second that each class gets at least; 0 where none tells."""
    by_id = {one.classid: one for one in classes if one.rate_bit_s}
    below: dict[int, int] = {}
    for one in by_id.values():
        below[one.parent] = below.get(one.parent, 0) + one.rate_bit_s
    least = [_share(one, by_id, below) for one in by_id.values() if one.classid not in below]
    return int(min(least, default=0))


def _share(leaf: ClassState, by_id: Mapping[int, ClassState], below: Mapping[int, int]) -> float:
    """Of a class: less than its rate where one above it promises more than it has."""
    rate, parent = float(leaf.rate_bit_s), by_id.get(leaf.parent)
    for _ in range(len(by_id)):  # a file may tell of a circle
        if parent is None:
            break
        rate *= min(1.0, parent.rate_bit_s / below[parent.classid])
        parent = by_id.get(parent.parent)
    return max(rate, 1.0)
