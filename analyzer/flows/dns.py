"""DNS (RFC 1035): which answer is to which question, how long it took, what was not answered.

An answer belongs to the latest question with its ports, id, name and type. A question that is
asked again before it is answered is one question and a retry, but for a copy of it: the same IP
identification so soon, or so soon that no resolver asks again. The time is taken where the asker
was seen: the answer's last frame minus the question's first one, at the same vantage.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.decode.dns import dns_messages
from analyzer.flows.delays import Delays
from analyzer.flows.dns_pairing import (
    ANSWERED,
    ASKED_NS,
    CAME,
    FIRST,
    GROUP,
    OPEN,
    QUERIES,
    RETRIES,
    DnsMessages,
    tie_answers,
)
from analyzer.flows.echoes_outside import EchoesOutside, NoEchoesOutside, may_be_answered
from analyzer.flows.frame_notes import FrameNotes, FrameReader
from analyzer.flows.growing import padded, widened
from analyzer.flows.kind import AggregatorInputs, FlowContext, FlowKind, SheetForm, forgotten
from analyzer.flows.live_numbers import ROWS, LiveNumbers, new_numbers
from analyzer.flows.sightings import Sightings
from analyzer.formatting.numbers import format_count, format_ns
from analyzer.formatting.pieces import Piece, count_piece
from analyzer.model.batch import Batch, InOrder, in_order_of_time
from analyzer.model.bundles import bundle
from analyzer.model.flow_rows import DnsRow
from analyzer.model.journeys import Evidence
from analyzer.native.keys import SECRET, mixed
from analyzer.net.dns_names import rcode_name, type_name
from analyzer.net.ip import address_text
from analyzer.net.ports import DNS_PORT

GRACE_NS = 100_000_000
"""a question so shortly before the capture's end may still have been answered after it"""
PORT = DNS_PORT
"""multicast DNS asks everybody and awaits nobody's answer: it is left out"""
_RCODES = 16
_ENDS = ("hi", "lo", "port")
_SIDES = [
    (f"{own}_{part}", f"{other}_{part}", role if part == "name" else f"{role}_{part}")
    for role, own, other in (("client", "src", "dst"), ("server", "dst", "src"))
    for part in (*_ENDS, "name")
]
"""column of a question, that of an answer, and what both tell"""


class Dns:
    """The questions of a capture: a row a (client, server, name, type)."""

    def __init__(self, noted: FrameNotes, outside: EchoesOutside | None = None) -> None:
        """noted: of `analyzer.decode.dns.dns_messages`."""
        self._outside = outside or NoEchoesOutside()
        self._noted = noted
        self._order = InOrder()
        self._asked, self._groups = LiveNumbers(), LiveNumbers(ROWS)
        self._open = np.zeros((7, 0), np.int64)
        self._counts = np.zeros((4 + _RCODES, 0), np.int64)
        self._rows: list[pl.DataFrame] = []
        self._latency = Delays()

    def add(self, batch: Batch) -> None:
        """Take in the messages of one batch."""
        noted = self._noted.take(batch)
        rows = self._order.held if noted is None else _messages(batch, noted)
        if rows is None:
            return
        rows = self._order.release(rows.clear() if noted is None else rows, batch.settled_ns)
        if len(rows):
            self._take(in_order_of_time(rows, "number"))

    def _take(self, rows: pl.DataFrame) -> None:
        where: Any = [
            rows[f"{end}_{part}"].to_numpy() for end in ("client", "server") for part in _ENDS
        ]
        what = rows.select(h=pl.struct("name", "qtype").hash(SECRET))["h"].to_numpy()
        site = rows["site"].to_numpy()
        asked = self._asked.take(mixed(site, *where, rows["dns_id"].to_numpy(), what))[0]
        del where[2]  # the client's port does not matter to the row
        groups, fresh = self._groups.take(mixed(site, *where, what))
        self._rows.append(rows[fresh])
        self._open = widened(self._open, self._asked.count)
        self._counts = widened(self._counts, self._groups.count)
        self._counts[FIRST, groups[fresh]] = rows["number"].to_numpy()[fresh]
        latency = np.full(len(rows), -1, np.int64)
        response, code, came = (rows[name].to_numpy() for name in ("response", "code", "came"))
        messages = DnsMessages(asked, groups, response, code, came, rows["ip_id"].to_numpy())
        tie_answers(messages, bundle(Sightings, rows), self._open, self._counts, latency)
        measured = latency >= 0
        self._latency.add(groups[measured], latency[measured])
        self._shed()

    @property
    def forgotten(self) -> int:
        """Rows of which nothing is told: there were too many."""
        return self._groups.forgotten

    def _shed(self) -> None:
        """Forget the rows and the questions that were seen least recently, where there are too
        many: of what is forgotten nothing is said."""
        count = self._groups.count
        groups = self._groups.shed()
        if groups is not None:
            self._rows = [pl.concat(self._rows)[groups]]
            self._counts = self._counts[:, groups]
            self._latency.keep(groups)
            of_question = new_numbers(groups, count)[self._open[GROUP]]
            self._open[OPEN, of_question < 0] = 0
            self._open[GROUP] = of_question
        questions = self._asked.shed()
        if questions is not None:
            self._open = self._open[:, questions]

    def rows(self, end_ns: int) -> list[DnsRow]:
        """The report's rows, in order of appearance. end_ns: when the capture ended."""
        if not self._rows:
            return []
        table = pl.concat(self._rows)
        asked_ns = self._open[ASKED_NS]
        may_come = may_be_answered(asked_ns, self._outside.unseen_ns)
        may_come |= asked_ns > end_ns - GRACE_NS
        awaited = (self._open[OPEN] > 0) & (self._open[CAME] > 0) & ~may_come
        unanswered = np.bincount(self._open[GROUP, awaited], minlength=len(table))
        latency = self._latency.table((0.5, 0.99))
        times = {n: padded(latency[f"{n}_ns"], len(table)) for n in ("p50", "p99", "max")}
        rows = [
            _row(
                row, self._counts[:, at], int(unanswered[at]), {n: t[at] for n, t in times.items()}
            )
            for at, row in enumerate(table.iter_rows(named=True))
        ]
        order = np.argsort(self._counts[FIRST], kind="stable")
        return [rows[at] for at in order]


