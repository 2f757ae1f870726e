"""ARP (RFC 826, 5227): who asked for whom, who answered, how fast; conflicts.

A request is tied to the first reply to its asker for its target that follows it. States:
resolved, unanswered, unknown (an answer could not have been seen here), gratuitous (an
announcement of one's own address), probe (asked with sender address 0, RFC 5227), conflict (two
MACs claim the address).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.claims import Claim, Claims, Place
from analyzer.flows.delays import Delays
from analyzer.flows.doors import find_doors
from analyzer.flows.live_numbers import latest_rows, new_numbers
from analyzer.flows.missed_requests import MissedRequests
from analyzer.flows.packets import seen_at
from analyzer.model.batch import Batch, InOrder
from analyzer.model.frames import EGRESS, FLAG_DIRECTION
from analyzer.native.keys import KeyNumbers, mixed
from analyzer.net.arp import REPLY, REQUEST
from analyzer.net.ethernet import ARP, GROUP_BIT_U64, mac_value
from analyzer.net.ip import MAPPED

UNANSWERED, UNKNOWN = "unanswered", "unknown"
_AT_ONCE = 1 << 16
"""packets that are looked at together"""
_PATIENCE_NS = 1_000_000_000
"""a reply that comes later was not to the question"""
_KEY = ["segment", "asker_mac", "asker_ip", "target_ip", "borne_since"]

_EMPTY = pl.DataFrame()
"""no ARP at all: no rows"""


class Arp:
    """Who asked for whom, batch by batch; a row a (asker, target) however often it asked."""

    def __init__(self) -> None:
        self._order = InOrder(_AT_ONCE)
        self._requests: pl.DataFrame | None = None
        """the latest request of every pair; a later reply may be to it"""
        self._asked: pl.DataFrame | None = None
        self._replies: pl.DataFrame | None = None
        self.claims = Claims()
        self._pairs = KeyNumbers()
        self.forgotten = 0
        """pairs of which nothing is told: there were too many"""
        self._forgotten_ns = -_PATIENCE_NS
        """when the last of these asked"""
        self._latency = Delays()
        self._missed = MissedRequests(_KEY)

    def add(self, batch: Batch) -> None:
        """Take in the ARP packets of one batch."""
        rows = self._order.release(_arp_packets(batch), batch.settled_ns)
        if not rows.is_empty():
            self._take(rows)

    def _take(self, rows: pl.DataFrame) -> None:
        announces = pl.col("spa") == pl.col("tpa")
        asked = _asked(rows.filter((pl.col("op") == REQUEST) | announces), announces)
        tied = _tie(rows.filter((pl.col("op") == REPLY) & ~announces), self._requests, asked)
        self.claims.take(_claims(rows, announces, tied, self._forgotten_ns))
        first = tied.filter(pl.col("request").is_not_null(), ~pl.col("replied"))
        first = first.unique("request", keep="first", maintain_order=True)
        pairs, _ = self._pairs.take(mixed(*(first[name].to_numpy() for name in _KEY)))
        home = (first["last_vantage"] == first["first_vantage"]).to_numpy()
        waited = (first["last_ts"] - first["asked_ts"]).to_numpy()
        self._latency.add(pairs[home], waited[home])
        self._keep(rows, asked, tied, first.with_columns(pl.Series("pair", pairs)))

    def _keep(
        self, rows: pl.DataFrame, asked: pl.DataFrame, tied: pl.DataFrame, first: pl.DataFrame
    ) -> None:
        """Add to the counts; all of it is as long as there are pairs, not packets."""
        self._asked = _merged(
            self._asked,
            asked.with_columns(
                pl.col("asks").cast(pl.Int64).alias("requests"), pl.col("ts").alias("last_asked")
            ).drop("asks"),
            [
                pl.col("requests", "polls").sum(),
                pl.col("gratuitous").any(),
                pl.col("ts").min(),
                pl.col("last_asked").max(),
                pl.col("seen").explode().unique(maintain_order=True),
            ],
        )
        answers = first.select(*_KEY, "answer_mac", "pair", pl.lit(0, pl.Int64).alias("replies"))
        counted = tied.select(
            *_KEY,
            pl.lit(None, pl.UInt64).alias("answer_mac"),
            pl.lit(None, pl.Int32).alias("pair"),
            pl.lit(1, pl.Int64).alias("replies"),
        )
        self._replies = _merged(
            self._replies,
            pl.concat([answers, counted]),
            [pl.col("answer_mac", "pair").drop_nulls().first(), pl.col("replies").sum()],
        )
        replied = pl.col("request").is_in(first["request"].implode()) | pl.col("replied")
        requests = asked if self._requests is None else pl.concat([self._requests, asked])
        requests = requests.with_columns(replied.alias("replied"))
        self._requests = requests.unique(_KEY, keep="last", maintain_order=True)
        self._missed.take(requests.join(self._requests, on="request", how="anti"))
        self._shed()

    def _shed(self) -> None:
        """Forget the pairs that asked least recently, where there are too many."""
        assert self._asked is not None
        assert self._replies is not None
        kept = latest_rows(self._asked, by="last_asked")
        if len(kept) == len(self._asked):
            return
        self.forgotten += len(self._asked) - len(kept)
        assert self._requests is not None
        gone = self._asked.join(kept, on=_KEY, how="anti")["last_asked"].to_numpy()
        self._forgotten_ns = max(self._forgotten_ns, int(gone.max()))
        self._asked = kept
        self._requests = self._requests.join(kept, on=_KEY, how="semi", maintain_order="left")
        self._missed.keep(kept)
        replies = self._replies.join(kept, on=_KEY, how="semi", maintain_order="left")
        answered = np.unique(replies["pair"].drop_nulls().to_numpy()).astype(np.int64)
        new = pl.Series(new_numbers(answered, self._pairs.count), dtype=pl.Int32)
        self._replies = replies.with_columns(new.gather(replies["pair"]).alias("pair"))
        self._latency.keep(answered)
        self._pairs.keep(answered)

    def table(self, settled: Collection[Place] = (), end_ns: int = 0) -> pl.DataFrame:
        """One row an (asker, target): requests, replies, latency, the answering MAC, state; and
        what `MissedRequests.table` tells.

        settled: addresses that more than one MAC claimed without any conflict. end_ns: of the
        capture; what was asked right before may yet be answered.
        """
        if self._asked is None or self._replies is None or self._requests is None:
            return _EMPTY
        over = self._requests.filter(pl.col("ts") + _PATIENCE_NS < end_ns)
        latency = self._latency.table((0.5,)).select(
            pl.col("group").alias("pair"),
            pl.col("p50_ns").alias("latency_p50_ns"),
            pl.col("max_ns").alias("latency_max_ns"),
        )
        claims = _macs(self.claims.by_place(), settled)
        return (
            self._asked.join(self._replies, on=_KEY, how="left", maintain_order="left")
            .join(latency, on="pair", how="left", maintain_order="left")
            .join(claims, on=["segment", "target_ip"], how="left", maintain_order="left")
            .join(self._missed.table(over), on=_KEY, how="left", maintain_order="left")
            .with_columns(pl.col("replies", "missed").fill_null(0))
            .with_columns(_state())
            .sort("ts", maintain_order=True)
        )


def _arp_packets(batch: Batch) -> pl.DataFrame:
    """One row an ARP packet: its addresses, op, when and where it was first and last seen."""
    frames = batch.frames
    first = batch.packets["first_frame"].to_numpy().astype(np.intp)
    arp = (frames["ethertype"][first] == ARP) & ~batch.packets["stray"].to_numpy()
    arp[arp] = ~_are_copies(batch, first[arp])
    chosen = batch.packets[np.flatnonzero(arp)]
    first = chosen["first_frame"].to_numpy().astype(np.intp)
    segment, op = batch.journeys.segment[frames["vantage"][first]], frames["arp_op"][first]
    asker = np.where(op == REPLY, frames["arp_tha"][first], frames["arp_sha"][first])
    return pl.DataFrame(
        {
            "ts_ns": chosen["ts_ns"],
            "request": chosen["number"],
            "segment": segment,
            "borne_since": batch.borne_since(segment, asker, chosen["ts_ns"].to_numpy()),
            "op": op,
            "sha": frames["arp_sha"][first],
            "spa": frames["arp_spa"][first],
            "tha": frames["arp_tha"][first],
            "tpa": frames["arp_tpa"][first],
            "last_ts": chosen["last_ts_ns"],
            "first_vantage": chosen["first_vantage"],
            "last_vantage": chosen["last_vantage"],
            "seen": seen_at(batch, chosen["packet"].to_numpy()),
            "polls": (frames["eth_dst"][first] & GROUP_BIT_U64) == 0,
        }
    ).filter(pl.col("op").is_in([REQUEST, REPLY]))


def _are_copies(batch: Batch, first: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """[len(first)] whether a packet begins where frames arrive, or leave a bridge, though its
    sender's own interface, or its port, is captured: of frames alike, one whose beginning is
    another's, or one that waited in a queue since before the capture."""
    doors = find_doors(batch.vantages)
    known = doors.owner > 0
    leaves = np.array([v.master_ifindex > 0 for v in batch.vantages], np.bool_) & ~known
    vantage = batch.frames["vantage"][first]
    direction = batch.frames["flags"][first] & FLAG_DIRECTION
    bridges = [mac_value(v.mac) for v in batch.vantages if v.is_bridge]
    senders = np.append(doors.mac[known], np.array(bridges, np.uint64))
    from_inside = np.isin(batch.frames["eth_src"][first], senders)
    arrives = known[vantage] & (direction != 0) & (direction != doors.out_flag[vantage])
    arrives |= leaves[vantage] & (direction == EGRESS)
    copies: npt.NDArray[np.bool_] = from_inside & arrives
    return copies


