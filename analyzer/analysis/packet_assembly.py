"""From decoded frames to packets that are closed, a chunk at a time: what is open is carried along.

A packet is closed when no further frame of it is expected (`analyzer.correlate.packet_completion`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field
from msgspec.structs import replace

from analyzer.analysis.decoded_chunk import DecodedChunk
from analyzer.analysis.frame_room import empty_frames, rows_of
from analyzer.analysis.lifetimes import Lifetimes
from analyzer.analysis.notes import VantageNotes
from analyzer.analysis.own_blocks import sort_own
from analyzer.analysis.reading import Reading
from analyzer.analysis.returned_frames import ReturnedFrames
from analyzer.analysis.slow_queues import SlowQueues
from analyzer.analysis.totals import Totals
from analyzer.analysis.waiting_packets import (
    QueueState,
    WaitingPackets,
    slow_states,
    states_at_end,
)
from analyzer.analysis.window_edges import WindowEdges
from analyzer.correlate.correlate import Correlator
from analyzer.correlate.loss import Watch
from analyzer.correlate.translate import Translator
from analyzer.flows.endpoints import Endpoints
from analyzer.flows.packets import PacketTables
from analyzer.model.batch import FOREVER_NS, Batch, Columns
from analyzer.model.evidence import Evidence
from analyzer.model.journeys import Journeys
from analyzer.model.nat_entries import NatEntries
from analyzer.model.proxy import Proxy
from analyzer.model.tenures import Life
from analyzer.recorders.conntrack.proxies import decode_proxies
from analyzer.recorders.conntrack.record import decode_entries
from analyzer.recorders.evidence.record import decode_evidence

SLACK_NS = 50_000_000
"""rings are written to the file in turn: a frame may come so much after younger ones"""
UNCLEAN_NS = 250_000_000
"""a capture that was killed may miss the last frames of some rings, and does not tell since when
each heard: nothing that late or that early is lost"""


class PacketAssembly(Struct):
    """Makes packets of frames, and counts the frames."""

    reading: Reading
    edges: WindowEdges | None = None
    """of a time window: only the frames in it are analysed"""
    totals: Totals = field(default_factory=Totals)
    returned: ReturnedFrames = field(default_factory=ReturnedFrames)
    waiting: WaitingPackets = field(default_factory=WaitingPackets)
    likely: int = 0
    """edges that are likely only"""
    chunks: int = 0
    nat: NatEntries = field(default_factory=NatEntries)
    """what connection tracking told"""
    proxies: list[Proxy] = field(default_factory=list)
    _learned: int = 0
    _translator: Translator = field(default_factory=lambda: Translator(NatEntries()))
    _correlator: Correlator = field(default_factory=Correlator)
    _tables: PacketTables = field(default_factory=lambda: PacketTables(Endpoints()))
    _lifetimes: Lifetimes = field(default_factory=Lifetimes)
    _carried: Columns | None = None
    _slow: SlowQueues = field(default_factory=SlowQueues)
    _evidence: tuple[int, Evidence] | None = None
    """of how many blocks, and that"""

    def __post_init__(self) -> None:
        self._learn(len(self.reading.tracked))

    @property
    def endpoints(self) -> Endpoints:
        """The names of everything seen so far."""
        return self._tables.endpoints

    @property
    def segments(self) -> npt.NDArray[np.int32]:
        """[v] the realm of each vantage in which a MAC is unique, as in `Journeys`."""
        return self._correlator.layout.lan

    @property
    def evidence(self) -> Evidence:
        """What the files tell of counters, state and events, so far; all of it at the end."""
        blocks = len(self.reading.evidence)
        if self._evidence is None or self._evidence[0] != blocks:
            self._evidence = blocks, decode_evidence(self.reading.evidence)
        return self._evidence[1]

    @property
    def judged_until_ns(self) -> int:
        """When the capture ended; of what was asked later than this the answer may be missing."""
        notes, vantages = self.reading.notes, self.reading.vantages
        ends = [one.end_ns for one in notes if one.end_ns] + [self.totals.end_ns or 0]
        killed = any(v.ifindex and not n.ended for v, n in zip(vantages, notes, strict=False))
        end_ns = min(max(ends) - killed * UNCLEAN_NS, self.waiting.since_ns)
        return min(end_ns, self.edges.until_ns) if self.edges else end_ns

    def close(self, chunk: DecodedChunk) -> Batch:
        """The packets that are closed when a chunk is looked at with what is open."""
        self.chunks += 1
        self._lifetimes.add(chunk.frames, len(self.reading.vantages))
        self.reading.gaps.note(chunk.frames)
        self.returned.add(chunk.frames, self.reading.vantages)
        frames = self._inside(chunk)
        self._learn(chunk.tracked)
        self._correlator.learn(chunk.refusals.certain)
        journeys, settled_ns = self._correlate(frames, chunk.now_ns, final=chunk.final)
        batch = self._batch(frames, journeys, settled_ns, chunk.own)
        return replace(batch, refused=chunk.refusals.keys)

    def close_without_frames(self) -> Batch:
        """What there is to say of files that have not one frame."""
        frames = empty_frames()
        journeys, settled_ns = self._correlate(frames, 0, final=True)
        return self._batch(frames, journeys, settled_ns, sort_own(self.reading.own)[0])

    def _inside(self, chunk: DecodedChunk) -> Columns:
        """The chunk's frames, behind those that are open from before."""
        if self.edges is None:
            self.totals.add(chunk.frames, self.reading.vantages)
            return chunk.room.with_carried(self._carried)
        inside = rows_of(chunk.frames, self.edges.inside(chunk.frames))
        self.totals.add(inside, self.reading.vantages)
        if self._carried is None:
            return inside
        return {name: np.concatenate([self._carried[name], inside[name]]) for name in inside}

    def _learn(self, blocks: int) -> None:
        """Take what the first of the file's own blocks tell of translations."""
        if blocks > self._learned:
            tracked = self.reading.tracked[:blocks]
            self._learned, self.nat = blocks, decode_entries(tracked)
            self.proxies = decode_proxies(tracked)
            self._translator = Translator(self.nat)

    def _correlate(self, frames: Columns, now_ns: int, *, final: bool) -> tuple[Journeys, int]:
        """(the packets that are closed, `Batch.settled_ns`); the frames of the others are kept."""
        notes = self._notes(final)
        vantages = self.reading.vantages
        fdb = {v.name: n.fdb for v, n in zip(vantages, notes, strict=False) if n.fdb}
        watch = self._watch(notes, final=final)
        self._slow.learn(self.reading.evidence)
        self._correlator.learn_queues(self._slow.patience_ns)
        journeys, links = self._correlator.correlate(frames, vantages, watch, fdb, self._translator)
        self._carried = None
        if self.edges:
            self.edges.settle_losses(frames, journeys)
        layout = self._correlator.layout
        self.reading.gaps.settle(frames, journeys, layout)
        self.waiting.add(frames, journeys, layout)
        states = partial(self._queue_states, watch, now_ns, final)
        self.waiting.settle(frames, journeys, layout, states, final=final)
        if final:
            return journeys, FOREVER_NS
        hold = self.reading.foreseen is None
        also = self.edges.hold(frames, journeys, now_ns) if self.edges else None
        open_ = self._correlator.close(frames, journeys, links, now_ns, hold, also)
        self._carried = rows_of(frames, open_)
        waiting = self._carried["ts_ns"]
        oldest = int(waiting.min()) if len(waiting) else FOREVER_NS
        return journeys, min(now_ns - SLACK_NS, oldest)

    def _batch(
        self, frames: Columns, journeys: Journeys, settled_ns: int, own: Sequence[bytes]
    ) -> Batch:
        """The closed packets with their names."""
        self.likely += int(np.count_nonzero(journeys.likely & (journeys.packet >= 0)))
        self.returned.mark(frames, journeys, settled_ns)
        packets = self._packets(settled_ns == FOREVER_NS).build(frames, journeys)
        if self.edges:
            packets = self.edges.mark_torn(packets, frames)
        since = self.endpoints.borne_since, self.endpoints.had_since
        return Batch(frames, journeys, packets, settled_ns, self.reading.vantages, own, *since)

    def _watch(self, notes: list[VantageNotes], *, final: bool) -> Watch:
        edges = self.edges if self.edges and not self.edges.saw_nothing else None
        ends = self.totals.start_ns, self.totals.end_ns
        if edges:
            ends = edges.first_ns, edges.last_ns
        watch = watch_of(notes, *ends, len(self.reading.vantages), final=final)
        lacking = [v.ring in self.reading.lacking for v in self.reading.vantages]
        watch = watch._replace(complete=watch.complete & ~np.array(lacking, np.bool_))
        self._begin(watch, notes)
        if not edges:
            return watch
        return watch._replace(
            start_ns=np.maximum(watch.start_ns, edges.since_ns),
            end_ns=np.minimum(watch.end_ns, edges.until_ns),
        )

    def _begin(self, watch: Watch, notes: Sequence[VantageNotes]) -> None:
        """Of a capture that was killed nothing tells since when each ring has heard."""
        for at, vantage in enumerate(self.reading.vantages):
            if vantage.ifindex and (at >= len(notes) or notes[at].start_ns is None):
                joined = at >= self.reading.initial
                ns = self._lifetimes.first_ns(at) if joined else watch.start_ns[at] + UNCLEAN_NS
                watch.start_ns[at] = ns

    def _queue_states(self, watch: Watch, now_ns: int, final: bool) -> dict[int, QueueState]:
        """Of the queues in which packets may wait now."""
        vantages, slow = self.reading.vantages, self._slow.queues
        if final:
            return states_at_end(vantages, self.evidence, slow, watch.end_ns)
        return slow_states(vantages, slow, now_ns)

    def _notes(self, final: bool) -> list[VantageNotes]:
        """What the files tell of the vantages, as far as it is known."""
        return self.reading.notes if final else (self.reading.foreseen or self.reading.notes)

    def lives(self, final: bool = True) -> list[Life]:
        """[v] when each vantage's interface was there."""
        reading = self.reading
        return self._lifetimes.lives(self._notes(final), len(reading.vantages), reading.initial)

    def _packets(self, final: bool) -> PacketTables:
        """The maker of packet tables, knowing the names that are known by now."""
        layout, reading = self._correlator.layout, self.reading
        self._tables.endpoints.learn(
            list(reading.vantages), layout.lan, layout.site, reading.names, self.lives(final)
        )
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
            [n.end_ns or (last if n.ended else last - UNCLEAN_NS) for n in all_notes],
            np.int64,
        ),
        complete=np.array([not (n.dropped or n.ring_dropped) for n in all_notes], np.bool_),
    )
