"""Losses with all that is known of them: topology, kernel, settings, in one list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import polars as pl

from analyzer.drops.explain import explain_lost, stack_losses, tied_table
from analyzer.drops.facts import decode_facts
from analyzer.drops.record import Drops, decode_drops
from analyzer.drops.settings import Scene
from analyzer.drops.silent import misaddressed, unanswered_echoes, unheard_askers, went_away
from analyzer.drops.tie import Ties, tie_drops
from analyzer.flows.losses import name_losses, summarise_losses
from analyzer.model.journeys import Journeys
from analyzer.model.report import ArpRow, LossRow
from analyzer.pipeline.load import Loaded

Fdb = Mapping[str, Sequence[tuple[str, int]]]


def find_losses(
    loaded: Loaded,
    frames: Mapping[str, npt.NDArray[Any]],
    journeys: Journeys,
    packets: pl.DataFrame,
    echoes: pl.DataFrame,
    arp: Sequence[ArpRow],
    fdb: Fdb,
) -> tuple[list[LossRow], dict[str, Any] | None]:
    """The report's losses, and what was recorded of drops (None: nothing was).

    fdb: the bridges' tables at the end of the capture.
    """
    table = summarise_losses(packets)
    rows = name_losses(table, frames, journeys, loaded.vantages, loaded.sysctls)
    facts, drops = decode_facts(loaded.own), decode_drops(loaded.own)
    scene = Scene(loaded.vantages, fdb, facts, loaded.sysctls, loaded.engine)
    ties = tie_drops(drops, frames, journeys, loaded.vantages)
    tied = tied_table(ties, drops)
    rows = explain_lost(rows, table, packets, tied, frames, scene)
    counted = packets.filter(~pl.col("stray"))
    rows += stack_losses(counted, tied, frames, scene)
    rows += unanswered_echoes(echoes, frames, rows, scene)
    rows += unheard_askers(arp, scene)
    rows = misaddressed(counted, frames, journeys, rows, scene)
    rows += went_away([n.gone_ns for n in loaded.notes], counted, scene)
    return rows, _summary(drops, ties) if facts or len(drops) else None


def _summary(drops: Drops, ties: Ties) -> dict[str, Any]:
    """What was recorded: how much of it is explained here, and the rest by the kernel's reason."""
    others: Counter[str] = Counter()
    reasons = drops.rows["reason"].tolist()
    for row in set(range(len(drops))) - set(ties.drop.tolist()):
        others[drops.reasons[reasons[row]]] += 1
    for (reason, _, _), count in drops.alone.items():
        others[reason] += count
    return {
        "tied": len(ties.drop),
        "others": dict(others.most_common()),
        "lost": drops.lost,
        "partly_untied_s": sum(until - since for since, until, _ in drops.deaf_ns) / 1e9,
    }
