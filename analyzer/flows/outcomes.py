"""What became of packets, counted: one row for all packets of a pair with the same fate.

Losses, verdicts and drawn paths ask the same of every packet: between whom, by which vantages,
seen where, lost or not. Packets that agree in all of it are one row with a count and the first
of them as the example, so the table does not grow with the capture. Where there are very many
fates, those that were met last stay, and of all that were lost rather than of others; the rest is
counted together, between `OTHERS`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.flows.datagram_parts import DatagramParts
from analyzer.flows.fate_examples import FateExamples
from analyzer.flows.fate_keys import Addresses, Facts, fill_keys
from analyzer.flows.live_numbers import OTHERS, LiveNumbers, new_numbers
from analyzer.model.batch import Batch
from analyzer.model.bundles import bundle
from analyzer.model.frames import MARK_FRAGMENT
from analyzer.model.journeys import Status
from analyzer.native.compiled import compiled
from analyzer.net.ethernet import GROUP_BIT_U64

_FATE = (
    "protocol",
    "source",
    "destination",
    "pair",
    "first_vantage",
    "last_vantage",
    "in_port",
    "out_port",
    "expected",
    "status",
    "evidence",
    "frames",
    "stray",
    "torn",
)
_NAMES = ("protocol", "source", "destination")
_ADDRESSES = ("src_hi", "src_lo", "dst_hi", "dst_lo")
_NEVER = (1 << 63) - 1
_COUNT, _NUMBER, _LAST_NUMBER, _FIRST_NS, _LAST_NS, _SURE = range(_ROWS := 6)
"""rows of the counts: packets, their least number, the least number of a last frame, when the
first and the last of them was first seen, and how many were tied for certain"""


class PacketOutcomes:
    """The table, batch by batch."""

    def __init__(self) -> None:
        self._numbers = LiveNumbers()
        self._rows: list[pl.DataFrame] = []
        self._others: pl.DataFrame | None = None
        self._forgotten_pairs = 0
        self._counts = np.zeros((_ROWS, 0), np.int64)
        self._examples = FateExamples()
        self._parts = DatagramParts()

    @property
    def forgotten(self) -> int:
        """Fates that are counted together with others."""
        return self._numbers.forgotten

    @property
    def forgotten_pairs(self) -> int:
        """Pairs of ends that a verdict would be about, of these, at the most."""
        return self._forgotten_pairs

    def ends(self) -> dict[int, dict[str, int]]:
        """By the number of a lost fate's first packet: EXAMPLE of the last frame of it."""
        return self._examples.ends()

    def add(self, batch: Batch) -> None:
        """Count the packets of one batch."""
        facts = _facts(batch)
        ids, fresh = self._numbers.take(_keys(batch, facts))
        if len(fresh):
            self._rows.append(_rows(batch, facts, fresh))
            more = np.zeros((_ROWS, len(fresh)), np.int64)
            more[[_NUMBER, _LAST_NUMBER, _FIRST_NS]] = _NEVER
            self._counts = np.concatenate([self._counts, more], axis=1)
        packets = batch.packets
        last = batch.frames["number"][packets["last_frame"].to_numpy().astype(np.intp)]
        better = np.full(self._counts.shape[1], -1, np.int64)
        seen = bundle(_Sighted, packets.with_columns(pl.Series("last", last)))
        _tally(ids, seen, self._counts, better)
        self._parts.add(batch, ids)
        if self._numbers.count > self._numbers.most:
            better = better[self._shed()]
        fates = np.flatnonzero(better >= 0)
        if len(fates):
            self._examples.keep(batch, fates, better[fates])

    def _shed(self) -> npt.NDArray[np.int64]:
        """Count the fates that were met least recently together; those that stay."""
        rows, count = pl.concat(self._rows), self._numbers.count
        kept = self._numbers.shed((rows["status"] == Status.LOST).to_numpy())
        if kept is None:
            return np.arange(count)
        new = new_numbers(kept, count)
        gone = np.flatnonzero(new < 0)
        out = _with_counts(rows[gone], self._counts[:, gone], np.zeros(len(gone), np.int64))
        judged = out.filter("judged", ~pl.col("stray"), ~pl.col("torn"))
        self._forgotten_pairs += judged.select("source", "destination").n_unique()
        both = out if self._others is None else pl.concat([self._others, out])
        self._others = _together(both)
        self._rows, self._counts = [rows[kept]], self._counts[:, kept]
        self._examples.renumber(new)
        self._parts.renumber(new)
        return kept

    def table(self, until_ns: int) -> pl.DataFrame:
        """One row a fate, in order of appearance. until_ns: what was sent later may still have
        been on its way at the end.

        Those of the packets that all share, and count, number (of the first packet), last_number
        (the least of their last frames), first_ns, last_ns (of their first frames), sure (packets
        of which every frame was tied for certain), short (delivered ones of which other fragments
        were not), judged (unicast IP that a verdict is about), dst_mac, src_hi … dst_lo (the source
        as first seen, the destination as last seen); and of the first packet: ts_ns, path and hops
        (vantages of its main path, Hop codes between them), seen (vantages that saw it, copies
        included, where it was lost).
        """
        if not self._rows:
            return _EMPTY
        fates = self._counts.shape[1]
        met = _with_counts(pl.concat(self._rows), self._counts, self._parts.short(fates, until_ns))
        met = met.with_columns(self._examples.table())
        if self._others is not None:
            nowhere = {name: pl.lit([], pl.List(pl.Int64)) for name in ("path", "hops", "seen")}
            others = self._others.with_columns(**nowhere, ts_ns="first_ns")
            met = pl.concat([met, others.select(met.columns)])
        return met.sort("number", maintain_order=True)


