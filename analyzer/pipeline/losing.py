"""Losses with all that is known of them: topology, kernel, settings, in one list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from analyzer.drops.explain import GROUP, explain_lost, stack_losses, tied_table
from analyzer.drops.facts import decode_facts
from analyzer.drops.record import Drops, decode_drops
from analyzer.drops.settings import Scene
from analyzer.drops.silent import misaddressed, unanswered_echoes, unheard_askers, went_away
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
) -> tuple[list[LossRow], dict[str, Any]]:
    """The report's losses, and what was recorded of drops.

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
    all_rows += stack_losses(counted, tied, frames, scene)
    if len(found.echoes):
        all_rows += unanswered_echoes(found.echoes, frames, all_rows, scene)
    all_rows += unheard_askers(found.arp, scene)
    all_rows = misaddressed(counted, frames, journeys, all_rows, scene)
    all_rows += went_away([n.gone_ns for n in reading.notes], counted, scene)
    return all_rows, _summary(drops, ties)


def _with_example(table: pl.DataFrame, packets: pl.DataFrame) -> pl.DataFrame:
    """The table with the last frame of one packet of each row."""
    lost = packets.filter(pl.col("status") == Status.LOST)
    examples = lost.group_by(GROUP).agg(pl.col("last_frame").first())
    return table.join(examples, on=GROUP, how="left", maintain_order="left")


def count_drops(own: Sequence[bytes]) -> dict[str, Any]:
    """What was recorded, where no packets are at hand to tie it to."""
    drops = decode_drops(own)
    return {**_summary(drops, None), "too_many_frames": bool(len(drops))}


def _summary(drops: Drops, ties: Ties | None) -> dict[str, Any]:
    """What was recorded: how much of it is explained here, and the rest by the kernel's reason."""
    tied = ties.drop.tolist() if ties else []
    others: Counter[str] = Counter()
    reasons = drops.rows["reason"].tolist()
    for row in set(range(len(drops))) - set(tied):
        others[drops.reasons[reasons[row]]] += 1
    for (reason, _, _), count in drops.alone.items():
        others[reason] += count
    return {
        "tied": len(tied),
        "others": dict(others.most_common()),
        "lost": drops.lost,
        "partly_untied_s": sum(until - since for since, until, _ in drops.deaf_ns) / 1e9,
    }
