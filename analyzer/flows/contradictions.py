"""No report says of one packet that it was answered and that it is lost: the check where rows end.

A request that was answered was delivered. So of the packets from one end to another, no more can
be lost than there are beside those. (Its reply may yet be dropped in the asker's own stack.)
Correlation and diagnosis see to that long before; where they fail, the claim of a loss is what
goes, and the report says so.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl
from msgspec.structs import replace

from analyzer.model.echo_rows import IcmpRow
from analyzer.model.report import LossRow

LOG = logging.getLogger("vethscope")
_ECHOES = ("icmp", "icmpv6")

Ends = tuple[str, str]
"""source and destination of packets"""


class Contradiction(NamedTuple):
    """Losses that cannot be, and are not told."""

    source: str
    destination: str
    packets: int


def count_packets(outcomes: pl.DataFrame) -> Counter[Ends]:
    """ICMP packets from one end to another, whatever became of them."""
    counted = outcomes.filter(~pl.col("stray"), pl.col("protocol").is_in(_ECHOES))
    totals: Counter[Ends] = Counter()
    for source, destination, count in counted.select("source", "destination", "count").iter_rows():
        totals[source, destination] += count
    return totals


def settle_losses(
    losses: Sequence[LossRow], echoes: Sequence[IcmpRow], totals: Mapping[Ends, int]
) -> tuple[list[LossRow], list[Contradiction]]:
    """The losses that can be, in their order, and how many of the others were taken out.

    totals: see `count_packets`. Of several rows, those go first of which the least is certain.
    """
    answered: Counter[Ends] = Counter()
    for row in echoes:
        answered[row.source, row.destination] += row.answered
    settled, found = list(losses), []
    lost = _lost_by_ends(losses)
    for ends, count in lost.items():
        excess = count - max(totals.get(ends, 0) - answered[ends], 0)
        if excess > 0 and answered[ends]:
            LOG.warning("%s → %s: %d lost though answered; not told", *ends, excess)
            found.append(Contradiction(*ends, excess))
            _take_out(settled, ends, excess)
    return [row for row in settled if row.packets], found


def settle_echoes(row: IcmpRow) -> IcmpRow:
    """The row with no more lost than were sent and not answered."""
    excess = row.lost - max(row.sent - row.answered, 0)
    if excess <= 0:
        return row
    LOG.warning("%s → %s: %d lost though answered; not told", row.source, row.destination, excess)
    return replace(row, lost=row.lost - excess)


def _lost_by_ends(losses: Sequence[LossRow]) -> Counter[Ends]:
    lost: Counter[Ends] = Counter()
    for row in losses:
        if row.protocol in _ECHOES:
            lost[row.source, row.destination] += row.packets
    return lost


def _take_out(losses: list[LossRow], ends: Ends, excess: int) -> None:
    """Make rows of these ends smaller, in place, by so many packets in all."""
    places = [
        at
        for at, row in enumerate(losses)
        if row.protocol in _ECHOES and (row.source, row.destination) == ends
    ]
    for at in sorted(places, key=lambda at: losses[at].certain):
        row = losses[at]
        left = max(row.packets - excess, 0)
        excess -= row.packets - left
        losses[at] = replace(row, packets=left, certain=min(row.certain, left))
