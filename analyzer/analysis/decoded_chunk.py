"""A chunk of decoded frames on its way from the thread that reads to the one that correlates."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from analyzer.analysis.frame_room import FrameRoom
from analyzer.analysis.refusals import NONE, Refusals
from analyzer.model.batch import Columns
from analyzer.model.ranks import median

_NOW = 101
"""frames at a chunk's end of which the middle stamp is its time: one that is wrong is none"""


class DecodedChunk(Struct, frozen=True):
    """Frames as read, in a room that is to be given back."""

    frames: Columns
    room: FrameRoom
    now_ns: int
    """how far the capture has been read: later frames are not much older"""
    refusals: Refusals = NONE
    """by ICMP errors among them"""
    own: Sequence[bytes] = ()
    """contents of our own blocks up to here: drops and settings (`analyzer.recorders`)"""
    tracked: int = 0
    """so much of `Reading.tracked` was known"""
    final: bool = False
    """nothing follows, and all that the files tell of themselves is known"""

    @property
    def start_ns(self) -> int:
        """Of its first frame."""
        return int(self.frames["ts_ns"][0])


def decoded_chunk(frames: Columns, room: FrameRoom, refusals: Refusals = NONE) -> DecodedChunk:
    """As one file gives it."""
    return DecodedChunk(frames, room, median(frames["ts_ns"][-_NOW:]), refusals)
