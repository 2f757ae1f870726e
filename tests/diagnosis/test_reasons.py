"""What a kernel's drop reason means at its place."""

from __future__ import annotations

import pytest

from analyzer.diagnosis.reasons import full_reason


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
