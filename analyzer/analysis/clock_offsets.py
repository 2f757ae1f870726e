"""How far the clocks of several files are apart, told by the packets that are in both.

Two hosts' captures of one connection show the same packets. In one direction a packet is later in
the one file, in the other direction it is later in the other: where it is later in the same file
both ways, that file's clock is ahead. The offset is taken so that the quickest packet of either
direction took as long as that of the other, as NTP takes it. Of one direction only, an offset that
is larger than any packet is on its way is one; then the quickest packet is taken to need no time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from analyzer.analysis.notes import VantageNotes
from analyzer.correlate.match import identity_keys
from analyzer.correlate.stages import LONGEST_NS, build_layout
from analyzer.decode.frames import decode_frames
from analyzer.model.vantage import Vantage
from analyzer.savefile.read import CaptureFile, open_savefile
from analyzer.savefile.source import is_rereadable

_SAMPLE = 1 << 18
"""frames at the start of a file that are compared"""
_FEWEST = 3
"""packets in both files that tell an offset"""
_LEAST_NS = 1_000_000
"""mirrored frames come so much later than those that they are copies of"""
_TIMES = ("starttime_ns", "endtime_ns")
_SPREAD_NS = 500_000_000
"""differences of more than that have no offset in common"""


class ClockOffset(NamedTuple):
    """By how much a file's clock is ahead of another one's."""

    file: int
    """number of the file"""
    other: int
    """number of the file that it is compared with"""
    ns: int
    packets: int
    """that are in both"""
    both_ways: bool
    """packets of both directions told it"""


class FileClocks(Struct):
    """What is known of the clocks that stamped the files of a capture."""

    starts_ns: dict[int, int] = field(default_factory=dict)
    """file → how far the time of day was ahead of a clock that nobody sets, at its start"""
    offsets: list[ClockOffset] = field(default_factory=list)
    """of other tools' files"""

    def compare(self, files: Sequence[CaptureFile], key_bytes: int) -> None:
        """Find offsets between files that can be read more than once."""
        if len(files) > 1 and all(is_rereadable(file.path) for file in files):
            self.offsets = find_offsets(files, key_bytes)

    def ahead_ns(self, file: int) -> int:
        """How far the file's clock is ahead of the first file's."""
        return next((one.ns for one in self.offsets if one.file == file), 0)

    def corrected(self, statistics: Mapping[str, Any], file: int) -> Mapping[str, Any]:
        """What an interface's statistics tell, by the first file's clock."""
        ahead_ns = self.ahead_ns(file)
        times = {n: statistics[n] - ahead_ns for n in _TIMES if statistics.get(n) is not None}
        return {**statistics, **times}

    def set_ns(self, notes: Sequence[VantageNotes]) -> int:
        """By how much the time of day was set while capturing, forward if positive: in the file
        where it is the most; 0 where nothing tells so."""
        offsets_ns = [
            end - self.starts_ns[number]
            for one in notes
            for number, end in one.clock_ends_ns.items()
            if number in self.starts_ns
        ]
        return max(offsets_ns, key=abs, default=0)


class _Sample(NamedTuple):
    """Packets that a file shows once; [packets] of each, by key."""

    key: npt.NDArray[np.uint64]
    ts_ns: npt.NDArray[np.int64]
    upward: npt.NDArray[np.bool_]
    """from the lower address to the higher"""


def find_offsets(files: Sequence[CaptureFile], key_bytes: int) -> list[ClockOffset]:
    """The clock of each file that is off, against the first one before it that shares packets.

    The files are read from their starts, as far as a sample goes.
    """
    samples = [_sample(file, key_bytes) for file in files]
    ahead_ns = [0] * len(files)
    offsets = []
    for number, sample in enumerate(samples):
        for other in range(number):
            offset = _compare(samples[other], sample)
            if offset is None:
                continue
            ns, packets, both_ways = offset
            ahead_ns[number] = ns + ahead_ns[other]
            if ahead_ns[number]:
                offsets.append(ClockOffset(number, 0, ahead_ns[number], packets, both_ways))
            break
    return offsets


def _sample(file: CaptureFile, key_bytes: int) -> _Sample:
    savefile = open_savefile(file)
    chunk = next(savefile.chunks(_SAMPLE), None)
    if chunk is None:
        return _Sample(np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.bool_))
    linktypes = np.array([interface.linktype for interface in savefile.interfaces], np.int32)
    frames: dict[str, npt.NDArray[Any]] = decode_frames(chunk, linktypes, key_bytes)
    frames["vantage"] = np.zeros(len(chunk), np.int32)
    key = identity_keys(frames, build_layout([Vantage("", "")]))
    unicast = (frames["l3key"] != 0) & (key == frames["l3key"])
    key, ts_ns = key[unicast], chunk.ts_ns[unicast]
    higher = (frames["src_hi"] < frames["dst_hi"]) | (
        (frames["src_hi"] == frames["dst_hi"]) & (frames["src_lo"] < frames["dst_lo"])
    )
    different, first, count = np.unique(key, return_index=True, return_counts=True)
    once = count == 1
    return _Sample(different[once], ts_ns[first[once]], higher[unicast][first[once]])


def _compare(one: _Sample, other: _Sample) -> tuple[int, int, bool] | None:
    """(ns that the other's clock is ahead, 0 where nothing proves it; packets in both; told by both
    directions). None where they share too few."""
    _, at, there = np.intersect1d(one.key, other.key, assume_unique=True, return_indices=True)
    if len(at) < _FEWEST:
        return None
    later_ns = other.ts_ns[there] - one.ts_ns[at]
    middle = np.median(later_ns)
    near = np.abs(later_ns - middle) <= _SPREAD_NS
    if np.count_nonzero(near) < max(_FEWEST, 0.9 * len(at)):
        return 0, len(at), False
    upward = one.upward[at]
    ways = [later_ns[near & upward], later_ns[near & ~upward]]
    if all(len(way) for way in ways):
        there_ns, back_ns = sorted(ways, key=lambda way: float(np.median(way)))[::-1]
        all_ns = later_ns[near]
        proved = all_ns.min() > _LEAST_NS or all_ns.max() < -_LEAST_NS
        ahead_ns = (int(there_ns.min()) + int(back_ns.max())) // 2
        return (ahead_ns if proved else 0), len(at), True
    if abs(middle) <= LONGEST_NS:
        return 0, len(at), False
    quickest = later_ns[near]
    return int(quickest.min() if middle > 0 else quickest.max()), len(at), False