def _claims(
    rows: pl.DataFrame, announces: pl.Expr, tied: pl.DataFrame, forgotten_ns: int
) -> pl.DataFrame:
    """What each message says of its sender's own address, see `Claims.take`. forgotten_ns: what
    was asked until then is not all remembered, so a reply may be to that."""
    late = pl.col("ts") - pl.col("asked_ts") > _PATIENCE_NS
    unknown = pl.col("request").is_null() & (pl.col("ts") <= forgotten_ns + _PATIENCE_NS)
    unasked = tied.filter(pl.col("request").is_null() | late, ~unknown)["message"]
    return rows.filter(pl.col("spa") != 0).select(
        "segment",
        pl.lit(0, pl.UInt64).alias("hi"),
        (pl.col("spa").cast(pl.UInt64) | MAPPED).alias("lo"),
        pl.col("sha").alias("mac"),
        pl.col("ts_ns").alias("ts"),
        pl.col("first_vantage").alias("vantage"),
        (~announces & (pl.col("op") == REPLY)).alias("reply"),
        pl.col("request").is_in(unasked.implode()).alias("unasked"),
        announces.alias("announced"),
    )


def _macs(claims: Mapping[Place, Sequence[Claim]], settled: Collection[Place]) -> pl.DataFrame:
    """segment, target_ip, and the MACs that claim it at the same time, or in turn."""
    places = [place for place in claims if place not in settled]
    return pl.DataFrame(
        {
            "segment": [segment for segment, _, _ in places],
            "target_ip": [low & 0xFFFF_FFFF for _, _, low in places],
            "macs": [[claim.mac for claim in claims[place]] for place in places],
        },
        schema={"segment": pl.Int32, "target_ip": pl.UInt32, "macs": pl.List(pl.UInt64)},
    )


