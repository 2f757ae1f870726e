"""Multicast DNS: who asked for which name, who answered, how fast (RFC 6762).

A question goes to everybody in the segment, and whoever has the name answers to everybody. So an
answer belongs to every question for its name and type that is not older than `PATIENCE_NS`. The
time is from the question, where it was first seen, to the first answer, where that was. Of each
message the first question, or the first answer, is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from msgspec import Struct

from analyzer.decode.dns import dns_messages
from analyzer.decode.rows import has_transport
from analyzer.flows.delays import Delays
from analyzer.flows.frame_notes import FrameNotes, FrameReader
from analyzer.flows.kind import AggregatorInputs, FlowKind, SheetForm
from analyzer.formatting.numbers import format_ns
from analyzer.formatting.pieces import Piece, count_piece
from analyzer.model.batch import Batch
from analyzer.model.report import LeftOut
from analyzer.net.dns_names import type_name
from analyzer.net.ip import UDP, address_text
from analyzer.net.ports import MDNS_PORT

PATIENCE_NS = 5_000_000_000
"""an answer so much later is to another question: RFC 6762 delays answers by 0.5 s at the most"""
MOST = 100_000
"""messages that are kept"""
_NAME = ["site", "name", "qtype"]
_ASKER = [*_NAME, "source", "hi", "lo"]


class MdnsRow(Struct):
    """The questions of one node for one name and type, to everybody."""

    client: str
    client_ip: str
    name: str
    """in lower case, escaped as in master files (RFC 1035): printable ASCII"""
    type: str
    questions: int
    answered: int
    """questions that somebody answered within 5 s"""
    answered_by: list[str]
    """who answered, the first one first"""
    latency_p50_ns: int | None
    """question to its first answer, each where it was first seen"""
    latency_max_ns: int | None


class Mdns:
    """The questions and answers of a capture."""

    def __init__(self, notes: FrameNotes) -> None:
        """notes: of `analyzer.decode.dns.dns_messages`, of mDNS's port."""
        self._notes = notes
        self._messages: list[pl.DataFrame] = []
        self._count = 0
        self._full_ns: int | None = None
        """until when messages were kept, where they were too many"""
        self._unkept, self._undecided, self._cut = 0, 0, 0
        """questions that were not kept, or whose answers were not; rows that are not told"""

    def add(self, batch: Batch) -> None:
        """Take in the messages of one batch."""
        noted = self._notes.take(batch)
        if noted is None:
            return
        if self._full_ns is not None:
            self._unkept += int((~noted["response"]).sum())
            return
        rows = _messages(batch, noted)
        self._count += len(rows)
        self._messages.append(rows)
        if self._count >= MOST:
            self._full_ns = rows["ts_ns"].max()  # type: ignore[assignment]

    @property
    def forgotten(self) -> int:
        """Questions of which nothing is told: there were too many."""
        return self._unkept + self._undecided

    def left_out(self, top: int | None) -> LeftOut:
        """These, and rows beyond ``top``."""
        return LeftOut(self.forgotten + self._cut)

    def rows(self, top: int | None = None) -> list[MdnsRow]:
        """The report's rows, in order of appearance: with most questions, where there are more."""
        if not self._messages:
            return []
        messages = pl.concat(self._messages).sort("ts_ns", "number")
        asked = messages.filter(~pl.col("response"))
        if self._full_ns is not None:
            # the answers to the last ones were not kept
            early = asked.filter(pl.col("ts_ns") <= self._full_ns - PATIENCE_NS)
            self._undecided, asked = len(asked) - len(early), early
        asked = asked.join(_askers(asked), on=_ASKER, maintain_order="left")
        tied = asked.join_asof(
            messages.filter("response").select(
                *_NAME, pl.col("source").alias("responder"), "ts_ns", answer_ns="ts_ns"
            ),
            on="ts_ns",
            by=_NAME,
            strategy="forward",
            tolerance=PATIENCE_NS,
            check_sortedness=False,
        )
        times = _times(tied)
        groups = tied.group_by("group", maintain_order=True).agg(
            pl.col(*_ASKER).first(),
            pl.len().alias("questions"),
            pl.col("answer_ns").count().alias("answered"),
            pl.col("responder").drop_nulls().unique(maintain_order=True),
        )
        if top is not None and len(groups) > top:
            self._cut = len(groups) - top
            order = np.argsort(-groups["questions"].to_numpy(), kind="stable")[:top]
            groups = groups[np.sort(order)]
        return [_row(row, times) for row in groups.iter_rows(named=True)]


def _askers(asked: pl.DataFrame) -> pl.DataFrame:
    """A number for each asker, name and type, in order of appearance."""
    return asked.select(_ASKER).unique(maintain_order=True).with_row_index("group")


def _times(tied: pl.DataFrame) -> pl.DataFrame:
    """[groups that were answered] see `Delays.table`."""
    answered = tied.drop_nulls("answer_ns")
    delays = Delays()
    waited = answered.select(ns=pl.col("answer_ns") - pl.col("ts_ns"))["ns"]
    delays.add(answered["group"].to_numpy().astype(np.int32), waited.to_numpy())
    return delays.table((0.5,))


def _messages(batch: Batch, noted: pl.DataFrame) -> pl.DataFrame:
    """One row a message."""
    frames = batch.frames
    first = noted["first_frame"].to_numpy().astype(np.intp)
    return noted.select(
        "number",
        "ts_ns",
        pl.Series("site", batch.journeys.site[frames["vantage"][first]]),
        pl.col("source").cast(pl.String),
        pl.Series("hi", frames["src_hi"][first]),
        pl.Series("lo", frames["src_lo"][first]),
        "response",
        pl.col("name").str.to_lowercase(),
        "qtype",
    )


def _row(row: Mapping[str, Any], times: pl.DataFrame) -> MdnsRow:
    time = times.row(row["group"], named=True) if row["group"] < len(times) else {}
    return MdnsRow(
        client=row["source"],
        client_ip=address_text(row["hi"], row["lo"]),
        name=row["name"],
        type=type_name(row["qtype"]),
        questions=row["questions"],
        answered=row["answered"],
        answered_by=row["responder"],
        latency_p50_ns=time.get("p50_ns"),
        latency_max_ns=time.get("max_ns"),
    )


_READER = FrameReader(
    "mdns",
    partial(dns_messages, ports=(MDNS_PORT,)),
    lambda frames: has_transport(frames, UDP, MDNS_PORT),
)


def _aggregator(inputs: AggregatorInputs) -> Mdns:
    return Mdns(inputs.readers.notes(_READER))


def _cells(row: MdnsRow) -> Iterable[Piece]:
    yield Piece(row.client)
    yield Piece(f"{row.name} {row.type}")
    yield Piece(", ".join(row.answered_by), "ok") if row.answered_by else Piece("nobody")
    yield count_piece(row.questions)
    yield count_piece(row.answered)
    yield Piece(format_ns(row.latency_p50_ns))
    yield Piece(format_ns(row.latency_max_ns))


KINDS = (
    FlowKind(
        name="mdns",
        row=MdnsRow,
        about="the questions of one node to everybody for one name and type (RFC 6762)",
        aggregator=_aggregator,
        rows=lambda mdns, context: mdns.rows(context.top),
        left_out=Mdns.left_out,
        sheet=SheetForm(
            place=8,
            title="mDNS",
            note="first answer's time",
            words=("who asks", "name", "answered by"),
            numbers=("asked", "ans", "p50", "max"),
            cells=_cells,
            noun="question",
            size=lambda row: row.questions,
        ),
    ),
)
