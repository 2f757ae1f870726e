"""TCP and UDP conversations: who opened them, how many packets and bytes, how many were lost.

Counted per packet, never per copy, both directions together. The source is read where a packet
was first seen and the destination where it was last seen: so the two directions of a
conversation meet under one pair of addresses and ports, whatever NAT did in between.
The client is who sent the first SYN; where none was seen, who got the first SYN-ACK, else who
sent the first packet. Fragments without a header count for the datagram that they belong to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import polars as pl

from analyzer.flows.endpoints import address_text
from analyzer.model.frames import MARK_FRAGMENT
from analyzer.model.journeys import Journeys, Status
from analyzer.model.report import TransportRow

PROTOCOLS = ("tcp", "udp")
_SYN, _ACK = 0x02, 0x10
_REASSEMBLY_NS = 30_000_000_000
"""how long fragments wait for each other (net.ipv4.ipfrag_time)"""
_SIDE = ("hi", "lo", "port")
_DATAGRAM = ["protocol", "site", "src_hi", "src_lo", "dst_hi", "dst_lo", "ip_id"]
_KEY = ["protocol", "site", *(f"{side}_{part}" for side in ("low", "high") for part in _SIDE)]

Columns = Mapping[str, npt.NDArray[Any]]


def build_conversations(frames: Columns, packets: pl.DataFrame, journeys: Journeys) -> pl.DataFrame:
    """One row a conversation, in order of appearance.

    protocol, client, server (names), client_hi, client_lo, client_port, server_hi, server_lo,
    server_port, packets, bytes (of payload), lost (packets of status lost).
    """
    rows = _with_key(_give_ports_to_fragments(_segments(frames, packets, journeys)))
    totals = rows.group_by(_KEY).agg(
        pl.len().cast(pl.Int64).alias("packets"),
        pl.col("payload_len").sum().cast(pl.Int64).alias("bytes"),
        (pl.col("status") == Status.LOST).sum().cast(pl.Int64).alias("lost"),
        pl.col("ts_ns").min().alias("start_ns"),
    )
    opening = rows.sort("rank", "ts_ns", "packet").unique(_KEY, keep="first", maintain_order=True)
    return (
        opening.join(totals, on=_KEY, how="left")
        .sort("start_ns", "packet")
        .select("protocol", *_side("client"), *_side("server"), "packets", "bytes", "lost")
    )


def _segments(frames: Columns, packets: pl.DataFrame, journeys: Journeys) -> pl.DataFrame:
    """One row a TCP or UDP packet, with both ends and what tells who opened."""
    chosen = packets.filter(pl.col("protocol").cast(pl.String).is_in(PROTOCOLS))
    first, last = (chosen[f"{end}_frame"].to_numpy() for end in ("first", "last"))
    names = ["packet", "ts_ns", "source", "destination", "status"]
    flags = pl.Series("flags", frames["tcp_flags"][first])
    return chosen.select(pl.col("protocol").cast(pl.String), *names).with_columns(
        pl.Series("site", journeys.site[frames["vantage"][first]]),
        *(pl.Series(f"src_{part}", frames[f"src_{part}"][first]) for part in _SIDE),
        *(pl.Series(f"dst_{part}", frames[f"dst_{part}"][last]) for part in _SIDE),
        pl.Series("ip_id", frames["ip_id"][first]),
        pl.Series("payload_len", frames["payload_len"][first]),
        pl.Series("headed", (frames["marks"][first] & MARK_FRAGMENT) == 0),
        pl.when(flags & _SYN == 0).then(2).when(flags & _ACK == 0).then(0).otherwise(1)
        .alias("rank"),
    )  # fmt: skip


def _give_ports_to_fragments(rows: pl.DataFrame) -> pl.DataFrame:
    """Fragments with the ports of their first one; those whose first one was not seen are out.

    So are headers of which nothing was captured.
    """
    ports = ["src_port", "dst_port"]
    headed = rows.filter("headed", (pl.col("src_port") > 0) | (pl.col("dst_port") > 0))
    pieces = rows.filter(~pl.col("headed")).drop(ports).sort("ts_ns")
    found = pieces.join_asof(
        headed.select("ts_ns", *_DATAGRAM, *ports).sort("ts_ns"),
        on="ts_ns", by=_DATAGRAM, strategy="nearest", tolerance=_REASSEMBLY_NS,
        check_sortedness=False,
    ).drop_nulls(ports)  # fmt: skip
    return pl.concat([headed, found.select(headed.columns)])


def _with_key(rows: pl.DataFrame) -> pl.DataFrame:
    """Add _KEY: the two ends in an order that does not depend on the direction."""
    forward = pl.lit(False)
    for part in reversed(_SIDE):
        src, dst = pl.col(f"src_{part}"), pl.col(f"dst_{part}")
        forward = (src < dst) | ((src == dst) & forward)
    return rows.with_columns(
        pl.when(forward if side == "low" else ~forward)
        .then(f"src_{part}").otherwise(f"dst_{part}").alias(f"{side}_{part}")
        for side in ("low", "high")
        for part in _SIDE
    )  # fmt: skip


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
