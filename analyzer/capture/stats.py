"""What a capture counted.

The kernel counts per socket, that is per ring (PACKET_STATISTICS, packet(7)): ``tp_packets``
are the frames that passed the filter, those included for which the ring had no room;
``tp_drops`` are these. Both start anew with every reading; `Ring.count` keeps the totals.
A ring of several vantages does not tell whose frames it dropped.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from analyzer.model.vantage import Vantage


class RingStats(Struct, frozen=True):
    """The kernel's counters of one ring."""

    netns: int
    received: int
    """frames that passed the filter, dropped ones included"""
    dropped: int
    """of these, frames for which there was no room"""
    unclaimed: int
    """frames of no vantage: heard while the filter was being replaced"""
    cut_times: int = 0
    """how often all frames were cut, because it filled up"""
    cut_ns: int = 0
    """for how long in all"""


class VantageStats(Struct, frozen=True):
    """One vantage's part."""

    vantage: Vantage
    frames: int
    """in the file"""
    bytes: int
    """of these frames on the wire"""
    received: int | None
    """``frames`` plus ``dropped``; None where the latter is not known"""
    dropped: int | None
    """0 where its ring dropped nothing, the ring's drops where it is the ring's only vantage,
    else None: the ring dropped frames and does not tell whose"""
    ended_ns: int | None
    """when the interface vanished; None where it lasted"""
    begun_ns: int | None = None
    """since when it is captured, where it joined later"""


class FileStats(Struct, frozen=True):
    """What one file holds: of a rotation only what is described in it."""

    vantages: Mapping[int, VantageStats]
    """by their number in the file"""
    rings: Mapping[int, RingStats]
    """of these, by `Vantage.ring`"""
    start_ns: int
    end_ns: int


class CaptureCounts(Struct, frozen=True):
    """A running capture in a few numbers, which cost the same however many vantages there were."""

    frames: int
    dropped: int
    file_bytes: int
    vantages: int
    """that still exist"""


class CaptureStats(Struct, frozen=True):
    """All of a capture, so far or at its end."""

    vantages: tuple[VantageStats, ...]
    rings: tuple[RingStats, ...]
    start_ns: int
    end_ns: int
    file_bytes: int
    """of all files, removed ones too"""
    stopped: str
    """why it ended: stop, until, packets, duration, filesize, files, gone, pipe, error; empty: it
    runs"""
    warnings: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    """those that there are, the oldest first"""

    @property
    def frames(self) -> int:
        return sum(one.frames for one in self.vantages)

    @property
    def bytes(self) -> int:
        """On the wire, all vantages."""
        return sum(one.bytes for one in self.vantages)

    @property
    def received(self) -> int:
        """By the kernel's counters, all rings; dropped ones included."""
        return sum(ring.received for ring in self.rings)

    @property
    def unclaimed(self) -> int:
        """Frames of no vantage; those of newcomers of which nobody said what they are, too."""
        return sum(ring.unclaimed for ring in self.rings)

    @property
    def unwritten(self) -> int:
        """Frames that were heard and are in no file: a limit, a dead pipe, a full disk. Complete
        with the rest: received = frames + dropped + unclaimed + unwritten."""
        return max(0, self.received - self.dropped - self.unclaimed - self.frames)

    @property
    def dropped(self) -> int:
        return sum(ring.dropped for ring in self.rings)
