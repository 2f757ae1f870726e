"""The line that a capture shows of itself while it runs, on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from analyzer.report.numbers import format_bytes, format_count, format_plural

_RED, _PLAIN = "\033[31m", "\033[0m"


@dataclass(frozen=True, slots=True)
class Counts:
    """A capture so far."""

    frames: int
    dropped: int
    file_bytes: int
    vantages: int
    """that still exist"""


class LiveLine:
    """Frames, frames a second since the last line, drops, file size, vantages."""

    def __init__(self, columns: Callable[[], int], *, colour: bool = True) -> None:
        """columns: how wide the terminal is now; a longer line would not stay one."""
        self._columns = columns
        self._colour = colour
        self._before: tuple[int, float] | None = None

    def text(self, counts: Counts, now_s: float) -> str:
        """now_s: the monotonic clock."""
        before, since = self._before or (counts.frames, now_s)
        self._before = (counts.frames, now_s)
        rate = round((counts.frames - before) / (now_s - since)) if now_s > since else 0
        parts = [
            format_plural(counts.frames, "frame"),
            f"{format_count(rate)}/s",
            f"{format_count(counts.dropped)} dropped",
            format_bytes(counts.file_bytes),
            format_plural(counts.vantages, "vantage"),
        ]
        text = " · ".join(parts)[: max(1, self._columns() - 1)]
        if counts.dropped and self._colour:
            return text.replace(parts[2], f"{_RED}{parts[2]}{_PLAIN}")
        return text
