"""Whose frames are listened to: fewer while there are many (see `recorders.drops.watch`)."""

from __future__ import annotations

import time

from analyzer.recorders.drops.patience import CALM_S
from analyzer.recorders.drops.prepare import NO_FILTER, RECEIVE
from analyzer.recorders.drops.tracefs import Instance

BUSY_FRAMES_S = 50_000
"""from so many frames a second on, recording them all would slow the sender down"""
CALM_FRAMES_S = 2_000
"""with fewer, the rings need no look for a while"""
RETRY_S = 2.0
"""then all are listened to again, for a moment"""
ALL, CAPTURED, NONE = 0, 1, 2
"""whose frames are listened to"""


class Attention:
    """Begins when it listens."""

    def __init__(self, instance: Instance, ours: str) -> None:
        """ours: the filter that lets the captured interfaces' frames through."""
        self._instance, self._ours = instance, ours
        self.level = ALL
        self.since_ns = 0
        """since when it is this level"""
        self.calm = False
        """hardly anything is heard, for a while already"""
        self._received = 0

    def listen(self, level: int) -> None:
        """From now on. Raises OSError."""
        if level != NONE:
            self._instance.write(f"{RECEIVE}/filter", NO_FILTER if level == ALL else self._ours)
        self._instance.write(f"{RECEIVE}/enable", "0" if level == NONE else "1")
        self.level, self.since_ns, self.calm = level, time.time_ns(), False

    def judge(self, received: int, seconds: float) -> int:
        """The level that fits, by the frames received in all, so long after the last call."""
        rate, self._received = (received - self._received) / seconds, received
        age_s = (time.time_ns() - self.since_ns) / 1e9
        self.calm = self.level == ALL and age_s > CALM_S and rate < CALM_FRAMES_S
        if rate > BUSY_FRAMES_S and self.level != NONE:
            return self.level + 1
        return ALL if age_s > RETRY_S else self.level
