"""``export --pcapng``: the capture with ``epb_packetid`` and a hop comment on each frame.

Two passes over the file: the first analyses it and keeps, for each frame, what its comment will
say (as numbers, in a file of their own that has no name); the second writes.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl

from analyzer.analysis.tables import named, packet_numbers
from analyzer.app.binary_output import binary_stdout
from analyzer.app.frame_rows import frame_rows
from analyzer.errors import SavefileError, UsageProblem
from analyzer.export.block_runs import BLOCKS, block_runs
from analyzer.export.pcapng import Notes, annotate, build_blocks
from analyzer.model.batch import Batch
from analyzer.model.frames import MARK_UNTIMED, UNTIMED
from analyzer.model.journeys import HOP_NAMES, Hop, Status
from analyzer.model.vantage import Vantage
from analyzer.savefile import blocks
from analyzer.savefile.creating import Unfinished
from analyzer.savefile.read import CaptureFile, Savefile, open_savefile
from analyzer.version import __version__

_FRAME = np.dtype(
    [
        ("packet", "i8"),  # number; 0: of none
        ("delay_ns", "i8"),
        ("delta_ns", "i8"),
        ("before", "i2"),  # vantage of the frame that it came from
        ("here", "i2"),
        ("first", "i2"),  # vantage of the packet's first frame
        ("expected", "i2"),  # where the packet, lost behind this frame, had to be seen next
        ("hop", "u1"),
        ("likely", "?"),
    ]
)


class FrameNotes:
    """What each frame's comment will say; filled a batch at a time."""

    def __init__(self, frames: int) -> None:
        """frames: of the capture, all that can be read."""
        self._mapping, self._rows = frame_rows(frames, _FRAME)

    def add(self, batch: Batch) -> None:
        """Note the frames of the packets of one batch."""
        journeys, frames = batch.journeys, batch.frames
        of_packets = np.flatnonzero(journeys.packet >= 0)
        packet, parent = journeys.packet[of_packets], journeys.parent[of_packets]
        rows = np.zeros(len(of_packets), _FRAME)
        ts, vantage, first = frames["ts_ns"], frames["vantage"], journeys.first[packet]
        rows["packet"] = packet_numbers(batch)[packet]
        untimed = frames["marks"] & MARK_UNTIMED != 0
        for name, since in (("delay_ns", np.maximum(parent, 0)), ("delta_ns", first)):
            told = ~(untimed[of_packets] | untimed[since])
            rows[name] = np.where(told, ts[of_packets] - ts[since], UNTIMED)
        rows["before"] = np.where(parent < 0, -1, vantage[np.maximum(parent, 0)])
        rows["here"], rows["first"] = vantage[of_packets], vantage[first]
        ends = (journeys.status[packet] == Status.LOST) & (journeys.last[packet] == of_packets)
        rows["expected"] = np.where(ends, journeys.expected[packet], -1)
        rows["hop"], rows["likely"] = journeys.hop[of_packets], journeys.likely[of_packets]
        self._rows[frames["number"][of_packets]] = rows
        self._leave()

    def _leave(self) -> None:
        """Give the memory of the mapping back: its pages stay in the file."""
        self._mapping.madvise(mmap.MADV_DONTNEED)

    def of(self, start: int, stop: int, names: Sequence[str]) -> Notes:
        """The notes on the frames start … stop-1 of the file."""
        rows = np.array(self._rows[start:stop])
        self._leave()
        comments = _comments(rows, names)
        text = comments.str.join("").item() if len(comments) else ""
        sizes = comments.str.len_bytes().to_numpy().astype(np.int64)
        packet = np.where(rows["packet"] > 0, rows["packet"], -1)
        return Notes(packet, np.cumsum(sizes), np.frombuffer(text.encode(), np.uint8))


