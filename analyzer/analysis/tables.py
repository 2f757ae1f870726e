"""Packets and journeys as tables for people and other tools: names instead of indices.

A packet's number is that of its first frame in the file, as Wireshark counts: it is the same in
the report, in every table, in ``show`` and in an annotated pcapng, however the file is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.analysis.frames_table import table_of
from analyzer.flows.nat_tuples import translations, tuple_texts
from analyzer.flows.packets import path_matrix
from analyzer.model.batch import Batch, Columns
from analyzer.model.frames import EGRESS, FLAG_DIRECTION, INGRESS, MARK_UNTIMED
from analyzer.model.journeys import HOP_NAMES, Evidence, Hop, Journeys, Status

TIMED = tuple(name for name in HOP_NAMES if name not in ("none", "copy"))
"""the kinds of hops that have a time"""
HEADERS = (
    "vlan",
    "vlans",
    "ip_version",
    "src",
    "dst",
    "ttl",
    "ip_id",
    "src_port",
    "dst_port",
    "tcp_flags",
    "tcp_seq",
    "tcp_ack",
    "tcp_window",
    "icmp_type",
    "icmp_code",
    "icmp_id",
    "icmp_seq",
    "arp_op",
    "payload_len",
    "marks",
)
"""columns of a packet's first frame that its row has too"""


def packet_numbers(batch: Batch) -> npt.NDArray[np.int64]:
    """[packets] the number of each packet."""
    numbers: npt.NDArray[np.int64] = batch.packets["number"].to_numpy() + 1
    return numbers


def packet_table(batch: Batch, names: Sequence[str]) -> pl.DataFrame:
    """One row a packet, by times that order them; see `without_untimed`. names: of the vantages.

    packet, ts_ns, last_ts_ns, first_told, last_told (the file tells these), one_way_ns (first
    vantage to last; null unless it was delivered), protocol, source, destination, first_vantage,
    last_vantage, status (delivered, lost, unmatched), expected (the vantage that a lost packet
    should have come to), in_port, out_port, evidence (list), frames, certain, wirelen; path
    (vantages of its main path), hop_kinds and
    hop_delays_ns (lists: of the hops between them), and the sum for each kind: veth_ns,
    bridge_ns, deliver_ns, originate_ns, route_ns, span_ns, stacked_ns, tunnel_ns; translated (list:
    what NAT made of its addresses and ports on the way); then HEADERS, of its first frame.
    """
    packets, frames = batch.packets, batch.frames
    places = ("first_vantage", "last_vantage", "expected", "in_port", "out_port")
    rows = packets.select(
        pl.Series("packet", packet_numbers(batch)),
        "ts_ns",
        "last_ts_ns",
        "first_told",
        "last_told",
        pl.when(
            pl.col("status") == Status.DELIVERED,
            pl.col("last_frame") != pl.col("first_frame"),
            "first_told",
            "last_told",
        )
        .then(pl.col("last_ts_ns") - pl.col("ts_ns"))
        .alias("one_way_ns"),
        pl.col("protocol", "source", "destination").cast(pl.String),
        *(named(packets[name], names).alias(name) for name in places),
        named(packets["status"], [s.name.lower() for s in Status]).alias("status"),
        evidence_lists(packets["evidence"].to_numpy()).alias("evidence"),
        "frames",
        (~pl.col("likely")).alias("certain"),
        pl.col("len_bytes").alias("wirelen"),
    )
    first = packets["first_frame"].to_numpy()
    headers = table_of({name: column[first] for name, column in frames.items()}, names)
    return rows.hstack([*_hops(batch, names), translated_packets(batch), *headers.select(HEADERS)])


def _translations(frames: Columns, journeys: Journeys) -> pl.DataFrame:
    """frame (row behind it), packet (row), translated: the text; in order of time."""
    after = translations(frames, journeys)
    return pl.DataFrame(
        {
            "frame": after,
            "packet": journeys.packet[after],
            "translated": tuple_texts(frames, journeys.parent[after], after),
        }
    )


def translated_packets(batch: Batch) -> pl.Series:
    """[packets] the list of each packet's translations, in order of time."""
    texts = _translations(batch.frames, batch.journeys)
    lists = texts.group_by("packet", maintain_order=True).agg("translated")
    joined = batch.packets.select("packet").join(
        lists, on="packet", how="left", maintain_order="left"
    )
    return joined["translated"].fill_null(pl.lit([], dtype=pl.List(pl.String)))


def _hops(batch: Batch, names: Sequence[str]) -> pl.DataFrame:
    """[packets] path, hop_kinds, hop_delays_ns and the sums by kind."""
    journeys, ts = batch.journeys, batch.frames["ts_ns"]
    matrix = path_matrix(batch.packets["last_frame"].to_numpy(), journeys.parent)
    packet, step = np.nonzero(matrix >= 0)
    frame = matrix[packet, step]
    before = np.where(step > 0, matrix[packet, np.maximum(step, 1) - 1], -1)
    hop = pl.Series(journeys.hop[frame])
    steps = pl.DataFrame(
        {
            "row": packet.astype(np.uint32),
            "vantage": named(pl.Series(batch.frames["vantage"][frame]), names),
            "kind": named(hop, HOP_NAMES),
            "delay": pl.Series(ts[frame] - ts[np.maximum(before, 0)]).set(
                pl.Series((before < 0) | _untimed(batch.frames, frame, before)), None
            ),
            "hop": before >= 0,
        }
    )
    hops = pl.col("hop")
    of_packets = steps.group_by("row", maintain_order=True).agg(
        pl.col("vantage").alias("path"),
        pl.col("kind").filter(hops).alias("hop_kinds"),
        pl.col("delay").filter(hops).alias("hop_delays_ns"),
        *(_sum_of(kind).alias(f"{kind}_ns") for kind in TIMED),
    )
    rows = pl.DataFrame({"row": np.arange(len(batch.packets), dtype=np.uint32)})
    return rows.join(of_packets, on="row", how="left", maintain_order="left").drop("row")


