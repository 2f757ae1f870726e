"""What a kernel's drop reason means at its place."""

from __future__ import annotations

import pytest

from analyzer.diagnosis.reasons import Packet, Place, advise, full_reason


@pytest.mark.parametrize(
    ("reason", "location", "full"),
    [
        ("NOT_SPECIFIED", "tbf_enqueue+0x192", "QDISC_DROP"),
        ("NOT_SPECIFIED", "fq_codel_enqueue.isra.0+0x10", "QDISC_DROP"),
        ("TC_EGRESS", "tbf_enqueue+0x192", "TC_EGRESS"),
        ("NOT_SPECIFIED", "__udp_enqueue_schedule_skb+0x10", "NOT_SPECIFIED"),
        ("NOT_SPECIFIED", "enqueue_to_backlog+0x10", "NOT_SPECIFIED"),
        ("NOT_SPECIFIED", "", "NOT_SPECIFIED"),
    ],
)
def test_a_function_tells_where_the_kernel_gives_no_reason(
    reason: str, location: str, full: str
) -> None:
    assert full_reason(reason, location) == full


@pytest.mark.parametrize(
    ("reason", "location", "meaning"),
    [
        ("NEIGH_CREATEFAIL", "ip_finish_output2+0x1", "the neighbour table had no room"),
        ("NEIGH_FAILED", "neigh_invalidate+0x1", "no answer to ARP for its next hop"),
        ("NOT_SPECIFIED", "ip_defrag+0x795", "fragments that could not be kept or put together"),
        ("NOT_SPECIFIED", "ip_error+0x1", "no route leads on, or one refuses it"),
        ("NOT_SPECIFIED", "tbf_enqueue+0x1", "the kernel's function tbf_enqueue dropped it"),
    ],
)
def test_what_a_reason_means(reason: str, location: str, meaning: str) -> None:
    assert advise(reason, location, Place("host", "veth1"), Packet("udp")).startswith(meaning)
