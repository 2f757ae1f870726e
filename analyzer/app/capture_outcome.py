"""What a capture came to: as JSON, and as the lines that close it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from analyzer.capture.payload import CUT_BYTES
from analyzer.capture.stats import CaptureStats, RingStats
from analyzer.formatting.numbers import format_ns

_ROWS = 40
"""vantages that have lines of their own"""
_LISTED = 8
"""so many names are told in a line"""


class CaptureOutcome(Struct, frozen=True):
    """What was captured."""

    stats: CaptureStats
    warnings: tuple[str, ...]
    output: str | None

    @property
    def files(self) -> list[str]:
        """Those that there are, the oldest first; none where packets were printed or piped."""
        return list(self.stats.files) if self.output not in (None, "-") else []

    def to_json(self) -> dict[str, Any]:
        """frames, received, dropped in all and per vantage."""
        stats = self.stats
        return {
            "schema": "vethscope/capture-summary/1",
            "file": self.output,
            "files": self.files,
            "frames": stats.frames,
            "bytes": stats.bytes,
            "received": stats.received,
            "dropped": stats.dropped,
            "unclaimed": stats.unclaimed,
            "unwritten": stats.unwritten,
            "start_ns": stats.start_ns,
            "end_ns": stats.end_ns,
            "stopped": stats.stopped,
            "vantages": [
                {
                    "name": v.vantage.name,
                    "container": v.vantage.container or None,
                    "frames": v.frames,
                    "bytes": v.bytes,
                    "received": v.received,
                    "dropped": v.dropped,
                    "ended_ns": v.ended_ns,
                }
                for v in stats.vantages
            ],
            "cuts": [
                {"vantages": names, "times": ring.cut_times, "cut_ns": ring.cut_ns}
                for ring, names in _cut_rings(stats)
            ],
        }


def summary_lines(outcome: CaptureOutcome) -> list[str]:
    """The closing lines: per vantage, then in all."""
    stats = outcome.stats
    width = max([len(v.vantage.name) for v in stats.vantages], default=0)
    lines = [
        f"{v.vantage.name:<{width}}  {_frames(v.frames)}, {_told(v.received)} received, "
        f"{_told(v.dropped)} dropped" + (", ended (interface gone)" if v.ended_ns else "")
        for v in stats.vantages[:_ROWS]
    ]
    if len(stats.vantages) > _ROWS:
        lines.append(f"… and {len(stats.vantages) - _ROWS} more vantages; --json tells them all")
    where = f" → {_files(outcome.files)}" if outcome.files else ""
    lines.append(
        f"{_frames(stats.frames)} captured, {stats.received} received by filter, "
        f"{stats.dropped} dropped by kernel{_besides(stats)}{where}"
    )
    return lines + [
        f"for {format_ns(ring.cut_ns)} frames were cut to {CUT_BYTES} bytes at "
        f"{some_of(names)}: they came faster than they could be written"
        for ring, names in _cut_rings(stats)
    ]


def _cut_rings(stats: CaptureStats) -> Iterator[tuple[RingStats, list[str]]]:
    """The rings of which all frames were cut for a time, and their vantages."""
    for number, ring in enumerate(stats.rings):
        if ring.cut_times:
            yield ring, [v.vantage.name for v in stats.vantages if v.vantage.ring == number]


def some_of(names: Sequence[str]) -> str:
    """As many as can be read."""
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _besides(stats: CaptureStats) -> str:
    """What was received and is neither in a file nor dropped; '' where all is."""
    unclaimed = f", {stats.unclaimed} of no vantage" if stats.unclaimed else ""
    return unclaimed + (f", {stats.unwritten} not written" if stats.unwritten else "")


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _told(count: int | None) -> str:
    return "?" if count is None else str(count)


def _files(names: Sequence[str]) -> str:
    """The one file, or the first and the last of several."""
    if len(names) == 1:
        return names[0]
    return f"{names[0]} … {os.path.basename(names[-1])} ({len(names)} files)"