def _with_counts(
    rows: pl.DataFrame, counts: npt.NDArray[np.int64], short: npt.NDArray[np.int64]
) -> pl.DataFrame:
    """What makes each fate, with what was counted of it."""
    return rows.with_columns(
        pl.Series("count", counts[_COUNT]),
        pl.Series("number", counts[_NUMBER]),
        pl.Series("last_number", counts[_LAST_NUMBER]),
        pl.Series("first_ns", counts[_FIRST_NS]),
        pl.Series("last_ns", counts[_LAST_NS]),
        pl.Series("sure", counts[_SURE]),
        pl.Series("short", short),
    )


def _together(rows: pl.DataFrame) -> pl.DataFrame:
    """One row for all that share what makes a fate, but for whom they were between."""
    nobody = {"source": pl.lit(OTHERS), "destination": pl.lit(OTHERS), "pair": pl.lit(0, pl.Int64)}
    nothing = {name: pl.lit(0, pl.UInt64) for name in ("dst_mac", *_ADDRESSES)}
    return (
        rows.with_columns(**nobody)
        .group_by(*_FATE, "judged", maintain_order=True)
        .agg(
            pl.col("count", "sure", "short").sum(),
            pl.col("number", "last_number", "first_ns").min(),
            pl.col("last_ns").max(),
        )
        .with_columns(**nothing)
        .select(rows.columns)
    )


def _facts(batch: Batch) -> Facts:
    packets, frames = batch.packets, batch.frames
    first, last = (packets[f"{end}_frame"].to_numpy().astype(np.intp) for end in ("first", "last"))
    mac = frames["eth_dst"][last]
    whole = (frames["marks"][first] & MARK_FRAGMENT) == 0  # the first fragment stands for all
    judged = (frames["ip_version"][first] > 0) & whole & ((mac & GROUP_BIT_U64) == 0)
    dst_mac = np.where(judged, mac, np.uint64(0))
    facts = packets.with_columns(judged=pl.Series(judged), dst_mac=pl.Series(dst_mac))
    return bundle(Facts, facts)


def _rows(batch: Batch, facts: Facts, fresh: npt.NDArray[np.int64]) -> pl.DataFrame:
    """The facts of the packets that are the first of a new fate."""
    return (
        batch.packets[fresh]
        .select(_FATE)
        .with_columns(
            pl.col(*_NAMES).cast(pl.String),
            pl.Series("judged", facts.judged[fresh]),
            pl.Series("dst_mac", facts.dst_mac[fresh]),
            *(
                pl.Series(f"{side}_{half}", batch.frames[f"{side}_{half}"][rows])
                for side, rows in _ends(batch, fresh)
                for half in ("hi", "lo")
            ),
        )
    )


def _ends(batch: Batch, packets: Any = slice(None)) -> list[tuple[str, npt.NDArray[Any]]]:
    """(side, the frame that tells its address): the source as first seen, the target as last."""
    first, last = (batch.packets[f"{end}_frame"].to_numpy()[packets] for end in ("first", "last"))
    return [("src", first), ("dst", last)]


def _keys(batch: Batch, facts: Facts) -> npt.NDArray[np.uint64]:
    keys = np.empty(len(facts.pair), np.uint64)
    (_, first), (_, last) = _ends(batch)
    fill_keys(facts, Addresses(first, last, *(batch.frames[n] for n in _ADDRESSES)), keys)
    return keys


class _Sighted(NamedTuple):
    """When packets were seen; [packets] of each."""

    number: npt.NDArray[np.int64]
    ts_ns: npt.NDArray[np.int64]
    likely: npt.NDArray[np.bool_]
    last: npt.NDArray[np.int64]
    """number of the last frame"""


@compiled
def _tally(ids: Any, seen: _Sighted, counts: Any, better: Any) -> None:
    """counts: [_ROWS, outcomes].

    better: [outcomes] row of the packet that is the first of its fate so far; else as it was.
    """
    for q in range(len(ids)):
        fate = ids[q]
        counts[_COUNT, fate] += 1
        if seen.number[q] < counts[_NUMBER, fate]:
            counts[_NUMBER, fate] = seen.number[q]
            better[fate] = q
        counts[_LAST_NUMBER, fate] = min(counts[_LAST_NUMBER, fate], seen.last[q])
        counts[_FIRST_NS, fate] = min(counts[_FIRST_NS, fate], seen.ts_ns[q])
        counts[_LAST_NS, fate] = max(counts[_LAST_NS, fate], seen.ts_ns[q])
        counts[_SURE, fate] += not seen.likely[q]


_EMPTY = pl.DataFrame(
    schema={
        **dict.fromkeys(_NAMES, pl.String),
        "pair": pl.Int64,
        **dict.fromkeys(("first_vantage", "last_vantage", "in_port"), pl.Int32),
        **dict.fromkeys(("out_port", "expected"), pl.Int32),
        "status": pl.UInt8,
        "evidence": pl.UInt16,
        "frames": pl.Int32,
        **dict.fromkeys(("stray", "torn", "judged"), pl.Boolean),
        **dict.fromkeys(("dst_mac", *_ADDRESSES), pl.UInt64),
        **dict.fromkeys(("count", "number", "last_number"), pl.Int64),
        **dict.fromkeys(("first_ns", "last_ns", "sure", "short", "ts_ns"), pl.Int64),
        **dict.fromkeys(("path", "hops", "seen"), pl.List(pl.Int64)),
    }
)
