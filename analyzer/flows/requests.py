"""Requests that nobody answered: over UDP, of protocols in which each is answered, and SYNs of TCP.

A request is answered by the next message of its exchange (the same ends, and what the protocol
repeats in an answer: `analyzer.decode.requests`) that is an answer; a request that is repeated is
answered by it, too. Requests are kept while an answer may come, the latest `MOST` of them; of what
is forgotten nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import polars as pl
from msgspec import Struct

from analyzer.decode.requests import PROTOCOLS, occur, request_messages
from analyzer.flows.echoes_outside import EchoesOutside, NoEchoesOutside, may_be_answered
from analyzer.flows.frame_notes import FrameNotes, FrameReader
from analyzer.flows.kind import AggregatorInputs, FlowContext, FlowKind, SheetForm, forgotten
from analyzer.flows.live_numbers import latest_rows
from analyzer.flows.opening_segments import opening_segments
from analyzer.formatting.numbers import format_count
from analyzer.formatting.pieces import Piece, count_piece
from analyzer.model.batch import Batch, InOrder, in_order_of_time
from analyzer.model.frames import EXAMPLE
from analyzer.model.journeys import Evidence, Status
from analyzer.native.keys import mixed
from analyzer.net.ethernet import GROUP_BIT_U64
from analyzer.net.ip import address_text

GRACE_NS = 100_000_000
"""a request so shortly before the capture's end may still have been answered after it"""
PATIENCE_NS = 30_000_000_000
"""nobody waits for an answer longer"""
MOST = 50_000
"""requests that are kept while an answer may come"""
_SYN, _TFTP, _DNS = len(PROTOCOLS), PROTOCOLS.index("TFTP"), PROTOCOLS.index("DNS")
_NAMES = (*PROTOCOLS, "TCP")
_PARTS = ("hi", "lo", "port")
_ENDS = [f"{end}_{part}" for end in ("client", "server") for part in _PARTS]
_ROW = ["row", "kind", "client", "server", *(name for name in _ENDS if name != "client_port")]
_SILENT = ["row", "at", "began"]
_EXAMPLE = {name: f"of_{name}" for name in EXAMPLE}


class RequestRow(Struct):
    """The requests of one client to one port of a server."""

    protocol: str
    """NTP, SNMP, memcached, STUN, TFTP, SIP, CoAP, RADIUS, QUIC, WireGuard"""
    client: str
    server: str
    client_ip: str
    server_ip: str
    port: int
    """of the server"""
    requests: int
    """datagrams, repeated ones too"""
    answered: int
    unanswered: int
    """0 where the capture could not have shown an answer"""


