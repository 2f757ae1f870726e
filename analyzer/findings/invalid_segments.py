"""Connections of containers that the host reset, for it knew of none: neither end did.

A segment that connection tracking calls invalid (out of window, of a connection that it forgot)
is not translated: an answer, or what is for a published port, stays addressed to the host, whose
own stack has no such connection and sends an RST. Its addresses and ports outside tell whose it
was.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from analyzer.findings.counted import owned_spans
from analyzer.findings.ended_entries import HEARD_LATE_NS
from analyzer.findings.no_answer import has_address
from analyzer.findings.rule import FindingInputs
from analyzer.flows.endpoints import HOST
from analyzer.formatting.numbers import format_plural, format_time
from analyzer.model.nat_entries import ENDED
from analyzer.net.ip import TCP, address_text

_LOOK = (
    "sysctl -w net.netfilter.nf_conntrack_log_invalid=6 writes each to the kernel's log (dmesg); "
    "iptables -I INPUT -m conntrack --ctstate INVALID -j DROP keeps the host from answering"
)


_End = tuple[str, int]
"""address and port"""


class Unasked(NamedTuple):
    whose: str
    """the container; its address where the capture has no name for it"""
    text: str


def reset_unasked(
    inputs: FindingInputs, remote: str, port: int, reset_ns: int = 0
) -> Unasked | None:
    """Whose connection the host reset towards a remote end's port; None: one of its own.

    reset_ns: when it did; an entry that ended seconds later ended for it (a reset connection is
    kept for nf_conntrack_tcp_timeout_close, 10 s).
    """
    for row in inputs.flows.get("tcp", ()):
        ends = {row.client: (row.client_ip, row.client_port)}
        ends[row.server] = (row.server_ip, row.server_port)
        if not row.resets or set(ends) != {HOST, remote}:
            continue
        if port not in (row.client_port, row.server_port):
            continue
        for inner, netns, ended_ns in _entries(inputs, ends[remote], ends[HOST]):
            if inner[0] not in (ends[HOST][0], ends[remote][0]):
                known = ended_ns is not None and ended_ns < reset_ns + HEARD_LATE_NS
                before_ns = min(ended_ns or 0, reset_ns) if known else None
                return _unasked(inputs, inner, ends[HOST], netns, before_ns)
    return None


def _entries(
    inputs: FindingInputs, remote: _End, host: _End
) -> Iterator[tuple[_End, int, int | None]]:
    """(the end behind the host, namespace, when the entry ended, if it did) of connections that
    are between the remote end and the host outside: asked by the one behind it, or by the remote.
    """
    for entry, netns in zip(inputs.nat.rows[::-1], inputs.nat.netns[::-1].tolist(), strict=True):
        if entry["protocol"] != TCP:
            continue
        ended_ns = int(entry["ts_ns"]) if entry["what"] == ENDED else None
        if [_end(entry, "back_src"), _end(entry, "back_dst")] == [remote, host]:
            yield _end(entry, "src"), netns, ended_ns
        elif [_end(entry, "src"), _end(entry, "dst")] == [remote, host]:
            yield _end(entry, "back_src"), netns, ended_ns


def _end(entry: Any, name: str) -> _End:
    return address_text(entry[f"{name}_hi"], entry[f"{name}_lo"]), int(entry[f"{name}_port"])


def _unasked(
    inputs: FindingInputs, inner: _End, outer: _End, netns: int, ended_ns: int | None
) -> Unasked:
    whose = next(
        (v.container for v in inputs.outlook.vantages if v.container and has_address(v, inner[0])),
        inner[0],
    )
    spans = [s for s, owner in owned_spans(inputs) if owner.is_host and s.start.netns == netns]
    invalid = sum(span.grown("conntrack.invalid") for span in spans)
    if ended_ns is not None:
        return Unasked(
            whose,
            f"it is a connection of {whose} ({inner[0]}:{inner[1]}, translated to "
            f"{outer[0]}:{outer[1]}), and neither end reset it: connection tracking had forgotten "
            f"it by {format_time(ended_ns)} (idle for longer than its timeout, or deleted), what "
            "follows is not translated, and the host's own stack knows of no connection: "
            "keep-alives more often than sysctl net.netfilter.nf_conntrack_tcp_timeout_established",
        )
    counted = (
        f"connection tracking called {format_plural(invalid, 'packet')} invalid meanwhile"
        if invalid
        else "likely connection tracking called a segment invalid"
    )
    return Unasked(
        whose,
        f"it is a connection of {whose} ({inner[0]}:{inner[1]}, translated to "
        f"{outer[0]}:{outer[1]}), and neither end reset it: {counted}, such are not translated, "
        f"and the host's own stack knows of no connection: {_LOOK}",
    )
