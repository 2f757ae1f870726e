"""Frames that contradict themselves: lengths that cannot be, headers that do not fit together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from analyzer.model.batch import Columns
from analyzer.model.frames import MARK_MALFORMED

CAPLEN, IP_LENGTH, HEADERS = (
    "more bytes are said to be captured than the frame had",
    "IP's length is larger than the frame",
    "lengths or options in a header cannot be",
)
"""kinds, in words; what was captured decides, and the frame's length"""


class MalformedFrames(Struct):
    """How many frames of each kind, and the number of the first."""

    kinds: dict[str, tuple[int, int]] = field(default_factory=dict)
    """kind → (frames, number of the first one, as Wireshark counts)"""

    def add(self, frames: Columns) -> None:
        """Count a chunk's frames."""
        malformed = frames["marks"] & MARK_MALFORMED != 0
        over = frames["caplen"] > frames["wirelen"]
        if not malformed.any() and not over.any():
            return
        length = np.maximum(frames["wirelen"], frames["caplen"])
        beyond = malformed & (frames["ip_version"] > 0) & (frames["ip_len"] > length)
        for kind, these in ((CAPLEN, over), (IP_LENGTH, beyond), (HEADERS, malformed & ~beyond)):
            self._count(kind, frames["number"][these])

    def _count(self, kind: str, numbers: npt.NDArray[np.int64]) -> None:
        if len(numbers):
            count, first = self.kinds.get(kind, (0, int(numbers[0]) + 1))
            self.kinds[kind] = count + len(numbers), first