class Requests:
    """The requests of a capture, by client and server."""

    def __init__(self, noted: FrameNotes, outside: EchoesOutside | None = None) -> None:
        """noted: of `analyzer.decode.requests.request_messages`."""
        self._noted = noted
        self._outside = outside or NoEchoesOutside()
        self._order = InOrder()
        self._open: pl.DataFrame | None = None
        self._rows: pl.DataFrame | None = None
        self._silent: pl.DataFrame | None = None
        self.forgotten = 0
        """rows of which nothing is told: there were too many"""

    def add(self, batch: Batch) -> None:
        """Take in the messages of one batch."""
        noted = self._noted.take(batch)
        tables = [] if noted is None else [_messages(batch, noted)]
        if len(opening := opening_segments(batch, _SYN)):
            tables.append(_messages(batch, opening))
        if not tables and self._order.held is None:
            return
        rows = pl.concat(tables) if tables else self._order.held.clear()  # type: ignore[union-attr]
        rows = self._order.release(rows, batch.settled_ns)
        if len(rows):
            self._take(in_order_of_time(rows, "number"))

    def _take(self, rows: pl.DataFrame) -> None:
        both = rows if self._open is None else pl.concat([self._open, rows])
        later = pl.when(~pl.col("asks")).then("ts_ns").backward_fill().over("key")
        if both["asks"].all():  # as in a flood, which is not to cost more than other frames
            later = pl.lit(None, pl.Int64)
        asked = both.with_columns(answer_ns=later).filter("asks")
        answered = (pl.col("answer_ns") - pl.col("ts_ns") <= PATIENCE_NS).fill_null(value=False)
        over_ns = int(rows["ts_ns"][-1]) - PATIENCE_NS
        asked = asked.with_columns(answered=answered, judged=self._shown(asked))
        waiting = asked.filter(~pl.col("answered") & (pl.col("ts_ns") >= over_ns))
        done = asked.filter(pl.col("answered") | (pl.col("ts_ns") < over_ns))
        forgotten = waiting[: max(0, len(waiting) - MOST)]
        self._open = waiting[len(forgotten) :].select(rows.columns)
        forgotten = forgotten.with_columns(judged=pl.lit(value=False))
        summed = _summed_rows(self._rows, pl.concat([done, forgotten]))
        self._rows = latest_rows(summed, by="last_number")
        self.forgotten += _told(summed) - _told(self._rows)
        silent = _summed_silent(self._silent, done.filter("judged", ~pl.col("answered")))
        self._silent = latest_rows(silent, by="last_ns")

    def _shown(self, asked: pl.DataFrame) -> pl.Series:
        """Whether an answer would have been seen."""
        return pl.Series(~may_be_answered(asked["ts_ns"].to_numpy(), self._outside.unseen_ns))

    def _at_end(self, end_ns: int) -> tuple[pl.DataFrame, pl.DataFrame] | None:
        """(rows, silent) with what is still open."""
        if self._open is None:
            return None
        judged = (self._open["ts_ns"] < end_ns - GRACE_NS) & self._shown(self._open)
        asked = self._open.with_columns(answered=pl.lit(value=False), judged=judged)
        silent = _summed_silent(self._silent, asked.filter("judged"))
        return _summed_rows(self._rows, asked), silent

    def rows(self, end_ns: int) -> list[RequestRow]:
        """Those over UDP, but for DNS, in order of appearance. end_ns: when the capture ended."""
        tables = self._at_end(end_ns)
        if tables is None:
            return []
        known = tables[0].filter(~pl.col("kind").is_in([_SYN, _DNS])).sort("number")
        return [
            RequestRow(
                protocol=_NAMES[row["kind"]],
                client=row["client"],
                server=row["server"],
                client_ip=address_text(row["client_hi"], row["client_lo"]),
                server_ip=address_text(row["server_hi"], row["server_lo"]),
                port=row["server_port"],
                **{name: row[name] for name in ("requests", "answered", "unanswered")},
            )
            for row in known.iter_rows(named=True)
        ]

    def silent(self, end_ns: int) -> Iterator[dict[str, Any]]:
        """Requests that came to their end and brought nothing back, by where that was: what
        `analyzer.flows.silent_echoes.SilentEchoes.rows` tells, with service, port (of the server)
        and client_ip; of times_ns the first and the last."""
        tables = self._at_end(end_ns)
        if tables is None:
            return
        for row in tables[1].sort("first_ns").iter_rows(named=True):
            yield {
                "protocol": "tcp" if row["kind"] == _SYN else "udp",
                "service": _NAMES[row["kind"]],
                "source": row["client"],
                "destination": row["server"],
                "client_ip": address_text(row["client_hi"], row["client_lo"]),
                "port": row["server_port"],
                **{name: row[name] for name in ("at", "began", "packets", "first_ns", "last_ns")},
                "times_ns": [row["first_ns"], row["last_ns"]],
                "example": {name: row[of] for name, of in _EXAMPLE.items()},
            }


