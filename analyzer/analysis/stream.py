"""The streaming analysis: chunks are read and decoded in one thread, their frames are correlated in
another, and the packets that are closed go to the aggregators in the third.

What is in memory at a time: four chunks of decoded frames (one in the hands of each thread, one
waiting), the frames of packets that are still open, and the partials of the aggregators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from analyzer.analysis.cut import Edges
from analyzer.analysis.frame_room import FrameRoom, empty_frames, rows_of
from analyzer.analysis.notes import VantageNotes
from analyzer.analysis.partials import Partials
from analyzer.analysis.reading import DecodedChunk, Reading, sort_own
from analyzer.analysis.totals import Totals
from analyzer.analysis.window import Window
from analyzer.correlate.correlate import Correlator
from analyzer.correlate.loss import Watch
from analyzer.correlate.translate import Translator
from analyzer.flows.endpoints import Endpoints
from analyzer.flows.packets import PacketTables
from analyzer.model.batch import FOREVER_NS, Batch, Columns
from analyzer.model.journeys import Journeys
from analyzer.model.nat_entries import NatEntries
from analyzer.model.proxy import Proxy
from analyzer.recorders.conntrack.proxies import decode_proxies
from analyzer.recorders.conntrack.record import decode_entries

CARRIED_ROOM = 1 << 17
"""carried frames that are put before a chunk without moving it"""
_ROOMS = 4
SLACK_NS = 50_000_000
"""rings are written to the file in turn: a frame may come so much after younger ones"""
UNCLEAN_TAIL_NS = 250_000_000
"""a capture that was killed may miss the last frames of some rings: nothing that late is lost"""

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""is told (bytes read, size of all files or 0)"""


@dataclass(slots=True)
class Analyser:
    """From frames to partials, a chunk at a time; of a whole capture it is one chunk."""

    reading: Reading
    partials: Partials = field(default_factory=Partials)
    totals: Totals = field(default_factory=Totals)
    edges: Edges | None = None
    """of a time window: only the frames in it are analysed"""
    likely: int = 0
    """edges that are likely only"""
    chunks: int = 0
    nat: NatEntries = field(default_factory=NatEntries)
    """what connection tracking told"""
    proxies: list[Proxy] = field(default_factory=list)
    _learned: int = 0
    _translator: Translator = field(default_factory=lambda: Translator(NatEntries()))
    _correlator: Correlator = field(default_factory=Correlator)
    _tables: PacketTables | None = None
    _carried: Columns | None = None

    def __post_init__(self) -> None:
        if edges := self.edges:
            self.partials.echoes.before = lambda: edges.asked
            self.partials.echoes.went_on = lambda: edges.went_on

    @property
    def endpoints(self) -> Endpoints:
        """The names of everything seen so far."""
        assert self._tables is not None
        return self._tables.endpoints

    @property
    def segments(self) -> npt.NDArray[np.int32]:
        """[v] the realm of each vantage in which a MAC is unique, as in `Journeys`."""
        return self._correlator.layout.lan

    def feed(self, chunk: DecodedChunk) -> None:
        """Correlate a chunk with what is open, and give the packets that are closed to all."""
        self.take(self.close(chunk))

    def close(self, chunk: DecodedChunk) -> Batch:
        """The packets that are closed when a chunk is looked at with what is open."""
        self.chunks += 1
        frames = self._inside(chunk)
        self.learn(self.reading.tracked[: chunk.tracked])
        journeys, settled_ns = self.correlate(frames, chunk.now_ns, final=chunk.final)
        return replace(self.batch_of(frames, journeys, settled_ns), own=chunk.own)

    def _inside(self, chunk: DecodedChunk) -> Columns:
        """The chunk's frames, behind those that are open from before."""
        if self.edges is None:
            self.totals.add(chunk.frames, self.reading.vantages)
            return chunk.room.with_carried(self._carried)
        some = rows_of(chunk.frames, self.edges.inside(chunk.frames))
        self.totals.add(some, self.reading.vantages)
        if self._carried is None:
            return some
        return {name: np.concatenate([self._carried[name], some[name]]) for name in some}

    def learn(self, blocks: Sequence[bytes]) -> None:
        """Take what the file's own blocks tell of translations, as far as they are known."""
        if len(blocks) > self._learned:
            self._learned, self.nat = len(blocks), decode_entries(blocks)
            self.proxies = decode_proxies(blocks)
            self._translator = Translator(self.nat)

    def correlate(
        self, frames: Columns, now_ns: int = 0, *, final: bool = True
    ) -> tuple[Journeys, int]:
        """(the packets that are closed, `Batch.settled_ns`); the frames of the others are kept."""
        notes = self.reading.notes if final else (self.reading.foreseen or self.reading.notes)
        vantages = self.reading.vantages
        fdb = {v.name: n.fdb for v, n in zip(vantages, notes, strict=False) if n.fdb}
        watch = self._watch(notes, final=final)
        journeys, links = self._correlator.correlate(frames, vantages, watch, fdb, self._translator)
        self._carried = None
        if self.edges:
            self.edges.settle_losses(frames, journeys)
        if final:
            return journeys, FOREVER_NS
        hold = self.reading.foreseen is None
        also = self.edges.hold(frames, journeys, now_ns) if self.edges else None
        open_ = self._correlator.close(frames, journeys, links, now_ns, hold, also)
        self._carried = rows_of(frames, open_)
        waiting = self._carried["ts_ns"]
        oldest = int(waiting.min()) if len(waiting) else FOREVER_NS
        return journeys, min(now_ns - SLACK_NS, oldest)

    def batch_of(self, frames: Columns, journeys: Journeys, settled_ns: int = FOREVER_NS) -> Batch:
        """The closed packets with their names."""
        packets = self._packets().build(frames, journeys)
        if self.edges:
            packets = self.edges.mark_torn(packets, frames)
        return Batch(frames, journeys, packets, settled_ns, self.reading.vantages)

    def _watch(self, notes: list[VantageNotes], *, final: bool) -> Watch:
        count, totals, edges = len(self.reading.vantages), self.totals, self.edges
        if edges is None:
            return watch_of(notes, totals.start_ns, totals.end_ns, count, final=final)
        watch = watch_of(notes, edges.first_ns, edges.last_ns, count, final=final)
        return replace(
            watch, start_ns=np.maximum(watch.start_ns, edges.since_ns),
            end_ns=np.minimum(watch.end_ns, edges.until_ns),
        )  # fmt: skip

    def take(self, batch: Batch) -> None:
        """Give a batch to all aggregators."""
        self.likely += int(np.count_nonzero(batch.journeys.likely & (batch.journeys.packet >= 0)))
        self.partials.add(batch)

    def _packets(self) -> PacketTables:
        """The maker of packet tables, knowing the names that are known by now."""
        layout, reading = self._correlator.layout, self.reading
        known = (list(reading.vantages), layout.lan, layout.site, reading.names)
        if self._tables is None:
            self._tables = PacketTables(Endpoints(*known))
        else:
            self._tables.endpoints.learn(*known)
        return self._tables