def _untimed(
    frames: Columns, one: npt.NDArray[Any], other: npt.NDArray[Any]
) -> npt.NDArray[np.bool_]:
    """Whether the file tells no time of one of two frames."""
    marks = frames["marks"]
    untimed: npt.NDArray[np.bool_] = (marks[one] | marks[other]) & MARK_UNTIMED != 0
    return untimed


def without_untimed(packets: pl.DataFrame) -> pl.DataFrame:
    """Rows of `packet_table` in which times that the file does not tell are null."""
    times = {"ts_ns": "first_told", "last_ts_ns": "last_told"}
    told = (pl.when(told).then(name).alias(name) for name, told in times.items())
    return packets.with_columns(told).drop(times.values())


def _sum_of(kind: str) -> pl.Expr:
    delays = pl.col("delay").filter(pl.col("kind") == kind).drop_nulls()
    return pl.when(delays.len() > 0).then(delays.sum())


def journey_table(batch: Batch, names: Sequence[str]) -> pl.DataFrame:
    """A row a frame of each packet, in order of its path; a copy follows what it is a copy of.

    packet, step (from 0), frame (as Wireshark counts), vantage, direction, ts_ns, delta_ns (since
    the packet's first frame), kind (of the hop that led here: none, veth, bridge, deliver,
    originate, route, span; copy is docker0's), delay_ns (of that hop; null for the first frame
    and for a copy), certain, translated (what NAT made of addresses and ports on that hop; null).
    """
    journeys, frames = batch.journeys, batch.frames
    ts = frames["ts_ns"]
    is_copy = journeys.hop == Hop.COPY
    closed = np.flatnonzero(journeys.packet >= 0)
    keys = (ts, ~is_copy, depths(journeys), journeys.packet)
    order = closed[np.lexsort([key[closed] for key in keys])]
    packet, hop = journeys.packet[order], journeys.hop[order]
    parent = np.maximum(journeys.parent[order], 0)
    timed = (hop != Hop.NONE) & ~is_copy[order] & ~_untimed(frames, order, parent)
    first = journeys.first[packet]
    known = pl.Series(frames["marks"][order] & MARK_UNTIMED == 0)
    texts = np.full(len(ts), None, object)
    translated = _translations(frames, journeys)
    texts[translated["frame"].to_numpy()] = translated["translated"].to_list()
    rows = pl.DataFrame(
        {
            "packet": packet_numbers(batch)[packet],
            "frame": frames["number"][order] + 1,
            "vantage": named(pl.Series(frames["vantage"][order]), names),
            "direction": directions(frames["flags"][order]),
            "ts_ns": pl.Series(ts[order]).set(~known, None),
            "delta_ns": pl.Series(ts[order] - ts[first]).set(
                pl.Series(_untimed(frames, order, first)), None
            ),
            "kind": named(pl.Series(hop), HOP_NAMES),
            "delay_ns": pl.Series(ts[order] - ts[parent]).set(pl.Series(~timed), None),
            "certain": ~journeys.likely[order],
            "translated": pl.Series(texts[order].tolist(), dtype=pl.String),
        }
    )
    step = pl.int_range(pl.len()).over("packet").alias("step")
    return rows.select("packet", step, pl.exclude("packet"))


def depths(journeys: Journeys) -> npt.NDArray[np.int32]:
    """[n] how many frames lie before each frame on its path."""
    depth = np.zeros(len(journeys.parent), np.int32)
    up = journeys.parent
    while (there := up >= 0).any():
        depth += there
        up = np.where(there, journeys.parent[np.maximum(up, 0)], -1)
    return depth


def evidence_lists(bits: npt.NDArray[np.uint16]) -> pl.Series:
    """[n] the names of Evidence bits; each different list is made once."""
    different, place = np.unique(bits, return_inverse=True)
    lists = [[bit.name.lower() for bit in Evidence if code & bit] for code in different.tolist()]
    return pl.Series(lists, dtype=pl.List(pl.String)).gather(place)


def directions(flags: npt.NDArray[np.uint32]) -> pl.Series:
    """ingress, egress or null, from epb_flags."""
    words = {INGRESS: "ingress", EGRESS: "egress"}
    by_code = pl.Series([words.get(code) for code in range(4)], dtype=pl.String)
    return by_code.gather(flags & FLAG_DIRECTION)


def named(codes: pl.Series, words: Sequence[str]) -> pl.Series:
    """words[code]; null where the code is negative."""
    number = codes.cast(pl.Int64).to_numpy()
    spare = pl.Series([*words, None], dtype=pl.String)
    return spare.gather(np.where(number < 0, len(words), number))