def _messages(batch: Batch, noted: pl.DataFrame) -> pl.DataFrame:
    """One row a message: client and server whichever way it goes; requests to groups are none."""
    frames = batch.frames
    first, last = (noted[f"{end}_frame"].to_numpy().astype(np.intp) for end in ("first", "last"))
    asks = noted["asks"].to_numpy()
    seen = {"src": first, "dst": last}
    columns: dict[str, Any] = {}
    for role, own, other in (("client", "src", "dst"), ("server", "dst", "src")):
        for part in _PARTS:
            sides = (frames[f"{side}_{part}"][seen[side]] for side in (own, other))
            columns[f"{role}_{part}"] = np.where(asks, *sides)
    site = batch.journeys.site[frames["vantage"][first]]
    kind = noted["kind"].to_numpy()
    who = [columns[name] for name in _ENDS]
    row = mixed(site, kind, *(one for name, one in columns.items() if name != "client_port"))
    who[-1] = np.where(kind == _TFTP, 0, who[-1])
    group = (frames["eth_dst"][first] & GROUP_BIT_U64) != 0
    source, target = (pl.col(name).cast(pl.String) for name in ("source", "destination"))
    return noted.select(
        "number",
        "ts_ns",
        "kind",
        "asks",
        pl.Series("key", mixed(site, kind, *who, noted["ident"].to_numpy())),
        pl.Series("row", row),
        *(pl.Series(name, column) for name, column in columns.items()),
        pl.when("asks").then(source).otherwise(target).alias("client"),
        pl.when("asks").then(target).otherwise(source).alias("server"),
        pl.col("last_vantage").alias("at"),
        pl.col("first_vantage").alias("began"),
        *(pl.Series(of, frames[name][last]) for name, of in _EXAMPLE.items()),
        came=(pl.col("status") != int(Status.LOST))
        & ((pl.col("evidence") & int(Evidence.DOUBTED)) == 0),
    ).filter(pl.Series(~(asks & group)))


def _told(rows: pl.DataFrame) -> int:
    """How many of them a report tells."""
    return len(rows) - int(rows["kind"].is_in([_SYN, _DNS]).sum())


def _summed_rows(before: pl.DataFrame | None, asked: pl.DataFrame) -> pl.DataFrame:
    """asked: requests; answered, and judged: whether that is known."""
    unanswered = pl.col("judged") & ~pl.col("answered")
    rows = asked.select(
        *_ROW,
        "number",
        last_number="number",
        requests=pl.lit(1, pl.Int64),
        answered=pl.col("answered").cast(pl.Int64),
        unanswered=unanswered.cast(pl.Int64),
    )
    both = rows if before is None else pl.concat([before, rows])
    return both.group_by("row", maintain_order=True).agg(
        pl.col(_ROW[1:]).first(),
        pl.col("number").min(),
        pl.col("last_number").max(),
        pl.col("requests", "answered", "unanswered").sum(),
    )


def _summed_silent(before: pl.DataFrame | None, silent: pl.DataFrame) -> pl.DataFrame:
    """silent: requests without an answer."""
    rows = silent.filter("came").select(
        *_ROW,
        *_SILENT[1:],
        *_EXAMPLE.values(),
        packets=pl.lit(1, pl.Int64),
        first_ns="ts_ns",
        last_ns="ts_ns",
    )
    both = rows if before is None else pl.concat([before, rows])
    return (
        both.group_by(_SILENT, maintain_order=True)
        .agg(
            pl.col(*_ROW[1:], *_EXAMPLE.values()).first(),
            pl.col("packets").sum(),
            pl.col("first_ns").min(),
            pl.col("last_ns").max(),
        )
        .select(rows.columns)
    )


_READER = FrameReader("requests", request_messages, occur)


def _aggregator(inputs: AggregatorInputs) -> Requests:
    return Requests(inputs.readers.notes(_READER), inputs.outside)


def _rows(requests: Requests, context: FlowContext) -> list[RequestRow]:
    rows = requests.rows(context.end_ns)
    for row in rows:
        if not context.shows_answers or context.one_sided or not context.hears(row.client_ip):
            row.unanswered = 0
    return rows


def _cells(row: RequestRow) -> Iterable[Piece]:
    yield Piece(row.client)
    yield Piece(f"{row.server}:{row.port}")
    some = row.unanswered > 0
    told = f"{format_count(row.unanswered)} unanswered" if some else "answered"
    yield Piece(f"{row.protocol} {told}", "bad" if some else "ok")
    yield count_piece(row.requests)
    yield count_piece(row.answered)


KINDS = (
    FlowKind(
        name="requests",
        row=RequestRow,
        about="the requests of a client to a port of a server, over UDP, of protocols in which "
        "each is answered",
        aggregator=_aggregator,
        rows=_rows,
        sheet=SheetForm(
            place=10,
            title="Requests",
            note="over UDP",
            words=("client", "server", "answers"),
            numbers=("asked", "ans"),
            cells=_cells,
            noun="request",
            size=lambda row: row.requests,
        ),
        left_out=forgotten,
    ),
)
