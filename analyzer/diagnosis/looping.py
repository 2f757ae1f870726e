"""Bridges that form a loop, from frames that came back, and the losses that this explains. Pure.

One frame that is sent once and comes back many times is the proof: a node that sends back what it
gets, or a mirror, brings back one copy of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from analyzer.model.report import LossRow
from analyzer.model.vantage import Vantage

MANY = 10
"""times that one frame comes back: fewer prove no loop"""
_RATIO = 3
"""times that it comes back for each time that it was sent"""
_UNKNOWN, LOOP = "unknown", "loop"

Returned = Mapping[str, Any]
"""a row of `analyzer.analysis.returned_frames.ReturnedFrames.rows`"""


class Loop(Struct, frozen=True):
    """One bridge's part in a loop."""

    rows: Sequence[Returned]
    """all that came back to it"""
    proof: Sequence[Returned]
    """the frame that came back most often of those that prove it, at each port"""

    @property
    def first_ns(self) -> int:
        return int(min(row["first_ns"] for row in self.rows))

    @property
    def last_ns(self) -> int:
        return int(max(row["last_ns"] for row in self.rows))


def loops_of(returned: Sequence[Returned], vantages: Sequence[Vantage]) -> Iterator[Loop]:
    """The bridges that are part of a loop."""

    def bridge(row: Returned) -> tuple[int, int]:
        return vantages[row["vantage"]].space, vantages[row["vantage"]].master_ifindex

    for _, group in groupby(sorted(returned, key=bridge), bridge):
        rows = list(group)
        if proof := _proof(rows):
            yield Loop(rows, proof)


def _proof(rows: Sequence[Returned]) -> list[Returned]:
    frames: dict[int, list[Returned]] = {}
    for row in rows:
        frames.setdefault(row["l2key"], []).append(row)
    many = [
        same
        for same in frames.values()
        if returns(same) >= max(MANY, _RATIO * max(row["sends"] for row in same))
    ]
    return max(many, key=returns, default=[])


def returns(rows: Sequence[Returned]) -> int:
    """How often all of them came back."""
    return sum(row["returns"] for row in rows)


def explain_by_loops(
    losses: Sequence[LossRow], returned: Sequence[Returned], vantages: Sequence[Vantage]
) -> list[LossRow]:
    """The losses, those without a reason that began at a bridge while it was in a loop with it."""
    rows = list(losses)
    for loop in loops_of(returned, vantages):
        port = vantages[loop.rows[0]["vantage"]]
        key = (port.space, port.master_ifindex)
        names = {v.name for v in vantages if (v.space, v.master_ifindex) == key}
        advice = (
            f"{port.bridge} was in a loop then: what is for a MAC goes to where a copy of its "
            f"frames came from last; bridge fdb show br {port.bridge}"
        )
        rows = [
            replace(row, reason=LOOP, advice=advice)
            if row.reason == _UNKNOWN
            and {row.last_seen, row.expected} <= names
            and row.first_ns is not None
            and loop.first_ns <= row.first_ns <= loop.last_ns
            else row
            for row in rows
        ]
    return rows