def watch_of(
    notes: list[VantageNotes], start_ns: int | None, end_ns: int | None, count: int, *, final: bool
) -> Watch:
    """When each vantage was looked at; what has no end yet goes on for ever.

    start_ns, end_ns: of all frames.
    """
    first, last = start_ns or 0, (end_ns or 0) if final else FOREVER_NS
    spare = [VantageNotes()] * (count - len(notes))
    all_notes = [*notes, *spare]
    return Watch(
        start_ns=np.array([n.start_ns or first for n in all_notes], np.int64),
        end_ns=np.array(
            [n.end_ns or (last if n.ended else last - UNCLEAN_TAIL_NS) for n in all_notes],
            np.int64,
        ),
        complete=np.array([not (n.dropped or n.ring_dropped) for n in all_notes], np.bool_),
    )


def analyse_files(
    paths: Sequence[str],
    *,
    jobs: int = 2,
    progress: Progress | None = None,
    partials: Callable[[Reading], Partials] | None = None,
    window: Window | None = None,
) -> Analyser:
    """Read all files to their ends. jobs: 1 does one thing after the other, in one thread.

    window: analyse only the frames in it.

    partials: makes other aggregators than a report's; they get every packet exactly once.
    Raises as `Reading.open` and `Edges.inside`.
    """
    for thorough in (True,) if partials else (False, True):
        reading = Reading.open(paths)
        reading.foresee(thorough=thorough)
        edges = Edges(window) if window else None
        mine = partials(reading) if partials else Partials()
        analyser = Analyser(reading, mine, edges=edges)
        analyser.learn(reading.tracked)
        _analyse(analyser, jobs, progress)
        if thorough or analyser.chunks < 2 or not reading.was_wrong():
            break
    return analyser


def _analyse(analyser: Analyser, jobs: int, progress: Progress | None) -> None:
    reading = analyser.reading
    analyser.partials.loss_diagnosis.expected = reading.explained
    rooms: SimpleQueue[FrameRoom] = SimpleQueue()
    made = 0

    def room(rows: int) -> FrameRoom:
        nonlocal made
        if made < _ROOMS + len(reading.paths) - 1:
            made += 1
            return FrameRoom(rows, CARRIED_ROOM)
        return rooms.get()

    ahead: Callable[[Iterator[Any]], Iterator[Any]] = _ahead if jobs > 1 else iter
    chunks = ahead(reading.chunks(room, analyser.partials.peek))
    for batch, used in ahead((analyser.close(chunk), chunk.room) for chunk in chunks):
        analyser.take(batch)
        rooms.put(used)
        if progress:
            progress(*reading.progress())
    if not reading.frames:
        batch = analyser.batch_of(*_nothing(analyser))
        analyser.take(replace(batch, own=sort_own(reading.own)[0]))


def _nothing(analyser: Analyser) -> tuple[Columns, Journeys]:
    """Of files without a frame."""
    frames = empty_frames()
    return frames, analyser.correlate(frames)[0]


def _ahead(things: Iterator[T]) -> Iterator[T]:
    """The same things, made by a thread while the one before is looked at."""
    made: SimpleQueue[T | BaseException | None] = SimpleQueue()

    def make() -> None:
        try:
            for thing in things:
                made.put(thing)
            made.put(None)
        except BaseException as error:
            made.put(error)

    Thread(target=make, name="ahead", daemon=True).start()
    while (found := made.get()) is not None:
        if isinstance(found, BaseException):
            raise found
        yield found
