"""What a kernel's drop reason means at its place."""

from __future__ import annotations

import pytest

from analyzer.diagnosis.reasons import Packet, Place, advise, full_reason, is_harmless


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


@pytest.mark.parametrize(
    ("reason", "location", "protocol", "harmless"),
    [
        ("SOCKET_FILTER", "udp_queue_rcv_one_skb+0x1", "udp", False),
        ("SOCKET_FILTER", "tcp_v4_rcv+0x1", "tcp", False),
        ("SOCKET_FILTER", "raw_rcv+0x1", "icmp", True),
        ("SOCKET_FILTER", "packet_rcv+0x1", "udp", True),
        ("TCP_MD5NOTFOUND", "tcp_v4_rcv+0x1", "tcp", False),
        ("TCP_AOKEYNOTFOUND", "tcp_v4_rcv+0x1", "tcp", False),
        ("TCP_OLD_DATA", "tcp_data_queue+0x1", "tcp", True),
    ],
)
def test_which_drops_are_everydays(
    reason: str, location: str, protocol: str, harmless: bool
) -> None:
    assert is_harmless(reason, location, protocol, opens=False) is harmless


def test_where_the_hop_limit_ran_out() -> None:
    here, at = Place("host", "veth1"), "ip_forward+0x2c0"
    one = advise("IP_INHDR", at, here, Packet("icmp", ttl=1, destination_ip="198.51.100.2"))
    assert one.startswith("its hop limit ran out at this router (TTL 1 on arrival)")
    lowered = advise("IP_INHDR", at, here, Packet("icmp", ttl=64))
    assert lowered.startswith("its hop limit ran out at this router, and was 64 where it was seen")
    assert "a rule lowers it (-j TTL, -j HL): iptables -t mangle -S" in lowered


def test_a_clients_port_is_none_that_somebody_listens_on() -> None:
    here = Place("inside", container="c1")
    late = advise("NO_SOCKET", "", here, Packet("udp", port=40_000, source_port=53))
    assert late.startswith("no socket takes answers to udp port 40000 there: it is closed by now")
    asked = advise("NO_SOCKET", "", here, Packet("udp", port=53, source_port=40_000))
    assert asked.startswith("nobody listens on udp port 53 there")
