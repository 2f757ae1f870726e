"""Connections of containers that the host reset, for it knew of none: neither end did.

A segment that connection tracking calls invalid (out of window, of a connection that it forgot)
is not translated: an answer stays addressed to the host, whose own stack has no such connection
and sends an RST. Its addresses and ports after NAT tell whose connection it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from analyzer.findings.counted import owned_spans
from analyzer.findings.no_answer import has_address
from analyzer.findings.rule import FindingInputs
from analyzer.flows.endpoints import HOST
from analyzer.formatting.numbers import format_plural
from analyzer.net.ip import TCP, address_text

_LOOK = (
    "sysctl -w net.netfilter.nf_conntrack_log_invalid=6 writes each to the kernel's log (dmesg); "
    "iptables -I INPUT -m conntrack --ctstate INVALID -j DROP keeps the host from answering"
)


class Unasked(NamedTuple):
    whose: str
    """the container; its address where the capture has no name for it"""
    text: str


def reset_unasked(inputs: FindingInputs, remote: str, port: int) -> Unasked | None:
    """Whose connection the host reset towards a remote end's port; None: one of its own."""
    for row in inputs.flows.get("tcp", ()):
        ends = {row.client: (row.client_ip, row.client_port)}
        ends[row.server] = (row.server_ip, row.server_port)
        if not row.resets or set(ends) != {HOST, remote}:
            continue
        if port not in (row.client_port, row.server_port):
            continue
        for entry, netns in _entries(inputs, ends[remote], ends[HOST]):
            inner = address_text(entry["src_hi"], entry["src_lo"])
            if inner not in (ends[HOST][0], ends[remote][0]):
                return _unasked(inputs, (inner, int(entry["src_port"])), ends[HOST], netns)
    return None


def _entries(
    inputs: FindingInputs, remote: tuple[str, int], host: tuple[str, int]
) -> Iterator[tuple[Any, int]]:
    """(connection whose answers go from the one to the other, its namespace)."""
    for entry, netns in zip(inputs.nat.rows, inputs.nat.netns.tolist(), strict=True):
        if entry["protocol"] != TCP:
            continue
        back = [
            (
                address_text(entry[f"back_{end}_hi"], entry[f"back_{end}_lo"]),
                entry[f"back_{end}_port"],
            )
            for end in ("src", "dst")
        ]
        if back == [remote, host]:
            yield entry, netns


def _unasked(
    inputs: FindingInputs, inner: tuple[str, int], outer: tuple[str, int], netns: int
) -> Unasked:
    whose = next(
        (v.container for v in inputs.outlook.vantages if v.container and has_address(v, inner[0])),
        inner[0],
    )
    spans = [s for s, owner in owned_spans(inputs) if owner.is_host and s.start.netns == netns]
    invalid = sum(span.grown("conntrack.invalid") for span in spans)
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
