"""TCP and UDP packets as rows: both ends, and what tells who opened."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.frame_notes import FrameNotes
from analyzer.model.batch import Batch
from analyzer.model.frames import MARK_FRAGMENT, MARK_MORE_FRAGMENTS
from analyzer.model.journeys import Evidence, Status
from analyzer.native.compiled import compiled
from analyzer.native.keys import mix
from analyzer.net.ip import TCP, UDP
from analyzer.net.tcp_flags import ACK, SYN

SIDE = ("hi", "lo", "port")
"""parts of an end"""


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
        "first_told",
        "last_told",
    ]
    chosen = batch.packets.select(*names, "first_frame", "last_frame", "evidence")
    chosen = chosen.filter(pl.Series(ours))
    first, last = (chosen[f"{end}_frame"].to_numpy().astype(np.intp) for end in ("first", "last"))
    flags, marks = frames["tcp_flags"][first], frames["marks"][first]
    rank = np.where(flags & SYN == 0, 2, np.where(flags & ACK == 0, 0, 1))
    sent_here = (chosen["evidence"] & Evidence.STATION_OUT) != 0
    site, ns = batch.journeys.site[frames["vantage"][first]], chosen["ts_ns"].to_numpy()
    ends = {"src": first, "dst": last}
    since = {
        side: batch.had_since(site, (frames[f"{side}_hi"][at], frames[f"{side}_lo"][at]), ns)
        for side, at in ends.items()
    }
    return chosen.select(names).with_columns(
        pl.Series("kind", kind[ours]),
        pl.Series("site", site),
        *(pl.Series(f"{side}_since", column.astype(np.uint64)) for side, column in since.items()),
        *(pl.Series(f"src_{part}", frames[f"src_{part}"][first]) for part in SIDE),
        *(pl.Series(f"dst_{part}", frames[f"dst_{part}"][last]) for part in SIDE),
        pl.Series("ip_id", frames["ip_id"][first]),
        pl.Series("l3key", frames["l3key"][first]),
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
    parts = (*SIDE, "since")
    ends = tuple(rows[f"{end}_{part}"].to_numpy() for end in ("src", "dst") for part in parts)
    keys, forward = np.empty(len(rows), np.uint64), np.empty(len(rows), np.int64)
    _keys(keys, forward, rows["kind"].to_numpy(), rows["site"].to_numpy(), ends)
    return keys, forward


@compiled
def _keys(keys: Any, forward: Any, kind: Any, site: Any, ends: Any) -> None:
    """One key a conversation: of its two ends, whatever the direction; who has an address after
    somebody else is another end."""
    src_hi, src_lo, src_port, src_since, dst_hi, dst_lo, dst_port, dst_since = ends
    for row in range(len(keys)):
        one = mix(mix(src_hi[row], src_lo[row]), np.uint64(src_port[row]) ^ src_since[row])
        other = mix(mix(dst_hi[row], dst_lo[row]), np.uint64(dst_port[row]) ^ dst_since[row])
        what = np.uint64(site[row]) << np.uint64(8) | np.uint64(kind[row])
        keys[row] = mix(mix(min(one, other), max(one, other)), what)
        forward[row] = one < other


def one_way_times(rows: pl.DataFrame) -> npt.NDArray[np.int64]:
    """[n] first vantage to last of delivered packets; negative: not known."""
    there = (rows["status"] == Status.DELIVERED) & (rows["frames"] > 1)
    there &= rows["first_told"] & rows["last_told"]
    times = (rows["last_ts_ns"] - rows["ts_ns"]).to_numpy()
    return np.where(
        there.to_numpy() & (rows["first_vantage"] != rows["last_vantage"]).to_numpy(), times, -1
    )


def flow_of_packets(
    batch: Batch, rows: pl.DataFrame, flow: npt.NDArray[np.int64], kind: int
) -> npt.NDArray[np.int64]:
    """[packets] the flow of each TCP segment, or of each datagram, -1 of what is none.

    kind: TCP or UDP.
    """
    of_packets = np.full(len(batch.packets), -1, np.int64)
    ours = rows["headed"].to_numpy() & (rows["kind"].to_numpy() == kind)
    of_packets[rows["packet"].to_numpy()[ours]] = flow[ours]
    return of_packets


def noted(notes: FrameNotes | None, batch: Batch, rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """number, flow and what was noted of those of the rows of which something was."""
    found = notes.take(batch) if notes else None
    if found is None:
        return pl.DataFrame(schema={"number": pl.Int64, "flow": pl.Int64, name: pl.Int64})
    noted = found.select("number", pl.col(name).cast(pl.Int64))
    return rows.select("number", "flow").join(noted, on="number")
