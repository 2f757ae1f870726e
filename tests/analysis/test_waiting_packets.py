"""What waits in a queue is not lost, however long; what was lost before a queue is told."""

from __future__ import annotations

from collections.abc import Sequence

from frames_report import report_on_frames
from msgspec.structs import replace
from world import HOST_NS, World

from analyzer.analysis.notes import VantageNotes
from analyzer.model.evidence import NamespaceEvidence
from analyzer.model.kernel_state import TC_ROOT, ClassState, QdiscState
from analyzer.model.report import Report

S, MS_US, S_US = 1_000_000_000, 1_000, 1_000_000
PORT = 12
"""ifindex of the port of c1"""
TBF = QdiscState(PORT, "tbf", parent=TC_ROOT, rate_bit_s=256_000, limit_bytes=1_000_000)
"""lets a packet wait for 31 s at most"""
HTB = (
    QdiscState(PORT, "htb", 0x10000, TC_ROOT),
    QdiscState(PORT, "bfifo", 0x100000, 0x10001),
)
CLASSES = (
    ClassState(PORT, "htb", 0x10001, TC_ROOT, rate_bit_s=64_000),
    ClassState(PORT, "htb", 0x10002, TC_ROOT, rate_bit_s=64_000),
)


def waiting(queues: Sequence[QdiscState], queued: int, end_s: int) -> list[NamespaceEvidence]:
    """How the queues stood at both ends; so many packets waited at the second one."""
    classes = CLASSES if queues[0].kind == "htb" else ()
    start = NamespaceEvidence(HOST_NS, 1, True, 1, qdiscs=tuple(queues), classes=classes)
    full = tuple(replace(one, queued=queued if one.parent == TC_ROOT else 0) for one in queues)
    return [start, replace(start, at_start=False, ts_ns=end_s * S - 1, qdiscs=full)]


def told(world: World, end_s: int, evidence: Sequence[NamespaceEvidence]) -> Report:
    """Of what was seen until then."""
    world.rows = [row for row in world.rows if row["ts_ns"] < end_s * S]
    for row in world.rows:
        row.update(ethertype=0x0800, ip_version=4, protocol=17, l4_offset=34, wirelen=3200)
    notes = [VantageNotes(start_ns=1, end_ns=end_s * S, ended=True) for _ in world.vantages]
    return report_on_frames(world.frames(), world.vantages, notes, evidence=evidence)


def lost(report: Report) -> int:
    return sum(row.packets for row in report.losses)


def through_a_long_queue(*, without: Sequence[int] = ()) -> World:
    """Ten packets a second, each of which waits for 20 s, but for those that never come to it."""
    world = World(qdisc="tbf")
    for n in range(400):
        upto = 2 if n in without else 5
        world.send(0, 1, n * 100 * MS_US, key=n + 1, hop_us=(5, 20 * S_US, 2), upto=upto)
    return world


def test_what_waits_for_twenty_seconds_is_not_lost() -> None:
    report = told(through_a_long_queue(), 40, waiting([TBF], 200, 40))
    assert not report.losses
    (hop,) = (one for one in report.hops if one.kind == "bridge" and one.packets)
    assert hop.p50_ns == 20 * S


def test_neither_where_nothing_tells_of_the_end() -> None:
    """Of a capture that was killed."""
    assert not told(through_a_long_queue(), 40, waiting([TBF], 200, 40)[:1]).losses


def test_what_was_lost_in_front_of_a_long_queue_is_told() -> None:
    world = through_a_long_queue(without=[50, 60, 190, 250])
    assert lost(told(world, 40, waiting([TBF], 200, 40))) == 3  # the last one might wait still


def test_nothing_waits_where_nothing_leaves_for_longer_than_one_packet_takes() -> None:
    world = World(qdisc="tbf")
    for n in range(30):
        world.send(0, 1, n * S_US, key=n + 1, upto=2)
    assert lost(told(world, 30, waiting([TBF], 0, 30)[:1])) == 30


def test_a_class_may_wait_while_another_is_served() -> None:
    """Its flow has nothing that left; of the other one packet is missing in between."""
    world = World(containers=3, qdisc="htb")
    for n in range(100):
        world.send(0, 1, n * 100 * MS_US, key=n + 1, hop_us=(5, 100, 2), upto=2 if n == 50 else 5)
    for n in range(50):
        world.send(2, 1, 20 + n * 100 * MS_US, key=1000 + n, upto=2)
    for row in world.rows:
        row["src_lo"] = row["eth_src"]
    assert lost(told(world, 10, waiting(HTB, 50, 10))) == 1


def test_more_are_missing_than_wait() -> None:
    world = World(qdisc="fq_codel")
    for n in range(5):
        world.send(0, 1, (9 * 1000 + n) * MS_US, key=n + 1, upto=2)
    queue = QdiscState(PORT, "fq_codel", 0x10000, TC_ROOT)
    assert lost(told(world, 10, waiting([queue], 3, 10))) == 2
    assert lost(told(world, 10, waiting([queue], 5, 10))) == 0
