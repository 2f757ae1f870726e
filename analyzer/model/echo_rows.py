"""Rows of ICMP echoes: a request, its reply, and what lies between.

The field names are JSON keys; times are integer nanoseconds; None means: not known or not
applicable, never 0.
"""

from __future__ import annotations

from msgspec import Struct, field


class EchoHop(Struct):
    from_: str
    to: str
    kind: str
    delay_ns: int | None
    """None where the file tells no time of one of its ends"""


class Echo(Struct):
    seq: int
    rtt_ns: int | None
    turnaround_ns: int | None
    request_hops: list[EchoHop]
    reply_hops: list[EchoHop]
    lost_after: str | None
    """last vantage of the path that saw the request or the reply, where it was not answered"""
    lost: str | None = None
    """'request' or 'reply', where the topology says that one was lost"""
    ts_ns: int | None = None
    process_rtt_ns: int | None = None
    """what the pinging process measured, where it was our own"""
    ttl: int | None = None
    """of the reply as the asker received it"""


class EchoProcess(Struct):
    """What the pinging process itself saw, beside the wire."""

    received: int
    """answers that it got"""
    rtt_p50_ns: int | None
    """None where it got none"""


class IcmpRow(Struct):
    source: str
    destination: str
    source_ip: str
    destination_ip: str
    id: int
    sent: int
    answered: int
    lost: int
    duplicates: int
    rtt_min_ns: int | None
    rtt_p50_ns: int | None
    rtt_p99_ns: int | None
    rtt_max_ns: int | None
    turnaround_p50_ns: int | None
    echoes: list[Echo] = field(default_factory=list)
    measured_at: str = ""
    """the vantage at which the RTT was taken (the asker's own interface where captured)"""
    unmatched: int = 0
    """neither answered nor provably lost: sent too close to the capture's end, or frames dropped"""
    process_rtt_p50_ns: int | None = None
    payload_len: int = 0
    turnaround_at: str = ""
    """the vantage nearest to the answering end, at which the turnaround was taken"""
    turnaround_inside: bool = False
    """whether that is the answering end's own interface: else the turnaround is all beyond it"""
    own: bool = False
    """whether it is the echo that ``vethscope ping`` sent"""
    process: EchoProcess | None = None
    """what the pinging process saw, where it was our own"""
