"""The line that a capture shows of itself while it runs, on a terminal."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from analyzer.formatting.numbers import format_bytes, format_count, format_plural


class Counts(Struct, frozen=True):
    """A capture so far."""

    frames: int
    dropped: int
    file_bytes: int
    vantages: int
    """that still exist"""


class LiveLine:
    """Frames, frames a second since the last line, drops, file size, vantages."""

    def __init__(self, columns: Callable[[], int]) -> None:
        """columns: how wide the terminal is now; a longer line would not stay one."""
        self._columns = columns
        self._before: tuple[int, float] | None = None

    def text(self, counts: Counts, now_s: float) -> str:
        """now_s: the monotonic clock."""
        before, since = self._before or (counts.frames, now_s)
        self._before = (counts.frames, now_s)
        rate = round((counts.frames - before) / (now_s - since)) if now_s > since else 0
        parts = [
            format_plural(counts.frames, "frame"),
            f"{format_count(rate)}/s",
            _dropped(counts),
            format_bytes(counts.file_bytes),
            format_plural(counts.vantages, "vantage"),
        ]
        return " · ".join(parts)[: max(1, self._columns() - 1)]

    def alarming(self, counts: Counts) -> str:
        """The part of the text that should be red; empty where nothing is wrong."""
        return _dropped(counts) if counts.dropped else ""


def _dropped(counts: Counts) -> str:
    return f"{format_count(counts.dropped)} dropped"