def _comments(rows: npt.NDArray[np.void], names: Sequence[str]) -> pl.Series:
    """``packet 11: bridge hop veth1 → veth2 86.682 µs; 87.623 µs since tomcat01:eth0``."""
    table = pl.DataFrame(
        {
            "packet": rows["packet"],
            "delay": _microseconds(rows["delay_ns"]),
            "delta": _microseconds(rows["delta_ns"]),
            "kind": named(pl.Series(rows["hop"]), HOP_NAMES),
            "likely": pl.Series(rows["likely"]),
            **{
                place: named(pl.Series(rows[place]), names)
                for place in ("before", "here", "first", "expected")
            },
        }
    )
    kind = pl.col("kind")
    way = (
        pl.when(kind == Hop.NONE.name.lower())
        .then(pl.format("first seen at {}", "here"))
        .when(kind == Hop.COPY.name.lower())
        .then(pl.format("copy at {} of the frame at {}, no timed hop", "here", "before"))
        .otherwise(
            pl.format(
                "{} hop {} → {} {} µs; {} µs since {}",
                "kind",
                "before",
                "here",
                "delay",
                "delta",
                "first",
            )
        )
    )
    lost = pl.format("; lost behind this, not seen at {}", "expected").fill_null("")
    likely = pl.when("likely").then(pl.lit("; likely match")).otherwise(pl.lit(""))
    text = pl.format("packet {}: {}{}{}", "packet", way, likely, lost)
    there = pl.when(pl.col("packet") > 0).then(text).otherwise(pl.lit(""))
    return table.select(there.alias("text"))["text"]


def _microseconds(ns: npt.NDArray[np.int64]) -> pl.Series:
    """With all digits; negative where a clock went back; ? where the file tells no time."""
    size = pl.Series(np.abs(ns))
    whole, rest = (size // 1000).cast(pl.String), (size % 1000).cast(pl.String).str.zfill(3)
    sign = pl.select(pl.when(pl.Series(ns) < 0).then(pl.lit("-")).otherwise(pl.lit("")))
    return (sign.to_series() + whole + "." + rest).set(pl.Series(ns == UNTIMED), "?")


def count_frames(path: str | CaptureFile) -> tuple[int, SavefileError | None]:
    """(frames that can be read, where the file is damaged). Raises as `open_savefile`."""
    savefile = open_savefile(path)
    return sum(len(chunk) for chunk in savefile.chunks()), savefile.error


def write_annotated(
    path: str | CaptureFile, target: str, notes: FrameNotes, vantages: Sequence[Vantage]
) -> int:
    """The frames written. ``-`` is standard output.

    Raises UsageProblem where ``target`` cannot be written.
    """
    savefile = open_savefile(path)
    with _finished(target) as file:
        if savefile.format == "pcapng":
            return _copy(savefile, file, notes, [vantage.name for vantage in vantages])
        return _convert(savefile, file, notes, vantages)


@contextmanager
def _finished(target: str) -> Iterator[BinaryIO]:
    """A file that bears its name only when it is complete."""
    if target == "-":
        yield binary_stdout("--pcapng")
        return
    try:
        unfinished = Unfinished(target)
        try:
            yield unfinished.file
            unfinished.finish()
        finally:
            unfinished.abandon()
    except OSError as error:
        raise UsageProblem(f"cannot write {target}: {error.strerror}") from error


def _convert(
    savefile: Savefile, file: BinaryIO, notes: FrameNotes, vantages: Sequence[Vantage]
) -> int:
    """Write a pcap's frames as a pcapng of this machine's byte order."""
    (interface,) = savefile.interfaces
    file.write(blocks.section_header(application=f"vethscope {__version__}"))
    file.write(
        blocks.interface_description(
            vantages[0].name if vantages else "",
            snaplen=interface.snaplen,
            linktype=interface.linktype,
        )
    )
    row = 0
    names = [vantage.name for vantage in vantages]
    for chunk in savefile.chunks(BLOCKS):
        file.write(build_blocks(chunk, notes.of(row, row + len(chunk), names)).data)
        row += len(chunk)
    return row


def _copy(savefile: Savefile, file: BinaryIO, notes: FrameNotes, names: Sequence[str]) -> int:
    """Copy a pcapng's blocks up to where it is damaged."""
    _, error = count_frames(savefile.file)
    row = 0
    for run in block_runs(savefile.file.path, error.offset if error else None):
        comments = notes.of(row, row + run.packets, names)
        file.write(annotate(run.data, run.start, run.stop, run.swapped, comments).data)
        row += run.packets
    return row
