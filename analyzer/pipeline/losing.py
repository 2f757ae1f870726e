"""Losses with all that is known of them: topology, kernel, settings, in one list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from analyzer.drops.explain import (
    GROUP,
    ended_in_stacks,
    explain_lost,
    stack_losses,
    tied_table,
)
from analyzer.drops.facts import decode_facts
from analyzer.drops.neighbours import misaddressed
from analyzer.drops.record import Drops, decode_drops
from analyzer.drops.settings import Scene
from analyzer.drops.silent import unanswered_echoes, unheard_askers, went_away
from analyzer.drops.tie import Ties, tie_drops
from analyzer.model.batch import Batch, Outlook
from analyzer.model.journeys import Status
from analyzer.model.report import ArpRow, LossRow
from analyzer.pipeline.reading import Reading


@dataclass(frozen=True, slots=True)
class Found:
    """What the analysis has found besides the packets."""

    reading: Reading
    outlook: Outlook
    echoes: pl.DataFrame
    arp: Sequence[ArpRow]


def explain_losses(
    rows: Sequence[LossRow], table: pl.DataFrame, batch: Batch, found: Found
) -> tuple[list[LossRow], pl.DataFrame, dict[str, Any] | None]:
    """The report's losses, packets that the kernel dropped (packet, reason, location), and what
    was recorded of drops in all (None: nothing was).

    rows, table: the losses that the topology proved, in the same order. batch: all packets.
    """
    reading, frames, journeys = found.reading, batch.frames, batch.journeys
    vantages = reading.vantages
    names = pl.col("protocol", "source", "destination").cast(pl.String)
    packets = batch.packets.with_columns(names)
    counted = packets.filter(~pl.col("stray"))
    facts, drops = decode_facts(reading.own), decode_drops(reading.own)
    fdb = {v.name: n.fdb for v, n in zip(vantages, reading.notes, strict=True) if n.fdb}
    scene = Scene(vantages, fdb, facts, reading.sysctls, reading.engine)
    ties = tie_drops(drops, frames, journeys, vantages)
    tied = tied_table(ties, drops)
    all_rows = explain_lost(rows, _with_example(table, packets), packets, tied, frames, scene)
    ended = ended_in_stacks(counted, tied, frames)
    all_rows += stack_losses(ended, frames, scene)
    if len(found.echoes):
        all_rows += unanswered_echoes(found.echoes, frames, all_rows, scene)
    all_rows += unheard_askers(found.arp, scene)
    all_rows = misaddressed(counted, frames, journeys, all_rows, scene)
    gone, since = ([getattr(n, name) for n in reading.notes] for name in ("gone_ns", "start_ns"))
    all_rows += went_away(gone, since, counted, frames, scene)
    fates = _fates(packets, tied, ended)
    return all_rows, fates, _summary(drops, ties) if drops.recorded else None


def _fates(packets: pl.DataFrame, tied: pl.DataFrame, ended: pl.DataFrame) -> pl.DataFrame:
    """packet, reason, location of those that were dropped themselves, in a bridge or a stack."""
    lost = packets.filter(pl.col("status") == Status.LOST).join(tied, on="packet", how="inner")
    both = (table.filter(~pl.col("answer")) for table in (lost, ended))
    return pl.concat([table.select("packet", "reason", "location") for table in both])


def with_fates(packets: pl.DataFrame, fates: pl.DataFrame) -> pl.DataFrame:
    """The packets with ``dropped``, and the kernel's ``reason`` and ``location`` where known."""
    joined = packets.join(fates, on="packet", how="left", maintain_order="left")
    return joined.with_columns(pl.col("reason").is_not_null().alias("dropped"))


def _with_example(table: pl.DataFrame, packets: pl.DataFrame) -> pl.DataFrame:
    """The table with the last frame of one packet of each row."""
    lost = packets.filter(pl.col("status") == Status.LOST)
    examples = lost.group_by(GROUP).agg(pl.col("last_frame").first())
    return table.join(examples, on=GROUP, how="left", maintain_order="left")


def count_drops(own: Sequence[bytes]) -> dict[str, Any] | None:
    """What was recorded, where no packets are at hand to tie it to; None: nothing was."""
    drops = decode_drops(own)
    if not drops.recorded:
        return None
    return {**_summary(drops, None), "too_many_frames": bool(len(drops))}


def _summary(drops: Drops, ties: Ties | None) -> dict[str, Any]:
    """What was recorded: how much of it is explained here, and the rest by the kernel's reason."""
    tied = ties.drop if ties else np.empty(0, np.int64)
    untied = np.delete(drops.rows["reason"], tied)
    counts = np.bincount(untied, minlength=len(drops.reasons)).tolist()
    others = Counter({reason: n for reason, n in zip(drops.reasons, counts, strict=True) if n})
    for (reason, _, _), count in drops.alone.items():
        others[reason] += count
    return {
        "tied": len(tied),
        "others": dict(others.most_common()),
        "lost": drops.lost,
        "partly_untied_s": sum(until - since for since, until, _ in drops.deaf_ns) / 1e9,
    }
