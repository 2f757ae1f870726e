"""What stands out in the flows. Pure; of many findings of one kind only the first are told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from analyzer.model.report import ArpRow, Finding, Report, TcpRow

MOST = 5
"""findings of one code; those behind them are counted"""


_ADVICE = {
    "network unreachable": "no route there: ip route get ADDRESS",
    "host unreachable": "nobody answers ARP there: ip neigh show",
    "port unreachable": "nobody listens there (ss -lunp), or a rule with REJECT",
    "fragmentation needed": "larger than an MTU on the way, with DF set: ip link show",
    "packet too big": "larger than an MTU on the way: ip link show",
    "TTL exceeded": "the hop limit ran out there, or a loop: ip route get ADDRESS",
    "hop limit exceeded": "it ran out there, or a loop: ip -6 route get ADDRESS",
    "reassembly time exceeded": "fragments were lost: nstat -az 'IpReasm*'",
    "redirect": "a better router in the same network: ip route show",
}
"""error → what it means, and the command to look further"""
_PROHIBITED = "a rule with REJECT: iptables -nvL"


def find_in_flows(report: Report) -> list[Finding]:
    """The findings, by kind."""
    kinds = (
        ("error", "nd-conflict", _conflicts(report.nd)),
        ("warning", "icmp-error", _errors(report)),
        ("warning", "tcp-unanswered", _tcp(report.tcp, "unanswered", "the SYN was not answered")),
        ("info", "tcp-zero-window", _full(report.tcp)),
        ("warning", "dhcp-unanswered", _no_lease(report)),
    )
    return [finding for kind in kinds for finding in _first(*kind)]


def _first(severity: str, code: str, texts: Iterator[str]) -> Iterable[Finding]:
    for text in islice(texts, MOST):
        yield Finding(severity, code, text)
    if hidden := sum(1 for _ in texts):
        yield Finding(severity, code, f"and {hidden} more of this kind: see --json")


def _conflicts(rows: list[ArpRow]) -> Iterator[str]:
    for row in rows:
        if row.state == "conflict":
            who = ", ".join(row.macs) or row.answer_mac
            yield f"{row.target_ip} is claimed by more than one node: {who}"


def _errors(report: Report) -> Iterator[str]:
    for row in report.icmp_errors:
        port = "" if row.destination_port is None else f" port {row.destination_port}"
        mtu = f" (MTU {row.mtu})" if row.mtu else ""
        yield (
            f"{row.reporter} says {row.error}{mtu} to {row.source}, {row.errors}×, "
            f"about {row.protocol} to {row.destination_ip}{port}{_advice(row.error)}"
        )


def _advice(error: str) -> str:
    told = _PROHIBITED if "prohibited" in error else _ADVICE.get(error, "")
    return f": {told}" if told else ""


def _tcp(rows: list[TcpRow], state: str, words: str) -> Iterator[str]:
    for row in rows:
        if row.state == state:
            yield f"{row.client} → {row.server} TCP port {row.server_port}: {words}"


def _full(rows: list[TcpRow]) -> Iterator[str]:
    """One a service and client: on a fast link any reader is too slow now and then."""
    full: dict[tuple[str, str, int], int] = {}
    for row in rows:
        if row.zero_windows:
            key = (row.client, row.server, row.server_port)
            full[key] = full.get(key, 0) + row.zero_windows
    for (client, server, port), times in full.items():
        yield (
            f"{client} → {server} TCP port {port}: the window was full {times}×, "
            "a receiver does not read fast enough"
        )


def _no_lease(report: Report) -> Iterator[str]:
    for row in report.dhcp:
        if row.state == "unanswered":
            yield f"no DHCP server answers {row.client or row.client_mac}"