def _asked(rows: pl.DataFrame, announces: pl.Expr) -> pl.DataFrame:
    """The askers' side; replied: an earlier batch held a reply to it."""
    return rows.select(
        "segment",
        "borne_since",
        "request",
        "first_vantage",
        pl.col("ts_ns").alias("ts"),
        pl.col("sha").alias("asker_mac"),
        pl.col("spa").alias("asker_ip"),
        pl.col("tpa").alias("target_ip"),
        "seen",
        announces.alias("gratuitous"),
        (pl.col("op") == REQUEST).alias("asks"),
        (pl.col("polls") & (pl.col("op") == REQUEST)).cast(pl.Int64).alias("polls"),
        pl.lit(False).alias("replied"),
    )


def _tie(rows: pl.DataFrame, before: pl.DataFrame | None, asked: pl.DataFrame) -> pl.DataFrame:
    """The replies with the latest request that they may answer; null where there is none."""
    replied = rows.select(
        "segment",
        "borne_since",
        "last_ts",
        "last_vantage",
        pl.col("request").alias("message"),
        pl.col("ts_ns").alias("ts"),
        pl.col("tha").alias("asker_mac"),
        pl.col("tpa").alias("asker_ip"),
        pl.col("spa").alias("target_ip"),
        pl.col("sha").alias("answer_mac"),
    )
    requests = asked if before is None else pl.concat([before, asked])
    return replied.join_asof(
        requests.with_columns(pl.col("ts").alias("asked_ts")).sort("ts", maintain_order=True),
        on="ts",
        by=_KEY,
        strategy="backward",
        check_sortedness=False,
    )


def _merged(before: pl.DataFrame | None, rows: pl.DataFrame, totals: list[pl.Expr]) -> pl.DataFrame:
    """One row a pair, of what was counted before and the new rows."""
    both = rows if before is None else pl.concat([before, rows.select(before.columns)])
    return both.group_by(_KEY, maintain_order=True).agg(totals)


def _state() -> pl.Expr:
    return (
        pl.when(pl.col("macs").list.len() > 1)
        .then(pl.lit("conflict"))
        .when("gratuitous")
        .then(pl.lit("gratuitous"))
        .when(pl.col("asker_ip") == 0)
        .then(pl.lit("probe"))
        .when(pl.col("replies") > 0)
        .then(pl.lit("resolved"))
        .otherwise(pl.lit(UNANSWERED))
        .alias("state")
    )
