"""``report --lost``, ``--min-latency``, ``--container``, ``--protocol``: which packets are shown.

Latency is the one-way delay: from the first vantage that saw the packet to the last on its way.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import polars as pl
from msgspec import Struct

from analyzer.errors import UsageProblem
from analyzer.model.journeys import Status
from analyzer.model.vantage import Vantage

_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 1_000_000_000}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ns|us|µs|ms|s)")


class Choice(Struct, frozen=True):
    """Only packets for which all of it holds; what is empty holds for every packet."""

    min_latency_ns: int | None = None
    lost: bool = False
    containers: tuple[str, ...] = ()
    """either end is one of these"""
    protocols: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self != Choice()

    def choose(self, packets: pl.DataFrame) -> pl.DataFrame:
        """The packets that are chosen of a batch's, without strays; of an empty choice all."""
        if not self:
            return packets
        packets = packets.filter(~pl.col("stray"))
        if self.lost:
            dropped = pl.col("dropped") if "dropped" in packets.columns else pl.lit(False)
            packets = packets.filter((pl.col("status") == Status.LOST) | dropped)
        if self.min_latency_ns is not None:
            latency = pl.col("last_ts_ns") - pl.col("ts_ns")
            packets = packets.filter("first_told", "last_told", latency >= self.min_latency_ns)
        if self.containers:
            sides = (pl.col(end).cast(pl.String) for end in ("source", "destination"))
            ends = (side.is_in(self.containers) for side in sides)
            packets = packets.filter(pl.any_horizontal(*ends))
        if self.protocols:
            packets = packets.filter(pl.col("protocol").cast(pl.String).is_in(self.protocols))
        return packets

    def check(self, vantages: Sequence[Vantage], ends: Collection[str]) -> None:
        """Raises UsageProblem for a container that the capture does not know.

        ends: all names of sources and destinations.
        """
        captured = {v.container for v in vantages if v.container}
        for name in self.containers:
            if name not in captured and name not in ends:
                names = ", ".join(sorted(captured)) or "none"
                raise UsageProblem(f"no container {name} in this capture: there are {names}")


def parse_choice(
    min_latency: str | None, lost: bool, containers: Sequence[str], protocols: Sequence[str]
) -> Choice:
    """What the options say. Raises UsageProblem for a duration that is none."""
    least = None
    if min_latency is not None:
        duration = _DURATION.fullmatch(min_latency.strip())
        if not duration:
            raise UsageProblem(
                f"--min-latency {min_latency!r} is no duration: write 250us, 1ms or 0.5s"
            )
        least = round(float(duration[1]) * _UNITS[duration[2]])
    return Choice(least, lost, tuple(containers), tuple(p.lower() for p in protocols))
