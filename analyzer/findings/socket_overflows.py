"""Servers that did not take what had reached them: listen queues and receive buffers overflowed.

The kernel counts both in the server's namespace, and for each socket. A SYN that meets a full
listen queue leaves no other trace: no tracepoint fires, and the client only sees that nobody
answers.
"""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.diagnosis.bound_elsewhere import endpoint
from analyzer.findings.counted import Owner, between, owned_spans, socket_drops
from analyzer.findings.rule import INFO, WARNING, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_bytes, format_plural
from analyzer.model.evidence import Span
from analyzer.model.kernel_state import SocketState
from analyzer.model.report import Finding

NEEDS = "counters (vethscope's own files)"
LISTEN_OVERFLOW = Code(
    "listen-overflow",
    (WARNING, INFO),
    "A listening socket's queue was full: connections that reached the server were not taken.",
    "nstat -az TcpExtListenOverflows and ss -ltn inside the server; a longer backlog, or accept "
    "faster",
)
RECEIVE_BUFFER_FULL = Code(
    "receive-buffer-full",
    (WARNING, INFO),
    "A UDP socket's receive buffer was full: datagrams that reached the server were dropped.",
    "nstat -az '*RcvbufErrors' and ss -lunm inside; a larger SO_RCVBUF, or read faster",
)
_TOLD = 3
"""sockets"""


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """Of the host's own sockets it is no warning: the capture may have nothing to do with them."""
    for span, owner in owned_spans(inputs):
        severity = INFO if owner.is_host else WARNING
        if count := span.grown("TcpExtListenOverflows"):
            yield LISTEN_OVERFLOW.finding(_listening(span, owner, count), severity)
        if count := span.grown("UdpRcvbufErrors") + span.grown("Udp6RcvbufErrors"):
            yield RECEIVE_BUFFER_FULL.finding(_receiving(span, owner, count), severity)


def _listening(span: Span, owner: Owner, count: int) -> str:
    guilty = socket_drops(span, "tcp")[:_TOLD]
    which = ", ".join(
        f"{endpoint(one)} dropped {drops:,} (at the end {one.queue} waited to be accepted, "
        f"backlog {one.limit})"
        for one, drops in guilty
    )
    return (
        f"the queue of a listening socket of {owner.name} was full {_times(count)} "
        f"{between(span)}: connection attempts that had reached it were not taken"
        f"{_told(which)}: {owner.run('nstat -az TcpExtListenOverflows TcpExtListenDrops')}; "
        f"{owner.run('ss -ltn')}"
    )


def _times(count: int) -> str:
    """``once``, ``12 times``."""
    return "once" if count == 1 else format_plural(count, "time")


def _receiving(span: Span, owner: Owner, count: int) -> str:
    which = ", ".join(_buffer(one, drops) for one, drops in socket_drops(span, "udp")[:_TOLD])
    return (
        f"{format_plural(count, 'UDP datagram')} that had reached {owner.name} "
        f"{'was' if count == 1 else 'were'} dropped {between(span)}, for the receive buffer of the "
        f"socket was full{_told(which)}: "
        f"{owner.run('nstat -az UdpRcvbufErrors Udp6RcvbufErrors')}; {owner.run('ss -aunm')}"
    )


def _buffer(one: SocketState, drops: int) -> str:
    size = f" (buffer {format_bytes(one.limit)})" if one.limit else ""
    return f"{endpoint(one)} dropped {drops:,}{size}"


def _told(which: str) -> str:
    return f"; {which}" if which else ""


RULE = Rule((LISTEN_OVERFLOW, RECEIVE_BUFFER_FULL), find, place=62, needs=NEEDS)