def _messages(batch: Batch, noted: pl.DataFrame) -> pl.DataFrame:
    """One row a message: client and server whichever way it goes."""
    frames = batch.frames
    first, last = (noted[f"{end}_frame"].to_numpy().astype(np.intp) for end in ("first", "last"))
    answer = pl.col("response")
    columns = {
        f"{end}_{part}": pl.Series(frames[f"{end}_{part}"][rows])
        for end, rows in (("src", first), ("dst", last))
        for part in _ENDS
    }
    site = pl.Series(batch.journeys.site[frames["vantage"][first]])
    sides = [
        pl.when(answer).then(pl.col(theirs)).otherwise(pl.col(own)).alias(name)
        for own, theirs, name in _SIDES
    ]
    columns |= {"ip_id": pl.Series(frames["ip_id"][first])}
    columns |= {"src_name": noted["source"].cast(pl.String)}
    columns |= {"dst_name": noted["destination"].cast(pl.String)}
    return (
        noted.with_columns(**columns, site=site)
        .select(
            "number",
            "ts_ns",
            "last_ts_ns",
            "first_vantage",
            "last_vantage",
            "site",
            *sides,
            "response",
            "dns_id",
            "ip_id",
            ((pl.col("evidence") & int(Evidence.DOUBTED)) == 0).alias("came"),
            pl.col("name").str.to_lowercase(),
            "qtype",
            pl.col("rcode").fill_null(0).alias("code"),
        )
        .filter(pl.col("server_port") == PORT)
    )


def _row(
    row: dict[str, Any], counts: npt.NDArray[np.int64], unanswered: int, times: dict[str, Any]
) -> DnsRow:
    kind, codes = row["qtype"], counts[4:]
    return DnsRow(
        client=row["client"],
        server=row["server"],
        client_ip=address_text(row["client_hi"], row["client_lo"]),
        server_ip=address_text(row["server_hi"], row["server_lo"]),
        name=row["name"],
        type=type_name(kind),
        queries=int(counts[QUERIES]),
        answered=int(counts[ANSWERED]),
        unanswered=unanswered,
        retries=int(counts[RETRIES]),
        failures=int(codes[1:].sum()),
        rcodes=[rcode_name(c) for c in np.argsort(-codes, kind="stable") if codes[c]],
        latency_p50_ns=times["p50"],
        latency_p99_ns=times["p99"],
        latency_max_ns=times["max"],
    )


_READER = FrameReader("dns", partial(dns_messages, ports=(DNS_PORT,)))


def _aggregator(inputs: AggregatorInputs) -> Dns:
    return Dns(inputs.readers.notes(_READER), inputs.outside)


def _rows(dns: Dns, context: FlowContext) -> list[DnsRow]:
    """Where an answer could not have been seen, no question is called unanswered."""
    rows = dns.rows(context.end_ns)
    for row in rows:
        if not context.shows_answers or not context.hears(row.client_ip):
            row.unanswered = 0
    return rows


def _cells(row: DnsRow) -> Iterable[Piece]:
    yield Piece(row.client)
    yield Piece(f"{row.name} {row.type}")
    if row.unanswered:
        yield Piece(f"{format_count(row.unanswered)} unanswered", "bad")
    else:
        yield Piece(", ".join(row.rcodes), "warn" if row.failures else "ok")
    yield count_piece(row.queries)
    yield count_piece(row.answered)
    yield Piece(format_ns(row.latency_p50_ns))
    yield Piece(format_ns(row.latency_max_ns))


KINDS = (
    FlowKind(
        name="dns",
        row=DnsRow,
        about="the questions of one client to one server for one name and type (RFC 1035)",
        aggregator=_aggregator,
        rows=_rows,
        sheet=SheetForm(
            place=3,
            title="DNS",
            note="answer's time at the client",
            words=("client", "name", "answers"),
            numbers=("asked", "ans", "p50", "max"),
            cells=_cells,
            noun="question",
            size=lambda row: row.queries,
        ),
        left_out=forgotten,
    ),
)
