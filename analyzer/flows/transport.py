"""TCP and UDP conversations: who opened them, how many packets and bytes, how many were lost.

Counted per packet, never per copy, both directions together. The source is read where a packet
was first seen and the destination where it was last seen: so the two directions of a
conversation meet under one pair of addresses and ports, whatever NAT did in between.
The client is who sent the first SYN; where none was seen, who got the first SYN-ACK, else who
sent the first packet. Fragments without a header count for the datagram that they belong to.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from analyzer.compiled import compiled
from analyzer.flows.endpoints import address_text
from analyzer.keys import KeyNumbers, mix
from analyzer.model.batch import Batch
from analyzer.model.frames import MARK_FRAGMENT, MARK_MORE_FRAGMENTS
from analyzer.model.journeys import Status
from analyzer.model.report import TransportRow

_SYN, _ACK = 0x02, 0x10
_REASSEMBLY_NS = 30_000_000_000
"""how long fragments wait for each other (net.ipv4.ipfrag_time)"""
_SIDE = ("hi", "lo", "port")
_DATAGRAM = ["protocol", "site", "src_hi", "src_lo", "dst_hi", "dst_lo", "ip_id"]
_MOST_WAITING = 100_000
"""fragments that wait for their first one, and first ones that others may belong to"""
_NEVER = (1 << 63) - 1
_TCP, _UDP = 6, 17


class Conversations:
    """All TCP and UDP conversations, batch by batch."""

    def __init__(self) -> None:
        self._numbers = KeyNumbers()
        self._counts = np.zeros((5, 0), np.int64)
        self._rows: list[dict[str, Any]] = []
        self._heads: pl.DataFrame | None = None
        self._pieces: pl.DataFrame | None = None

    def add(self, batch: Batch) -> None:
        """Count the TCP and UDP packets of one batch."""
        rows = _segments(batch)
        headed = rows.filter("headed", (pl.col("src_port") > 0) | (pl.col("dst_port") > 0))
        pieces = rows.filter(~pl.col("headed"))
        heads = headed.filter("more")
        if not pieces.is_empty() or self._pieces is not None or not heads.is_empty():
            headed = self._with_fragments(headed, heads, pieces)
        if not headed.is_empty():
            self._count(headed)

    def _with_fragments(
        self, headed: pl.DataFrame, heads: pl.DataFrame, pieces: pl.DataFrame
    ) -> pl.DataFrame:
        """The rows and all fragments of which the first one is known by now, with its ports.

        Fragments of which it was not seen yet wait.
        """
        ports = ["src_port", "dst_port"]
        self._heads = _joined(self._heads, heads.select("ts_ns", *_DATAGRAM, *ports))
        self._pieces = _joined(self._pieces, pieces.drop(ports)).sort("ts_ns")
        found = self._pieces.join_asof(
            self._heads.sort("ts_ns"), on="ts_ns", by=_DATAGRAM, strategy="nearest",
            tolerance=_REASSEMBLY_NS, check_sortedness=False,
        )  # fmt: skip
        self._pieces = found.filter(pl.col("src_port").is_null()).drop(ports).tail(_MOST_WAITING)
        self._heads = self._heads.tail(_MOST_WAITING)
        return pl.concat([headed, found.drop_nulls(ports).select(headed.columns)])

    def _count(self, rows: pl.DataFrame) -> None:
        columns = tuple(
            rows[f"{end}_{part}"].to_numpy() for end in ("src", "dst") for part in _SIDE
        )
        keys = np.empty(len(rows), np.uint64)
        _keys(rows["kind"].to_numpy(), rows["site"].to_numpy(), columns, keys)
        numbers, _ = self._numbers.take(keys)
        new = self._numbers.count - self._counts.shape[1]
        more = np.array([[0], [0], [0], [_NEVER], [_NEVER]]).repeat(new, axis=1)
        self._counts = np.concatenate([self._counts, more], axis=1)
        opening = np.full(self._numbers.count, -1, np.int64)
        _tally(
            numbers, rows["payload_len"].to_numpy(),
            (rows["status"] == Status.LOST).to_numpy(), rows["rank"].to_numpy(),
            rows["number"].to_numpy(), self._counts, opening,
        )  # fmt: skip
        found = np.flatnonzero(opening >= 0)
        self._rows += [{}] * new
        texts = pl.col("protocol", "source", "destination").cast(pl.String)
        first = rows[opening[found]].with_columns(texts)
        for conversation, row in zip(found.tolist(), first.iter_rows(named=True), strict=True):
            self._rows[conversation] = row

    def table(self) -> pl.DataFrame:
        """One row a conversation, in order of appearance.

        protocol, client, server (names), client_hi, client_lo, client_port, server_hi, server_lo,
        server_port, packets, bytes (of payload), lost (packets of status lost).
        """
        if not self._rows:
            return pl.DataFrame(schema={"protocol": pl.String})
        counts = zip(("packets", "bytes", "lost", "start"), self._counts, strict=False)
        return (
            pl.DataFrame(self._rows, infer_schema_length=None)
            .with_columns(pl.Series(name, column) for name, column in counts)
            .sort("start")
            .select("protocol", *_side("client"), *_side("server"), "packets", "bytes", "lost")
        )


def _joined(before: pl.DataFrame | None, rows: pl.DataFrame) -> pl.DataFrame:
    return rows if before is None else pl.concat([before, rows])


def _segments(batch: Batch) -> pl.DataFrame:
    """One row a TCP or UDP packet, with both ends and what tells who opened."""
    frames = batch.frames
    kind = frames["protocol"][batch.packets["first_frame"].to_numpy()]
    ours = ((kind == _TCP) | (kind == _UDP)) & ~batch.packets["stray"].to_numpy()
    chosen = batch.packets.filter(pl.Series(ours))
    first, last = (chosen[f"{end}_frame"].to_numpy() for end in ("first", "last"))
    flags, marks = frames["tcp_flags"][first], frames["marks"][first]
    rank = np.where(flags & _SYN == 0, 2, np.where(flags & _ACK == 0, 0, 1))
    names = ["number", "ts_ns", "protocol", "source", "destination", "status"]
    return chosen.select(names).with_columns(
        pl.Series("kind", kind[ours]),
        pl.Series("site", batch.journeys.site[frames["vantage"][first]]),
        *(pl.Series(f"src_{part}", frames[f"src_{part}"][first]) for part in _SIDE),
        *(pl.Series(f"dst_{part}", frames[f"dst_{part}"][last]) for part in _SIDE),
        pl.Series("ip_id", frames["ip_id"][first]),
        pl.Series("payload_len", frames["payload_len"][first]),
        pl.Series("headed", (marks & MARK_FRAGMENT) == 0),
        pl.Series("more", (marks & MARK_MORE_FRAGMENTS) != 0),
        pl.Series("rank", rank),
    )


@compiled
def _keys(kind: Any, site: Any, ends: Any, keys: Any) -> None:
    """One key a conversation: of its two ends, whatever the direction."""
    src_hi, src_lo, src_port, dst_hi, dst_lo, dst_port = ends
    for row in range(len(keys)):
        one = mix(mix(src_hi[row], src_lo[row]), np.uint64(src_port[row]))
        other = mix(mix(dst_hi[row], dst_lo[row]), np.uint64(dst_port[row]))
        what = np.uint64(site[row]) << np.uint64(8) | np.uint64(kind[row])
        keys[row] = mix(mix(min(one, other), max(one, other)), what)


@compiled
def _tally(
    numbers: Any, payload: Any, lost: Any, rank: Any, number: Any, counts: Any, opening: Any
) -> None:
    """counts: [5, conversations] packets, bytes, lost, first number, rank of the opening.

    opening: row of the packet that tells best who opened, where it tells better than before.
    """
    for row in range(len(numbers)):
        n = numbers[row]
        counts[0, n] += 1
        counts[1, n] += payload[row]
        counts[2, n] += lost[row]
        counts[3, n] = min(counts[3, n], number[row])
        better = np.int64(rank[row]) << 60 | number[row]
        if better < counts[4, n]:
            counts[4, n] = better
            opening[n] = row


def _side(role: str) -> list[pl.Expr]:
    """The client's or the server's columns: source and destination, turned for a SYN-ACK."""
    own, other = (("source", "src"), ("destination", "dst"))
    if role == "server":
        own, other = other, own
    turned = pl.when(pl.col("rank") == 1)
    return [
        turned.then(other[0]).otherwise(own[0]).alias(role),
        *(
            turned.then(f"{other[1]}_{part}").otherwise(f"{own[1]}_{part}").alias(f"{role}_{part}")
            for part in _SIDE
        ),
    ]


def name_transport(table: pl.DataFrame, protocol: str) -> list[TransportRow]:
    """The report's rows of one protocol, addresses as text."""
    rows = table.filter(pl.col("protocol") == protocol).iter_rows(named=True)
    return [
        TransportRow(
            client=row["client"],
            server=row["server"],
            client_ip=address_text(row["client_hi"], row["client_lo"]),
            client_port=row["client_port"],
            server_ip=address_text(row["server_hi"], row["server_lo"]),
            server_port=row["server_port"],
            packets=row["packets"],
            bytes=row["bytes"],
            lost=row["lost"],
        )
        for row in rows
    ]
