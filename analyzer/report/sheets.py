"""The flows as sheets: titles, columns and cells that both renderers show alike.

The rows are the report's own, the largest first, and no more than a screen holds: all of them are
in the JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from analyzer.formatting.numbers import format_bytes, format_count, format_ns, format_plural
from analyzer.model.report import (
    ArpRow,
    DhcpRow,
    DnsRow,
    IcmpErrorRow,
    NatRow,
    Report,
    TcpRow,
    UdpRow,
)
from analyzer.report.view import Level, Piece, arp_answer

ROWS = 15
"""of a sheet; more are counted"""
_STATES: dict[str, Level] = {
    "refused": "bad",
    "unanswered": "bad",
    "reset": "warn",
    "closed": "",
    "open": "",
    "bound": "ok",
    "offered": "warn",
    "released": "",
}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table as it is shown."""

    title: str
    note: str
    words: tuple[str, ...]
    """titles of the columns of words, which come first"""
    numbers: tuple[str, ...]
    rows: list[tuple[Piece, ...]]
    more: str
    """what was left out, in words; empty where nothing was"""


def flow_sheets(report: Report) -> list[Sheet]:
    """Those that have rows, in the order in which they are shown."""
    made = (
        _sheet(
            "TCP",
            "client → server; RTT of the handshake",
            ("", "state"),
            ("pkts", "sent", "got", "lost", "retr", "ooo", "RTT"),
            _largest(report.tcp, lambda row: row.packets),
            _tcp,
            "conversation",
        ),
        _sheet(
            "UDP",
            "client → server",
            ("",),
            ("pkts", "sent", "got", "lost"),
            _largest(report.udp, lambda row: row.packets),
            _udp,
            "conversation",
        ),
        _sheet(
            "DNS",
            "answer's time at the client",
            ("client", "name", "answers"),
            ("asked", "ans", "p50", "max"),
            _largest(report.dns, lambda row: row.queries),
            _dns,
            "question",
        ),
        _sheet(
            "NAT",
            "what became of addresses and ports",
            ("who → whom", "translation", "told by"),
            ("conns", "pkts", "back"),
            _largest(report.nat, lambda row: row.packets),
            _nat,
            "translation",
        ),
        _sheet(
            "ICMP errors",
            "",
            ("who says what", "to", "about"),
            ("errors", "tied"),
            _largest(report.icmp_errors, lambda row: row.errors),
            _error,
            "kind",
        ),
        _sheet(
            "Neighbour Discovery",
            "",
            ("who asks", "for whom", "answer"),
            ("req", "repl", "p50", "max"),
            report.nd,
            _neighbour,
            "pair",
        ),
        _sheet(
            "DHCP",
            "",
            ("client", "address", "server", "state"),
            ("asked", "given", "time"),
            report.dhcp,
            _dhcp,
            "client",
        ),
    )
    return [sheet for sheet in made if sheet.rows]


def _largest(rows: Sequence[T], size: Callable[[T], int]) -> list[T]:
    return sorted(rows, key=size, reverse=True)


def _sheet(
    title: str,
    note: str,
    words: tuple[str, ...],
    numbers: tuple[str, ...],
    rows: Sequence[T],
    cells: Callable[[T], Iterable[Piece]],
    noun: str,
) -> Sheet:
    hidden = len(rows) - ROWS
    more = f"and {format_plural(hidden, f'more {noun}')}: see --json" if hidden > 0 else ""
    return Sheet(title, note, words, numbers, [tuple(cells(row)) for row in rows[:ROWS]], more)


def _ends(row: TcpRow | UdpRow) -> Piece:
    return Piece(f"{row.client}:{row.client_port} → {row.server}:{row.server_port}")


def _count(count: int) -> Piece:
    return Piece(format_count(count))


def _bad(count: int) -> Piece:
    """A count that should be 0."""
    return Piece(format_count(count), "bad" if count else "")


def _tcp(row: TcpRow) -> Iterable[Piece]:
    yield _ends(row)
    yield Piece(row.state, _STATES.get(row.state, ""))
    yield _count(row.packets)
    yield Piece(format_bytes(row.client_bytes))
    yield Piece(format_bytes(row.server_bytes))
    yield _bad(row.lost)
    yield Piece(format_count(row.retransmissions), "warn" if row.retransmissions else "")
    yield Piece(format_count(row.out_of_order), "warn" if row.out_of_order else "")
    yield Piece(format_ns(row.handshake_rtt_ns))


def _udp(row: UdpRow) -> Iterable[Piece]:
    yield _ends(row)
    yield _count(row.packets)
    yield Piece(format_bytes(row.client_bytes))
    yield Piece(format_bytes(row.server_bytes))
    yield _bad(row.lost)


def _dns(row: DnsRow) -> Iterable[Piece]:
    yield Piece(row.client)
    yield Piece(f"{row.name} {row.type}")
    if row.unanswered:
        yield Piece(f"{format_count(row.unanswered)} unanswered", "bad")
    else:
        yield Piece(", ".join(row.rcodes), "warn" if row.failures else "ok")
    yield _count(row.queries)
    yield _count(row.answered)
    yield Piece(format_ns(row.latency_p50_ns))
    yield Piece(format_ns(row.latency_max_ns))


def _error(row: IcmpErrorRow) -> Iterable[Piece]:
    mtu = f", MTU {row.mtu}" if row.mtu else ""
    port = "" if row.destination_port is None else f":{row.destination_port}"
    yield Piece(f"{row.reporter}: {row.error}{mtu}", "warn")
    yield Piece(row.source)
    yield Piece(f"{row.protocol} to {row.destination_ip}{port}")
    yield _count(row.errors)
    yield _count(row.tied)


def _nat(row: NatRow) -> Iterable[Piece]:
    yield Piece(f"{row.protocol} {row.source} → {row.destination}")
    before = f"{_end(row.source_ip, row.source_port)} → " + _end(
        row.destination_ip, row.destination_port
    )
    after = f"{_end(row.new_source_ip, row.new_source_port)} → " + _end(
        row.new_destination_ip, row.new_destination_port
    )
    yield Piece(f"{before} becomes {after}")
    yield Piece("conntrack") if row.told_by == "conntrack" else Piece("packets: likely", "warn")
    yield _count(row.connections)
    yield _count(row.packets)
    yield _count(row.answers)


def _end(address: str, port: int | None) -> str:
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _neighbour(row: ArpRow) -> Iterable[Piece]:
    yield Piece(row.asker)
    yield Piece(row.target_ip)
    yield arp_answer(row)
    yield _count(row.requests)
    yield _count(row.replies)
    yield Piece(format_ns(row.latency_p50_ns))
    yield Piece(format_ns(row.latency_max_ns))


def _dhcp(row: DhcpRow) -> Iterable[Piece]:
    yield Piece(row.client or row.client_mac)
    yield Piece(row.address)
    yield Piece(row.server or row.server_ip)
    yield Piece(row.state, _STATES.get(row.state, ""))
    yield _count(row.discovers + row.requests)
    yield _count(row.offers + row.acks)
    yield Piece(format_ns(row.latency_ns))
