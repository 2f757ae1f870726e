"""ARP (RFC 826, 5227): who asked for whom, who answered, how fast; conflicts.

A request is tied to the first reply to its asker for its target that follows it. States:
resolved, unanswered, gratuitous (an announcement of one's own address), probe (asked with
sender address 0, RFC 5227), conflict (two MACs claim the address).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import polars as pl

from analyzer.flows.endpoints import Endpoints, address_text, mac_text
from analyzer.model.journeys import Journeys
from analyzer.model.report import ArpRow

REQUEST, REPLY = 1, 2
_V4_MAPPED = 0xFFFF_0000_0000
_KEY = ["segment", "asker_mac", "asker_ip", "target_ip"]

Columns = Mapping[str, npt.NDArray[Any]]


def arp_packets(frames: Columns, packets: pl.DataFrame, journeys: Journeys) -> pl.DataFrame:
    """One row an ARP packet: its addresses, op, when and where it was first and last seen."""
    chosen = packets.filter(pl.col("protocol") == "arp")
    first = chosen["first_frame"].to_numpy()
    rows = pl.DataFrame(
        {
            "packet": chosen["packet"],
            "segment": journeys.segment[frames["vantage"][first]],
            "op": frames["arp_op"][first],
            "sha": frames["arp_sha"][first],
            "spa": frames["arp_spa"][first],
            "tha": frames["arp_tha"][first],
            "tpa": frames["arp_tpa"][first],
            "first_ts": chosen["ts_ns"],
            "last_ts": chosen["last_ts_ns"],
            "first_vantage": chosen["first_vantage"],
            "last_vantage": chosen["last_vantage"],
        }
    )
    return rows.filter(pl.col("op").is_in([REQUEST, REPLY]))


def summarise_arp(rows: pl.DataFrame) -> pl.DataFrame:
    """One row an (asker, target): requests, replies, latency, the answering MAC, state."""
    announces = pl.col("spa") == pl.col("tpa")
    asked = rows.filter((pl.col("op") == REQUEST) | announces).select(
        "segment", "packet", "first_vantage",
        pl.col("first_ts").alias("ts"),
        pl.col("sha").alias("asker_mac"),
        pl.col("spa").alias("asker_ip"),
        pl.col("tpa").alias("target_ip"),
        announces.alias("gratuitous"),
    )  # fmt: skip
    replied = rows.filter((pl.col("op") == REPLY) & ~announces).select(
        "segment", "last_ts", "last_vantage",
        pl.col("first_ts").alias("ts"),
        pl.col("tha").alias("asker_mac"),
        pl.col("tpa").alias("asker_ip"),
        pl.col("spa").alias("target_ip"),
        pl.col("sha").alias("answer_mac"),
    )  # fmt: skip
    tied = replied.sort("ts").join_asof(
        asked.sort("ts").with_columns(pl.col("ts").alias("asked_ts")),
        on="ts", by=_KEY, strategy="backward", check_sortedness=False,
    )  # fmt: skip
    return _per_pair(asked, tied, _claims(rows))


def _per_pair(asked: pl.DataFrame, tied: pl.DataFrame, claims: pl.DataFrame) -> pl.DataFrame:
    """Join the askers' side, the answers' side and the claims."""
    at_asker = pl.col("last_vantage") == pl.col("first_vantage")
    first_reply = (
        tied.filter(pl.col("packet").is_not_null())
        .group_by("packet", maintain_order=True)
        .agg(
            pl.col(*_KEY, "answer_mac", "last_ts", "asked_ts").first(),
            at_asker.first().alias("home"),
        )
        .with_columns(
            pl.when("home").then(pl.col("last_ts") - pl.col("asked_ts")).alias("latency_ns")
        )
    )
    answers = first_reply.group_by(_KEY, maintain_order=True).agg(
        pl.col("answer_mac").first(),
        pl.col("latency_ns").quantile(0.5, "nearest").cast(pl.Int64).alias("latency_p50_ns"),
        pl.col("latency_ns").max().alias("latency_max_ns"),
    )
    replies = tied.group_by(_KEY).agg(pl.len().alias("replies"))
    return (
        asked.group_by(_KEY, maintain_order=True)
        .agg(pl.len().alias("requests"), pl.col("gratuitous").any(), pl.col("ts").min())
        .join(answers, on=_KEY, how="left", maintain_order="left")
        .join(replies, on=_KEY, how="left", maintain_order="left")
        .join(claims, on=["segment", "target_ip"], how="left", maintain_order="left")
        .with_columns(pl.col("replies").fill_null(0))
        .with_columns(_state())
        .sort("ts", maintain_order=True)
    )


def _claims(rows: pl.DataFrame) -> pl.DataFrame:
    """All MACs that claimed each address in each segment, by any ARP packet of theirs."""
    return (
        rows.filter(pl.col("spa") != 0)
        .group_by("segment", pl.col("spa").alias("target_ip"))
        .agg(pl.col("sha").unique(maintain_order=True).alias("macs"))
    )


def _state() -> pl.Expr:
    return (
        pl.when(pl.col("macs").list.len() > 1).then(pl.lit("conflict"))
        .when("gratuitous").then(pl.lit("gratuitous"))
        .when(pl.col("asker_ip") == 0).then(pl.lit("probe"))
        .when(pl.col("replies") > 0).then(pl.lit("resolved"))
        .otherwise(pl.lit("unanswered"))
        .alias("state")
    )  # fmt: skip


def name_arp(table: pl.DataFrame, endpoints: Endpoints) -> list[ArpRow]:
    """The report's rows, with names and addresses as text."""
    return [_row(row, endpoints) for row in table.iter_rows(named=True)]


def _row(row: dict[str, Any], endpoints: Endpoints) -> ArpRow:
    segment, asker_mac, answer = row["segment"], row["asker_mac"], row["answer_mac"]

    def owner(mac: int, address: int) -> str:
        version = 4 if address else 0
        return endpoints.name(segment, mac, version, 0, _V4_MAPPED | address)

    return ArpRow(
        asker=owner(asker_mac, row["asker_ip"]),
        asker_ip=_ip(row["asker_ip"]),
        asker_mac=mac_text(asker_mac),
        target_ip=_ip(row["target_ip"]),
        answered_by="" if answer is None else owner(answer, row["target_ip"]),
        answer_mac="" if answer is None else mac_text(answer),
        requests=row["requests"],
        replies=row["replies"],
        latency_p50_ns=row["latency_p50_ns"],
        latency_max_ns=row["latency_max_ns"],
        state=row["state"],
        macs=[mac_text(m) for m in row["macs"]] if row["state"] == "conflict" else [],
    )


def _ip(value: int) -> str:
    return address_text(0, _V4_MAPPED | value)
