"""A hop that a queueing discipline makes slow, by its own counter."""

from __future__ import annotations

from typing import Any

import polars as pl
from evidence_samples import HOST, moments, seen, texts
from finding_inputs import PORTS
from msgspec.structs import replace

from analyzer.diagnosis.queueing import explain_by_queues
from analyzer.diagnosis.reasons import Packet
from analyzer.diagnosis.settings import Scene, explain_veth
from analyzer.findings.slow_hop import find
from analyzer.model.kernel_state import TC_ROOT, QdiscState
from analyzer.model.report import LossRow

MS = 1_000_000
TBF = QdiscState(12, "tbf", 1 << 16, TC_ROOT, 90, 2, 7, 0, 0, 2_000_000)
LATER = replace(TBF, dropped=9, overlimits=20, queued=2, backlog_bytes=3000)
HELD = moments({"qdiscs": (TBF,)}, {"qdiscs": (LATER,)}, HOST)
SIZES = (1418, 1514, 2962)
LOSS = LossRow("tcp", "tomcat01", "tomcat02", "veth1", "veth2", 7, "unknown", "in docker0", "?")


def hops(**values: Any) -> pl.DataFrame:
    row = {"protocol": "tcp", "source": "tomcat01", "destination": "tomcat02", "from": 0, "to": 1}
    return pl.DataFrame([{**row, "packets": 5, "p50_ns": 200 * MS, "max_ns": 400 * MS, **values}])


def test_the_queue_is_named_with_its_rate_backlog_and_drops() -> None:
    assert texts(find, seen(HELD, hops=hops())) == [
        "slow-hop tomcat01 → tomcat02 tcp: the hop veth1 → veth2 takes 200 ms (p50; max 400 ms); "
        "the queueing discipline tbf of 2 Mbit/s there held packets back 13× and dropped 7, "
        "2 packets (3.00 kB) waited in it at the end: tc -s qdisc show dev veth2"
    ]


def test_a_fast_hop_a_quiet_queue_and_none_are_no_matter() -> None:
    assert texts(find, seen(HELD, hops=hops(p50_ns=90_000))) == []
    assert texts(find, seen(HELD, hops=hops(to=2))) == []
    assert texts(find, seen(HELD)) == []
    quiet = moments({"qdiscs": (TBF,)}, {"qdiscs": (TBF,)}, HOST)
    assert texts(find, seen(quiet, hops=hops())) == []


def explained(*rows: LossRow) -> list[str]:
    given = seen(HELD)
    told = explain_by_queues(rows, given.evidence, given.outlook.vantages, "docker")
    return [row.reason for row in told]


def test_losses_that_the_queue_counted_are_its_own() -> None:
    assert explained(LOSS) == ["QDISC_DROP"]
    assert explained(replace(LOSS, reason="QDISC_DROP (1 of 7)")) == ["QDISC_DROP"]


def test_more_than_it_counted_or_elsewhere_or_explained_is_not() -> None:
    assert explained(replace(LOSS, packets=8)) == ["unknown"]
    assert explained(replace(LOSS, packets=4), replace(LOSS, packets=4)) == ["unknown"] * 2
    assert explained(replace(LOSS, expected="veth1")) == ["unknown"]
    assert explained(replace(LOSS, reason="NETFILTER_DROP")) == ["NETFILTER_DROP"]


def test_a_frame_of_several_segments_is_one_to_the_counter() -> None:
    """Of TCP, where the kernel told of drops in queues alone."""
    some = replace(LOSS, packets=30, reason="QDISC_DROP (5 of 30)")
    given = seen(HELD)
    (told,) = explain_by_queues([some], given.evidence, given.outlook.vantages, "docker")
    assert told.reason == "QDISC_DROP"
    assert "dropped 7 packets by its own counter (a frame of several segments is one)" in (
        told.advice
    )
    assert explained(replace(some, protocol="udp")) == [some.reason]
    assert explained(replace(some, reason="QDISC_DROP (8 of 30)")) == ["QDISC_DROP (8 of 30)"]
    both = "QDISC_DROP (5 of 30), NETFILTER_DROP (3 of 30)"
    assert explained(replace(some, reason=both)) == [both]


def test_filters_are_no_queue() -> None:
    start, end = (replace(one, kind="clsact", parent=0xFFFFFFF1) for one in (TBF, LATER))
    given = seen(moments({"qdiscs": (start,)}, {"qdiscs": (end,)}, HOST))
    told = explain_by_queues([LOSS], given.evidence, given.outlook.vantages, "docker")
    assert [row.reason for row in told] == ["unknown"]


def test_no_mtu_is_blamed_for_a_frame_that_is_cut() -> None:
    """Larger than the interface it came from takes: its segments are not."""
    wide, narrow = (replace(one, mtu=mtu) for one, mtu in zip(PORTS, (1500, 1400), strict=True))
    scene = Scene([wide, narrow])
    told = [explain_veth(wide, narrow, Packet("tcp", len_bytes=size), scene) for size in SIZES]
    assert [one is not None for one in told] == [False, True, False]
