"""How long the rings of events may be left alone: long while hardly anything is in them.

The kernel wakes us when a ring is filled to `RING_PERCENT` (``buffer_percent``; a kernel that
knows no such mark wakes us whenever there is something), and we do not look more often than each
`POLL_S`. While many frames are heard, it is looked as often as that, so that what is listened to is
soon less.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterable

from analyzer.closing import Closing

POLL_S = 0.05
CALM_S = 0.5
"""at most so long until what was counted is in a block"""
RING_PERCENT = 10


class Patience(Closing):
    """What the thread that reads the rings sleeps on."""

    def __init__(self) -> None:
        self._bell = os.eventfd(0, os.EFD_CLOEXEC)
        self._rings = select.poll()
        self._ends = select.poll()
        for poll in (self._rings, self._ends):
            poll.register(self._bell, select.POLLIN)

    def watch(self, rings: Iterable[int]) -> None:
        """Be woken by these, too."""
        for fd in rings:
            self._rings.register(fd, select.POLLIN)

    def sleep(self, *, calm: bool) -> bool:
        """Until there is something to read; False: no more, it is to end."""
        if self._ends.poll(POLL_S * 1000):
            return False
        if calm:
            self._rings.poll((CALM_S - POLL_S) * 1000)
        return not self._ends.poll(0)

    def end(self) -> None:
        """Wake it for the last time. Safe in threads, and again."""
        if self._bell >= 0:
            with contextlib.suppress(OSError):
                os.eventfd_write(self._bell, 1)

    def close(self) -> None:
        if self._bell >= 0:
            os.close(self._bell)
            self._bell = -1
