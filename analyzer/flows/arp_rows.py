"""ARP as rows of the report, with names and addresses as text, and as a sheet's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from analyzer.flows.arp import UNANSWERED, UNKNOWN, Arp
from analyzer.flows.endpoints import Endpoints, Sighting
from analyzer.flows.kind import AggregatorInputs, FlowContext, FlowKind, forgotten
from analyzer.formatting.pieces import Piece
from analyzer.model.flow_rows import ArpRow
from analyzer.model.vantage import Vantage
from analyzer.net.ethernet import mac_text
from analyzer.net.ip import MAPPED, address_text


def name_arp(
    table: pl.DataFrame, endpoints: Endpoints, vantages: Sequence[Vantage]
) -> list[ArpRow]:
    """The report's rows, with names and addresses as text."""
    return [_row(row, endpoints, vantages) for row in table.iter_rows(named=True)]


def _row(row: dict[str, Any], endpoints: Endpoints, vantages: Sequence[Vantage]) -> ArpRow:
    segment, asker_mac, answer = row["segment"], row["asker_mac"], row["answer_mac"]

    def owner(mac: int, address: int) -> str:
        version = 4 if address else 0
        return endpoints.name(Sighting(segment, mac, version, 0, MAPPED | address, row["ts"]))

    return ArpRow(
        asker=owner(asker_mac, row["asker_ip"]),
        asker_ip=_ip(row["asker_ip"]),
        asker_mac=mac_text(asker_mac),
        target_ip=_ip(row["target_ip"]),
        answered_by="" if answer is None else owner(answer, row["target_ip"]),
        answer_mac="" if answer is None else mac_text(answer),
        requests=row["requests"],
        replies=row["replies"],
        latency_p50_ns=row["latency_p50_ns"],
        latency_max_ns=row["latency_max_ns"],
        state=row["state"],
        macs=[mac_text(m) for m in row["macs"]] if row["state"] == "conflict" else [],
        polls=row["polls"],
        first_ns=row["ts"],
        last_ns=row["last_asked"],
        seen=[vantages[v].name for v in row["seen"]] if row["state"] == "unanswered" else [],
        **(_missed(row, vantages) if row["state"] == "resolved" and row["missed"] else {}),
    )


def _missed(row: dict[str, Any], vantages: Sequence[Vantage]) -> dict[str, Any]:
    return {
        "missed": row["missed"],
        "missed_first_ns": row["missed_first"],
        "missed_last_ns": row["missed_last"],
        "missed_seen": [vantages[v].name for v in row["missed_seen"]],
    }


def _ip(value: int) -> str:
    return address_text(0, MAPPED | value)


def arp_size(row: ArpRow) -> tuple[bool, int]:
    """By which the rows are chosen that are shown where there are many."""
    return row.state == "conflict", row.requests


def answer_piece(row: ArpRow) -> Piece:
    """Who answered, or why nobody had to."""
    who = f"{row.answered_by} {row.answer_mac}".strip()
    if row.state == "resolved":
        return Piece(who, "ok")
    if row.state == "conflict":
        return Piece("conflict: " + ", ".join(row.macs), "bad")
    if row.state == "probe":
        return Piece(f"probe, taken: {who}" if who else "probe: nobody has it")
    if row.state == UNKNOWN:
        return Piece("not to be seen here")
    if row.state == "gratuitous":
        return Piece("announces itself")
    return Piece("nobody answered", "bad")


def _aggregator(inputs: AggregatorInputs) -> Arp:
    return Arp()


def _rows(arp: Arp, context: FlowContext) -> list[ArpRow]:
    table = arp.table(context.settled_claims, context.end_ns)
    rows = name_arp(table, context.endpoints, context.vantages)
    for row, segment, mac in zip(rows, *table["segment", "asker_mac"], strict=True) if rows else ():
        heard = context.receives(segment, mac) and not context.one_way
        if row.state == UNANSWERED and not heard:
            row.state = UNKNOWN
        if not heard:
            row.missed = 0
    context.settle_arp(rows)
    return rows


KINDS = (
    FlowKind(
        name="arp",
        row=ArpRow,
        about="who asked for an address by ARP, and who answered (RFC 826)",
        aggregator=_aggregator,
        rows=_rows,
        left_out=forgotten,
    ),
)
