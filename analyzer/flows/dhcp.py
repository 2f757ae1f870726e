"""DHCP: which client asked for an address, what it was given, by whom (RFC 2131)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl

from analyzer.decode.dhcp import PORTS, dhcp_messages
from analyzer.decode.rows import has_transport
from analyzer.flows.frame_notes import FrameNotes, FrameReader
from analyzer.flows.kind import AggregatorInputs, FlowKind, SheetForm, forgotten
from analyzer.flows.live_numbers import latest_rows
from analyzer.formatting.numbers import format_ns
from analyzer.formatting.pieces import Piece, count_piece, state_piece
from analyzer.model.batch import Batch
from analyzer.model.flow_rows import DhcpRow
from analyzer.net.dhcp import ACK, DISCOVER, INFORM, NAK, OFFER, RELEASE, REQUEST
from analyzer.net.ethernet import mac_text
from analyzer.net.ip import UDP, ipv4_text

_ASKS = (DISCOVER, REQUEST, INFORM)
_KEY = ["site", "mac"]
UNSPECIFIED = "0.0.0.0"
"""the address of one who has none yet: no name of a client"""
_COUNTED = {
    "discovers": DISCOVER,
    "offers": OFFER,
    "requests": REQUEST,
    "acks": ACK,
    "naks": NAK,
    "releases": RELEASE,
}


class Dhcp:
    """The clients of a capture, told by their MACs."""

    def __init__(self, noted: FrameNotes) -> None:
        """noted: of `analyzer.decode.dhcp.dhcp_messages`."""
        self._noted = noted
        self._clients: pl.DataFrame | None = None
        self.forgotten = 0
        """clients of which nothing is told: there were too many"""

    def add(self, batch: Batch) -> None:
        """Take in the messages of one batch."""
        noted = self._noted.take(batch)
        if noted is None:
            return
        rows = _messages(batch, noted)
        both = rows if self._clients is None else pl.concat([self._clients, rows])
        clients = (
            both.group_by(_KEY, maintain_order=True)
            .agg(
                pl.col("number").min(),
                pl.col("last_number").max(),
                pl.col(*_COUNTED).sum(),
                *(_latest(name) for name in ("address", "server_ip", "lease_s")),
                *(pl.col(name).drop_nulls().first() for name in ("client", "server")),
                pl.col("asked_ns", "bound_ns").min(),
            )
            .select(rows.columns)
        )
        self._clients = latest_rows(clients, by="last_number")
        self.forgotten += len(clients) - len(self._clients)

    def rows(self) -> list[DhcpRow]:
        """The report's rows, in order of appearance."""
        if self._clients is None:
            return []
        return [_row(row) for row in self._clients.sort("number").iter_rows(named=True)]


def _latest(name: str) -> pl.Expr:
    return pl.col(name).filter(pl.col(name) > 0).last().fill_null(0)


def _messages(batch: Batch, noted: pl.DataFrame) -> pl.DataFrame:
    """One row a message, in the form of a client's counts."""
    vantage = batch.frames["vantage"][noted["first_frame"].to_numpy().astype(np.intp)]
    kind = pl.col("dhcp_type")
    asks, gives = kind.is_in(_ASKS), kind.is_in([OFFER, ACK, NAK])
    return noted.sort("ts_ns", "number").select(
        "number",
        pl.col("number").alias("last_number"),
        pl.Series("site", batch.journeys.site[vantage]).alias("site"),
        "mac",
        *((kind == code).cast(pl.Int64).alias(name) for name, code in _COUNTED.items()),
        pl.when(kind.is_in([OFFER, ACK])).then("yiaddr").otherwise(0).alias("address"),
        pl.when(gives).then("server").otherwise(0).alias("server_ip"),
        pl.when(kind == ACK).then("lease_s").otherwise(0).alias("lease_s"),
        pl.when(asks).then(pl.col("source").cast(pl.String)).alias("client"),
        pl.when(gives).then(pl.col("source").cast(pl.String)).alias("server"),
        pl.when(asks).then("ts_ns").alias("asked_ns"),
        pl.when(kind == ACK).then("last_ts_ns").alias("bound_ns"),
    )


def _row(row: dict[str, Any]) -> DhcpRow:
    asked, bound = row["asked_ns"], row["bound_ns"]
    return DhcpRow(
        client=mac_text(row["mac"]) if row["client"] in (None, UNSPECIFIED) else row["client"],
        client_mac=mac_text(row["mac"]),
        server=row["server"] or "",
        server_ip=_ip(row["server_ip"]),
        address=_ip(row["address"]),
        lease_s=row["lease_s"] or None,
        **{name: row[name] for name in _COUNTED},
        latency_ns=bound - asked if bound is not None and asked is not None else None,
        state=_state(row),
    )


def _ip(value: int) -> str:
    return ipv4_text(value) if value else ""


def _state(row: dict[str, Any]) -> str:
    if row["releases"]:
        return "released"
    if row["acks"]:
        return "bound"
    if row["naks"]:
        return "refused"
    return "offered" if row["offers"] else "unanswered"


_READER = FrameReader("dhcp", dhcp_messages, lambda frames: has_transport(frames, UDP, *PORTS))


def _aggregator(inputs: AggregatorInputs) -> Dhcp:
    return Dhcp(inputs.readers.notes(_READER))


def _cells(row: DhcpRow) -> Iterable[Piece]:
    yield Piece(row.client or row.client_mac)
    yield Piece(row.address)
    yield Piece(row.server or row.server_ip)
    yield state_piece(row.state)
    yield count_piece(row.discovers + row.requests)
    yield count_piece(row.offers + row.acks)
    yield Piece(format_ns(row.latency_ns))


KINDS = (
    FlowKind(
        name="dhcp",
        row=DhcpRow,
        about="what one client asked of DHCP servers, and what it was given (RFC 2131)",
        aggregator=_aggregator,
        rows=lambda dhcp, context: dhcp.rows(),
        sheet=SheetForm(
            place=7,
            title="DHCP",
            note="",
            words=("client", "address", "server", "state"),
            numbers=("asked", "given", "time"),
            cells=_cells,
            noun="client",
        ),
        left_out=forgotten,
    ),
)
