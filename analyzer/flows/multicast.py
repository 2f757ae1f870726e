"""Membership of multicast groups: who joined which group, when, and who asks (IGMP, MLD).

A node reports its groups when it joins them and whenever a querier asks; without a querier, bridges
that snoop forget the members after some minutes. Groups that every node is in (all nodes, and the
solicited-node groups of Neighbour Discovery) are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
from msgspec import Struct

from analyzer.decode.membership import JOIN, LEAVE, QUERY, has_membership, membership_messages
from analyzer.flows.frame_notes import FrameNotes, FrameReader
from analyzer.flows.kind import AggregatorInputs, FlowKind, SheetForm, forgotten
from analyzer.flows.live_numbers import latest_rows
from analyzer.formatting.pieces import Piece, count_piece
from analyzer.model.batch import Batch
from analyzer.net.ip import address_text

_KEY = ["site", "hi", "lo", "node", "node_hi", "node_lo", "asks"]
_ALL_NODES_V4, _ALL_NODES_V6 = 0xFFFF_E0000001, 1
_SOLICITED_LO = 0x0000_0001_FF00_0000
"""ff02::1:ffxx:xxxx without its last 24 bits"""
_LINK_SCOPE = 0xFF02 << 48


class MulticastRow(Struct):
    """What one node said of one group."""

    group: str
    """its address; of a general query: all"""
    node: str
    node_ip: str
    """of a node that has no address yet: 0.0.0.0 or ::"""
    role: str
    """member; querier: it asks who is one"""
    state: str
    """of a member: joined or left, as it said last; of a querier empty"""
    messages: int
    first_ns: int
    """when it was first heard of"""
    last_ns: int
    left_ns: int | None
    """when it left, if it did"""


class Memberships:
    """The members and queriers of a capture."""

    def __init__(self, notes: FrameNotes) -> None:
        """notes: of `analyzer.decode.membership.membership_messages`."""
        self._notes = notes
        self._table: pl.DataFrame | None = None
        self.forgotten = 0
        """rows of which nothing is told: there were too many"""

    def add(self, batch: Batch) -> None:
        """Take in the messages of one batch."""
        noted = self._notes.take(batch)
        if noted is None:
            return
        rows = _records(batch, noted)
        both = rows if self._table is None else pl.concat([self._table, rows])
        table = (
            both.sort("last_ns", maintain_order=True)
            .group_by(_KEY, maintain_order=True)
            .agg(
                pl.col("messages").sum(),
                pl.col("first_ns").min(),
                pl.col("last_ns").max(),
                pl.col("left_ns").last(),
                pl.col("number").min(),
            )
            .select(rows.columns)
        )
        self._table = latest_rows(table, by="last_ns")
        self.forgotten += len(table) - len(self._table)

    def rows(self) -> list[MulticastRow]:
        """The report's rows, in order of appearance."""
        if self._table is None:
            return []
        return [_row(row) for row in self._table.sort("number").iter_rows(named=True)]


def _records(batch: Batch, noted: pl.DataFrame) -> pl.DataFrame:
    """One row a group that a message names."""
    frames = batch.frames
    first = noted["first_frame"].to_numpy().astype(np.intp)
    kind = pl.col("kinds")
    return (
        noted.with_columns(
            pl.Series("node_hi", frames["src_hi"][first]),
            pl.Series("node_lo", frames["src_lo"][first]),
            pl.Series("site", batch.journeys.site[frames["vantage"][first]]),
        )
        .explode("kinds", "groups_hi", "groups_lo")
        .filter(kind.is_in([QUERY, JOIN, LEAVE]), ~_everybodys())
        .select(
            "site",
            pl.col("groups_hi").alias("hi"),
            pl.col("groups_lo").alias("lo"),
            pl.col("source").cast(pl.String).alias("node"),
            "node_hi",
            "node_lo",
            (kind == QUERY).alias("asks"),
            pl.lit(1, pl.Int64).alias("messages"),
            pl.col("ts_ns").alias("first_ns"),
            pl.col("ts_ns").alias("last_ns"),
            pl.when(kind == LEAVE).then("ts_ns").alias("left_ns"),
            "number",
        )
    )


def _everybodys() -> pl.Expr:
    """Groups that every node is in."""
    hi, lo = pl.col("groups_hi"), pl.col("groups_lo")
    all_nodes = (hi == 0) & (lo == _ALL_NODES_V4) | (hi == _LINK_SCOPE) & (lo == _ALL_NODES_V6)
    solicited = (hi == _LINK_SCOPE) & ((lo - lo % (1 << 24)) == _SOLICITED_LO)
    return all_nodes | solicited


def _row(row: dict[str, Any]) -> MulticastRow:
    general = row["hi"] == 0 and row["lo"] == 0
    left = row["left_ns"] is not None
    return MulticastRow(
        group="all" if general else address_text(row["hi"], row["lo"]),
        node=row["node"],
        node_ip=address_text(row["node_hi"], row["node_lo"]),
        role="querier" if row["asks"] else "member",
        state="" if row["asks"] else "left" if left else "joined",
        messages=row["messages"],
        first_ns=row["first_ns"],
        last_ns=row["last_ns"],
        left_ns=row["left_ns"],
    )


_READER = FrameReader("memberships", membership_messages, has_membership)


def _aggregator(inputs: AggregatorInputs) -> Memberships:
    return Memberships(inputs.readers.notes(_READER))


def _cells(row: MulticastRow) -> Iterable[Piece]:
    yield Piece(row.group)
    yield Piece(row.node)
    yield Piece("asks who is a member" if row.role == "querier" else row.state)
    yield count_piece(row.messages)


KINDS = (
    FlowKind(
        name="multicast",
        row=MulticastRow,
        about="what one node said of one multicast group: member or querier (IGMP, MLD)",
        aggregator=_aggregator,
        rows=lambda memberships, context: memberships.rows(),
        sheet=SheetForm(
            place=9,
            title="Multicast groups",
            note="who joined, who asks",
            words=("group", "node", "is"),
            numbers=("said",),
            cells=_cells,
            noun="membership",
            size=lambda row: row.messages,
        ),
        left_out=forgotten,
    ),
)
