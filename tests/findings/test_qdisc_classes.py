"""The class of a queueing discipline in which packets were dropped, or held back."""

from __future__ import annotations

import re

import polars as pl
import pytest
from evidence_samples import PID, WHEN, moments, seen, texts
from faulty import Bench, the_loss
from msgspec.structs import replace

from analyzer.diagnosis.queueing import queues_of
from analyzer.findings import qdisc_drops, slow_hop
from analyzer.model.kernel_state import TC_ROOT, ClassState, QdiscState

MBIT = 1_000_000
HTB = QdiscState(5, "htb", 1 << 16, TC_ROOT, 90, 2, 7)
INNER = ClassState(5, "htb", 1 << 16 | 1, 0, 90, overlimits=1, rate_bit_s=100 * MBIT)
SLOW = ClassState(5, "htb", 1 << 16 | 0x10, 1 << 16 | 1, 50, 2, 7, rate_bit_s=MBIT)
FAST = replace(SLOW, classid=1 << 16 | 0x20, dropped=0, rate_bit_s=50 * MBIT)
START = {"qdiscs": (HTB,), "classes": (INNER, SLOW, FAST)}
END = {
    "qdiscs": (replace(HTB, dropped=9, overlimits=30),),
    "classes": (replace(INNER, overlimits=9), replace(SLOW, dropped=9, overlimits=30), FAST),
}
HELD = moments(START, END)


def test_the_class_is_named_where_packets_were_dropped() -> None:
    assert texts(qdisc_drops.find, seen(HELD)) == [
        "qdisc-drops the queueing discipline htb of tomcat01:eth0 dropped 7 packets in its class "
        f"1:10 of 1 Mbit/s (7) (overlimits 23) {WHEN}; they never left that interface: "
        f"nsenter -n -t {PID} tc -s class show dev eth0"
    ]


def test_the_class_is_named_that_held_packets_back() -> None:
    row = {"protocol": "tcp", "source": "a", "destination": "b", "from": 0, "to": 3}
    hops = pl.DataFrame([{**row, "packets": 5, "p50_ns": 200 * MBIT, "max_ns": 400 * MBIT}])
    (text,) = texts(slow_hop.find, seen(HELD, hops=hops))
    assert "htb there held packets back 23× in its class 1:10 of 1 Mbit/s (23)" in text


def test_of_several_the_worst_comes_first() -> None:
    both = END | {"classes": (replace(SLOW, dropped=3), replace(FAST, dropped=6))}
    (text,) = texts(qdisc_drops.find, seen(moments(START, both)))
    assert "in its class 1:20 of 50 Mbit/s (6), class 1:10 of 1 Mbit/s (1) (overlimits" in text


def test_classes_that_were_not_read_are_not_named() -> None:
    for absent in ({"absent": {"classes": "no"}}, {"truncated": {"classes": 9}}):
        (span,) = moments({**START, **absent}, END).spans()
        (queue,) = queues_of(span, 5)
        assert (queue.classes, queue.dropping()) == ((), "")
    other = replace(SLOW, classid=2 << 16 | 0x10, dropped=9)
    (span,) = moments(START, END | {"classes": (other,)}).spans()
    (queue,) = queues_of(span, 5)
    assert queue.classes == ()


@pytest.mark.root
def test_a_class_that_is_too_narrow(bench: Bench) -> None:
    """Echoes go through a narrow class with a short queue, all else through a wide one."""
    device = bench.veth("tomcat02")
    bench.host(
        f"tc qdisc add dev {device} root handle 1: htb default 20;"
        f"tc class add dev {device} parent 1: classid 1:1 htb rate 100mbit;"
        f"tc class add dev {device} parent 1:1 classid 1:10 htb rate 1mbit burst 2k;"
        f"tc class add dev {device} parent 1:1 classid 1:20 htb rate 50mbit;"
        f"tc qdisc add dev {device} parent 1:10 pfifo limit 3;"
        f"tc filter add dev {device} parent 1: protocol ip u32 match ip protocol 1 0xff flowid 1:10"
    )

    def burst() -> None:
        bench.inside("tomcat01", "ping -q -c20 -l20 -s1400 -W.5 172.17.0.3", check=False)

    report = bench.capture(["tomcat01", "tomcat02"], burst)
    shown = bench.host(f"tc -s class show dev {device} classid 1:10")
    dropped = int(re.findall(r"dropped (\d+)", shown)[0])
    row = the_loss(report)
    assert row.packets == dropped > 0
    assert f" dropped {dropped} packets in its class 1:10 of 1 Mbit/s ({dropped}) by " in row.advice
    assert row.advice.endswith(f": tc -s class show dev {device}")
