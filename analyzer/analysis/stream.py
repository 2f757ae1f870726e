"""The one way from files to results: chunks are read and decoded in one thread, their frames are
correlated in another, and the packets that are closed go to the sinks in the third.

A sink is whatever takes batches of closed packets: the aggregators of a report, an export that
hands them on, a table that keeps them all. What is in memory at a time, besides what the sinks
keep: four chunks of decoded frames (one in the hands of each thread, one waiting) and the frames of
packets that are still open.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from analyzer.analysis.decoded_chunk import DecodedChunk
from analyzer.analysis.frame_room import FrameRoom
from analyzer.analysis.options import AnalysisOptions
from analyzer.analysis.packet_assembly import PacketAssembly
from analyzer.analysis.reading import Peek, Reading
from analyzer.analysis.window_edges import WindowEdges
from analyzer.model.batch import Aggregator, Batch, Columns, Reader
from analyzer.model.frames import FrameChunk
from analyzer.savefile.read import CaptureFile

CARRIED_ROOM = 1 << 17
"""carried frames that are put before a chunk without moving it"""
_ROOMS = 4

T = TypeVar("T")
MakeSinks = Callable[[Reading, WindowEdges | None], Sequence[Aggregator]]
"""makes the sinks, when it is known what the files' ends tell and which window is analysed; those
that are a `Reader`, too, see each chunk while its bytes are in memory"""


def stream_files(
    files: Sequence[str | CaptureFile],
    options: AnalysisOptions,
    make_sinks: MakeSinks,
    *,
    once: bool = True,
) -> PacketAssembly:
    """Read all files to their ends, and give every closed packet to every sink.

    once: sinks are made once and get every packet exactly once: the files are gone through
    beforehand where their ends do not tell enough. Without it what the ends tell is believed, and
    where that turns out to be wrong all starts again with new sinks. Raises as `Reading.open` and
    `WindowEdges.inside`.
    """
    for thorough in (True,) if once else (False, True):
        reading = Reading.open(files)
        reading.foresee(thorough=thorough)
        edges = WindowEdges(options.window) if options.window else None
        assembly = PacketAssembly(reading, edges)
        _stream(assembly, make_sinks(reading, edges), options)
        if thorough or assembly.chunks < 2 or not reading.was_wrong():
            break
    return assembly


def _stream(
    assembly: PacketAssembly, sinks: Sequence[Aggregator], options: AnalysisOptions
) -> None:
    reading = assembly.reading
    rooms = _Rooms(_ROOMS + len(reading.files) - 1)
    ahead: Callable[[Iterator[Any]], Iterator[Any]] = _ahead if options.jobs > 1 else iter
    chunks: Iterator[DecodedChunk] = ahead(reading.chunks(rooms.take, _peek_of(sinks)))
    closed: Iterator[tuple[Batch, FrameRoom]] = ahead(
        (assembly.close(chunk), chunk.room) for chunk in chunks
    )
    for batch, room in closed:
        _give(batch, sinks)
        rooms.give_back(room)
        if options.progress:
            options.progress(*reading.progress())
    if not reading.frames:
        _give(assembly.close_without_frames(), sinks)


def _give(batch: Batch, sinks: Sequence[Aggregator]) -> None:
    for sink in sinks:
        sink.add(batch)


def _peek_of(sinks: Sequence[Aggregator]) -> Peek | None:
    """What shows a chunk to the sinks that need its bytes; None where no sink does."""
    readers = [sink for sink in sinks if isinstance(sink, Reader)]
    if not readers:
        return None

    def peek(chunk: FrameChunk, frames: Columns) -> None:
        for reader in readers:
            reader.peek(chunk, frames)

    return peek


class _Rooms:
    """The rooms of decoded chunks, which go round between the threads."""

    def __init__(self, most: int) -> None:
        self._unmade = most
        self._free: SimpleQueue[FrameRoom] = SimpleQueue()

    def take(self, rows: int) -> FrameRoom:
        """A new one while there are fewer than may be; then the next that is given back."""
        if self._unmade:
            self._unmade -= 1
            return FrameRoom(rows, CARRIED_ROOM)
        return self._free.get()

    def give_back(self, room: FrameRoom) -> None:
        """The room's frames are not needed any more."""
        self._free.put(room)


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made by a thread while the one before is looked at."""
    made: SimpleQueue[T | BaseException | None] = SimpleQueue()

    def make() -> None:
        try:
            for item in items:
                made.put(item)
            made.put(None)
        except BaseException as error:
            made.put(error)

    Thread(target=make, name="ahead", daemon=True).start()
    while (item := made.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        yield item
