"""Receivers that do not read fast enough."""

from __future__ import annotations

from collections.abc import Iterator

from analyzer.findings.rule import INFO, Code, FindingInputs, Rule
from analyzer.formatting.numbers import format_ns
from analyzer.model.report import Finding

TCP_ZERO_WINDOW = Code(
    "tcp-zero-window",
    (INFO,),
    "A receiver announced that it has no room left.",
    "ss -tin at the receiver; its process does not read fast enough",
)


def find(inputs: FindingInputs) -> Iterator[Finding]:
    """One a service and client: on a fast link any reader is too slow now and then."""
    full: dict[tuple[str, str, int], tuple[int, int]] = {}
    for row in inputs.flows.get("tcp", ()):
        if row.zero_windows:
            key = (row.client, row.server, row.server_port)
            times, longest_ns = full.get(key, (0, 0))
            full[key] = times + row.zero_windows, max(longest_ns, row.zero_window_ns or 0)
    for (client, server, port), (times, longest_ns) in full.items():
        stalled = f", for up to {format_ns(longest_ns)}" if longest_ns else ""
        yield TCP_ZERO_WINDOW.finding(
            f"{client} → {server} TCP port {port}: the window was full {times}×{stalled}, "
            "a receiver does not read fast enough"
        )


RULE = Rule((TCP_ZERO_WINDOW,), find, place=140)
