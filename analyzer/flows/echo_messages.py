"""Echo messages as rows of a table: who asked whom, where and when each message was seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.group_echoes import is_for_group
from analyzer.flows.packets import path_matrix
from analyzer.flows.silent_echoes import LAST
from analyzer.flows.slow_echoes import SLOWEST, slowest_hops
from analyzer.model.batch import Batch, Columns
from analyzer.model.frames import MARK_UNTIMED
from analyzer.net.icmp import ECHO_REPLIES, ECHO_REQUESTS
from analyzer.net.ip import ICMP, ICMP_PROTOCOLS, ICMPV6

KEY = ["site", "asker_hi", "asker_lo", "target_hi", "target_lo", "id", "seq"]
"""what a request and its reply have in common"""
NAMES = ["protocol", "source", "destination"]
HOPS = ("hop_from", "hop_to", "hop_kind", "hop_ns")
_OF_PACKET = (
    "ts_ns",
    "last_ts_ns",
    "first_vantage",
    "last_vantage",
    "pair",
    "status",
    "first_frame",
    "last_frame",
    "first_told",
    "last_told",
    *NAMES,
)


def echo_messages(batch: Batch) -> pl.DataFrame:
    """One row an echo message, request or reply."""
    packets, frames = batch.packets, batch.frames
    first = packets["first_frame"].to_numpy().astype(np.intp)
    protocol = frames["protocol"][first]
    rows = np.flatnonzero((protocol == ICMP) | (protocol == ICMPV6))
    kind, version4 = frames["icmp_type"][first[rows]], protocol[rows] == ICMP
    echo, echo_v6 = zip(ECHO_REQUESTS, ECHO_REPLIES, strict=True)
    ours = np.where(version4, np.isin(kind, echo), np.isin(kind, echo_v6))
    ours &= (frames["l4_offset"][first[rows]] > 0) & ~packets["stray"].to_numpy()[rows]
    texts = pl.col(NAMES).cast(pl.String)  # they outlive the batch
    chosen: pl.DataFrame = packets.select(*_OF_PACKET)[rows[ours]].with_columns(texts)
    first, last = (chosen[f"{end}_frame"].to_numpy().astype(np.intp) for end in ("first", "last"))
    kind = frames["icmp_type"][first]
    asked: npt.NDArray[np.bool_] = np.isin(kind, ECHO_REQUESTS)
    end = np.where(asked, first, last)

    def side(request: str, reply: str) -> npt.NDArray[Any]:
        column: npt.NDArray[Any] = np.where(asked, frames[request][end], frames[reply][end])
        return column

    return chosen.with_columns(
        pl.Series("asked", asked),
        pl.Series("to_group", asked & is_for_group(frames, first)),
        pl.Series("site", batch.journeys.site[frames["vantage"][end]]),
        *(pl.Series(f"asker_{h}", side(f"src_{h}", f"dst_{h}")) for h in ("hi", "lo")),
        *(pl.Series(f"target_{h}", side(f"dst_{h}", f"src_{h}")) for h in ("hi", "lo")),
        pl.Series("id", frames["icmp_id"][end]),
        pl.Series("seq", frames["icmp_seq"][end]),
        pl.Series("payload_len", frames["payload_len"][first]),
        pl.Series("ttl", frames["ttl"][last]),
        *(pl.Series(name, frames[name.removeprefix("last_")][last]) for name in LAST),
        *map(pl.Series, SLOWEST, slowest_hops(frames, batch.journeys, last)),
    )


def with_hops(events: pl.DataFrame, batch: Batch) -> pl.DataFrame:
    """The events with the hops of their journeys: lists hop_from, hop_to (vantages), hop_kind
    (codes), hop_ns (null where the file tells no time)."""
    journeys, vantage, ts = batch.journeys, batch.frames["vantage"], batch.frames["ts_ns"]
    untimed = batch.frames["marks"] & MARK_UNTIMED
    matrix = path_matrix(events["last_frame"].to_numpy(), journeys.parent)
    row, step = np.nonzero(matrix[:, 1:] >= 0)
    before, after = matrix[row, step], matrix[row, step + 1]
    hops = (
        pl.DataFrame(
            {
                "row": row.astype(np.uint32),
                "hop_from": vantage[before],
                "hop_to": vantage[after],
                "hop_kind": journeys.hop[after],
                "hop_ns": pl.Series(ts[after] - ts[before]).set(
                    pl.Series((untimed[before] | untimed[after]) != 0), None
                ),
            }
        )
        .group_by("row", maintain_order=True)
        .agg(pl.all())
    )
    numbered = events.with_row_index("row")
    return numbered.join(hops, on="row", how="left", maintain_order="left").drop("row")


def first_replies(events: pl.DataFrame) -> pl.DataFrame:
    """One row an echo that was answered: of its replies the one that came back, else the first."""
    replies = events.filter(~pl.col("asked"), pl.col("tie") >= 0)
    replies = replies.sort(~pl.col("answered"), maintain_order=True)
    return replies.unique("tie", keep="first", maintain_order=True).select(
        "tie",
        "ttl",
        "answered",
        *(pl.when(pl.col(n) >= 0).then(n).alias(n) for n in ("rtt_ns", "turnaround_ns")),
        pl.col("last_vantage").alias("reply_last"),
        pl.col("status").alias("reply_status"),
        *(pl.col(name).alias(f"reply_{name}") for name in HOPS),
    )


def echo_numbers(ident: npt.NDArray[Any], seq: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """What echoes are told by, in one number: id << 16 | seq."""
    return ident.astype(np.int64) << 16 | seq.astype(np.int64)


def echoes_in(
    frames: Columns, which: npt.NDArray[np.bool_], types: Sequence[int]
) -> npt.NDArray[np.int64]:
    """The different echoes of which these frames hold messages of these types."""
    icmp = which & np.isin(frames["protocol"], ICMP_PROTOCOLS) & (frames["l4_offset"] > 0)
    rows = icmp & np.isin(frames["icmp_type"], types)
    return np.unique(echo_numbers(frames["icmp_id"][rows], frames["icmp_seq"][rows]))
