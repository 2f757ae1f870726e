"""What a queueing discipline dropped, by its own counter."""

from __future__ import annotations

from evidence_samples import PID, WHEN, moments, seen, texts
from msgspec.structs import replace

from analyzer.findings.qdisc_drops import find
from analyzer.model.kernel_state import TC_ROOT, QdiscState

TBF = QdiscState(5, "tbf", 1 << 16, TC_ROOT, 90, 2, 7, 0, 0, 1_000_000)


def test_a_queueing_discipline_with_its_rate() -> None:
    later = replace(TBF, dropped=9, overlimits=20, queued=2, backlog_bytes=3000)
    assert texts(find, seen(moments({"qdiscs": (TBF,)}, {"qdiscs": (later,)}))) == [
        "qdisc-drops the queueing discipline tbf of 1 Mbit/s of tomcat01:eth0 dropped 7 packets "
        f"(overlimits 13) {WHEN}, 2 packets (3.00 kB) waited in it at the end; they never left "
        f"that interface: nsenter -n -t {PID} tc -s qdisc show dev eth0"
    ]


def test_children_are_not_counted_beside_their_root() -> None:
    root = replace(TBF, kind="htb", rate_bit_s=0)
    child = QdiscState(5, "pfifo", 2 << 16, 1 << 16 | 1)
    start = {"qdiscs": (root, child)}
    both = {"qdiscs": (replace(root, dropped=5), replace(child, dropped=3))}
    (text,) = texts(find, seen(moments(start, both)))
    assert "discipline htb of tomcat01:eth0 dropped 3 packets" in text
    below = {"qdiscs": (root, replace(child, dropped=3))}
    (text,) = texts(find, seen(moments(start, below)))
    assert "discipline pfifo of tomcat01:eth0 dropped 3 packets" in text


def test_a_device_that_nobody_captured_is_no_matter() -> None:
    later = replace(TBF, ifindex=6, dropped=9)
    assert texts(find, seen(moments({}, {"qdiscs": (later,)}))) == []


def test_what_a_qdisc_dropped_before_an_unread_start_is_not_counted() -> None:
    start = {"absent": {"qdiscs": "Operation not supported"}}
    assert texts(find, seen(moments(start, {"qdiscs": (TBF,)}))) == []


def test_filters_drop_on_the_way_in_as_well() -> None:
    filters = QdiscState(5, "clsact", 0xFFFF << 16)
    later = replace(filters, dropped=3)
    assert texts(find, seen(moments({"qdiscs": (filters,)}, {"qdiscs": (later,)}))) == [
        f"qdisc-drops tc filters of tomcat01:eth0 (clsact) dropped 3 packets {WHEN}, on their way "
        f"in or out: nsenter -n -t {PID} tc -s filter show dev eth0 ingress; "
        f"nsenter -n -t {PID} tc -s filter show dev eth0 egress"
    ]
