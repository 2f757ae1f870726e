"""TCP and UDP packets as rows: both ends, what tells who opened, and the ports of fragments."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.model.batch import Batch
from analyzer.model.frames import MARK_FRAGMENT, MARK_MORE_FRAGMENTS
from analyzer.model.journeys import Evidence, Status
from analyzer.native.compiled import compiled
from analyzer.native.keys import mix
from analyzer.net.ip import TCP, UDP
from analyzer.net.tcp_flags import ACK, SYN

SIDE = ("hi", "lo", "port")
"""parts of an end"""
_REASSEMBLY_NS = 30_000_000_000
"""how long fragments wait for each other (net.ipv4.ipfrag_time)"""
_DATAGRAM = ["protocol", "site", "src_hi", "src_lo", "dst_hi", "dst_lo", "ip_id"]
_MOST_WAITING = 100_000
"""fragments that wait for their first one, and first ones that others may belong to"""


class Fragments:
    """Fragments other than the first have no ports: they get those of the first one."""

    def __init__(self) -> None:
        self._heads: pl.DataFrame | None = None
        self._pieces: pl.DataFrame | None = None

    def with_ports(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows of `transport_packets` that have ports, and all fragments of which the first one
        is known by now. Fragments of which it was not seen yet wait.
        """
        pieces = rows.filter(~pl.col("headed"))
        headed = rows
        ported = pl.col("headed") & ((pl.col("src_port") > 0) | (pl.col("dst_port") > 0))
        if not rows.select(ported.all()).item():
            headed = rows.filter(ported)
        heads = headed.filter("more")
        if pieces.is_empty() and self._pieces is None and heads.is_empty():
            return headed
        return self._join(headed, heads, pieces)

    def _join(
        self, headed: pl.DataFrame, heads: pl.DataFrame, pieces: pl.DataFrame
    ) -> pl.DataFrame:
        ports = ["src_port", "dst_port"]
        self._heads = _joined(self._heads, heads.select("ts_ns", *_DATAGRAM, *ports))
        self._pieces = _joined(self._pieces, pieces.drop(ports)).sort("ts_ns")
        tied = self._pieces.join_asof(
            self._heads.sort("ts_ns"),
            on="ts_ns",
            by=_DATAGRAM,
            strategy="nearest",
            tolerance=_REASSEMBLY_NS,
            check_sortedness=False,
        )
        self._pieces = tied.filter(pl.col("src_port").is_null()).drop(ports).tail(_MOST_WAITING)
        self._heads = self._heads.tail(_MOST_WAITING)
        return pl.concat([headed, tied.drop_nulls(ports).select(headed.columns)])


def _joined(before: pl.DataFrame | None, rows: pl.DataFrame) -> pl.DataFrame:
    return rows if before is None else pl.concat([before, rows])


def transport_packets(batch: Batch) -> pl.DataFrame:
    """One row a TCP or UDP packet, with both ends and what tells who opened."""
    frames = batch.frames
    kind = frames["protocol"][batch.packets["first_frame"].to_numpy().astype(np.intp)]
    ours = ((kind == TCP) | (kind == UDP)) & ~batch.packets["stray"].to_numpy()
    names = [
        "packet",
        "number",
        "ts_ns",
        "last_ts_ns",
        "protocol",
        "source",
        "destination",
        "status",
        "expected",
        "frames",
        "first_vantage",
        "last_vantage",
    ]
    chosen = batch.packets.select(*names, "first_frame", "last_frame", "evidence")
    chosen = chosen.filter(pl.Series(ours))
    first, last = (chosen[f"{end}_frame"].to_numpy().astype(np.intp) for end in ("first", "last"))
    flags, marks = frames["tcp_flags"][first], frames["marks"][first]
    rank = np.where(flags & SYN == 0, 2, np.where(flags & ACK == 0, 0, 1))
    sent_here = (chosen["evidence"] & Evidence.STATION_OUT) != 0
    return chosen.select(names).with_columns(
        pl.Series("kind", kind[ours]),
        pl.Series("site", batch.journeys.site[frames["vantage"][first]]),
        *(pl.Series(f"src_{part}", frames[f"src_{part}"][first]) for part in SIDE),
        *(pl.Series(f"dst_{part}", frames[f"dst_{part}"][last]) for part in SIDE),
        pl.Series("ip_id", frames["ip_id"][first]),
        pl.Series("payload_len", frames["payload_len"][first]),
        pl.Series("headed", (marks & MARK_FRAGMENT) == 0),
        pl.Series("more", (marks & MARK_MORE_FRAGMENTS) != 0),
        pl.Series("rank", rank),
        pl.Series("seq", frames["tcp_seq"][first]),
        pl.Series("ack", frames["tcp_ack"][first]),
        pl.Series("flags", flags),
        pl.Series("window", frames["tcp_window"][first]),
        sent_here.alias("sent_here"),
    )


def conversation_keys(rows: pl.DataFrame) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """(key of each packet's conversation, 1 from its lower end to its higher, else 0)."""
    ends = tuple(rows[f"{end}_{part}"].to_numpy() for end in ("src", "dst") for part in SIDE)
    keys, forward = np.empty(len(rows), np.uint64), np.empty(len(rows), np.int64)
    _keys(keys, forward, rows["kind"].to_numpy(), rows["site"].to_numpy(), ends)
    return keys, forward


@compiled
def _keys(keys: Any, forward: Any, kind: Any, site: Any, ends: Any) -> None:
    """One key a conversation: of its two ends, whatever the direction."""
    src_hi, src_lo, src_port, dst_hi, dst_lo, dst_port = ends
    for row in range(len(keys)):
        one = mix(mix(src_hi[row], src_lo[row]), np.uint64(src_port[row]))
        other = mix(mix(dst_hi[row], dst_lo[row]), np.uint64(dst_port[row]))
        what = np.uint64(site[row]) << np.uint64(8) | np.uint64(kind[row])
        keys[row] = mix(mix(min(one, other), max(one, other)), what)
        forward[row] = one < other


def one_way_times(rows: pl.DataFrame) -> npt.NDArray[np.int64]:
    """[n] first vantage to last of delivered packets; negative: not known."""
    there = (rows["status"] == Status.DELIVERED) & (rows["frames"] > 1)
    times = (rows["last_ts_ns"] - rows["ts_ns"]).to_numpy()
    return np.where(
        there.to_numpy() & (rows["first_vantage"] != rows["last_vantage"]).to_numpy(), times, -1
    )
