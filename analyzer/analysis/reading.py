"""Files → chunks of decoded frames, and what the files tell about themselves meanwhile.

Several files are one capture: vantages with the same (netns, ifindex) are one vantage,
whichever file they come from, and the files are gone through side by side, in time. A file
without our topology has one vantage per interface, named as the file names it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from analyzer.analysis.clock_offsets import FileClocks
from analyzer.analysis.decoded_chunk import DecodedChunk, decoded_chunk
from analyzer.analysis.frame_room import FrameRoom
from analyzer.analysis.gaps import Gaps
from analyzer.analysis.notes import VantageNotes, read_section_notes
from analyzer.analysis.own_blocks import Malformed, is_evidence, needed_at_start, sort_own
from analyzer.analysis.refusals import read_refusals
from analyzer.analysis.twins import without_twins
from analyzer.analysis.vantage_identity import VantageIdentities
from analyzer.decode.cooked import has_cooked
from analyzer.decode.identity import KEY_BYTES, key_bytes_for
from analyzer.decode.inner import TUNNEL_BYTES, follow_tunnels
from analyzer.errors import SavefileError
from analyzer.model.batch import Columns
from analyzer.model.census import Census
from analyzer.model.frames import FLAG_LACKING, FrameChunk
from analyzer.model.vantage import Vantage
from analyzer.net.link_types import LINUX_SLL2
from analyzer.savefile.ahead import Ahead, look_at_end, step_through
from analyzer.savefile.interfaces import SavefileInterface, take_names
from analyzer.savefile.read import CaptureFile, Savefile, open_savefile
from analyzer.savefile.source import is_rereadable

LOG = logging.getLogger("vethscope")
CHUNK_FRAMES = 3 << 15
"""at once, in 20 MB; two thirds take a fifth more CPU time, four thirds a fifth more memory"""
_FEWEST = 1 << 12

Peek = Callable[[FrameChunk, Columns], None]


class Reading(Struct):
    """The files of one capture while they are read. All of it grows."""

    files: list[CaptureFile]
    vantages: list[Vantage] = field(default_factory=list)
    notes: list[VantageNotes] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    """address → name"""
    initial: int = 0
    """of the vantages, so many stood in front of the first frame"""
    engine: str = ""
    sysctls: dict[str, str] = field(default_factory=dict)
    errors: list[SavefileError] = field(default_factory=list)
    own: list[bytes] = field(default_factory=list)
    """contents of our own blocks that no chunk was handed with"""
    census: Census = field(default_factory=Census)
    """all containers, as the engine told them when the capture began"""
    key_bytes: int = KEY_BYTES
    """bytes of a frame that its identity is made of: no more than every vantage kept"""
    frames: int = 0
    """decoded so far"""
    chunk_frames: int = field(default_factory=lambda: CHUNK_FRAMES)
    """of all files together"""
    savefiles: list[Savefile] = field(default_factory=list)
    foreseen: list[VantageNotes] | None = None
    """the notes as they will be at the end; None where they cannot be known before"""
    explained: bool = True
    """whether there are blocks of our own that tell of losses; True where it is not known yet"""
    twins: list[tuple[str, str]] = field(default_factory=list)
    """(file that was left out, the one before it that it is once more)"""
    lacking: set[int] = field(default_factory=set)
    """rings of which a frame told that others were dropped just before it: at the end of a file
    the statistics tell, which a killed capture has not"""
    clocks: FileClocks = field(default_factory=FileClocks)
    gaps: Gaps = field(default_factory=Gaps)
    """times between files that were written one after the other, and are not all read"""
    tracked: list[bytes] = field(default_factory=list)
    """what was told of translations, as far as it is known: of whole files before their frames"""
    evidence: list[bytes] = field(default_factory=list)
    """what was told of counters, state and events (`analyzer.recorders.evidence`)"""
    _malformed: Malformed = field(default_factory=Malformed)
    _snaplens: set[int] = field(default_factory=set)
    _expected: int = 0
    _places: VantageIdentities = field(default_factory=lambda: VantageIdentities([]))

    def __post_init__(self) -> None:
        self._places = VantageIdentities(self.vantages)

    @classmethod
    def open(cls, files: Sequence[str | CaptureFile]) -> Reading:
        """Open all files, without reading a frame.

        Raises UsageProblem where one does not exist and SavefileError where one is no capture
        file at all.
        """
        different, twins = without_twins(files)
        savefiles = [open_savefile(file) for file in different]
        opened = [savefile.file for savefile in savefiles]
        reading = cls(opened, savefiles=savefiles, twins=twins)
        for number, savefile in enumerate(reading.savefiles):
            reading._take_notes(savefile, number)
            reading._snaplens |= {interface.snaplen for interface in savefile.interfaces}
        reading.initial = len(reading.vantages)
        reading._fit_keys()
        if not any(vantage.ifindex for vantage in reading.vantages):
            reading.clocks.compare(reading.files, reading.key_bytes)
        return reading

    def _fit_keys(self) -> None:
        """Make identity of what every vantage has of a frame; what a tunnel carries is not cut."""
        kept = [max(one - TUNNEL_BYTES * self.tunnels, 1) for one in self._snaplens if one]
        self.key_bytes = key_bytes_for(kept + [one.cut_bytes for one in self.vantages])

    @property
    def paths(self) -> list[str]:
        """Of the files, as given."""
        return [file.name for file in self.files]

    @property
    def tunnels(self) -> bool:
        """Whether there is a VXLAN device among the vantages."""
        return any(vantage.is_tunnel for vantage in self.vantages)

    def foresee(self, *, thorough: bool = False) -> None:
        """Look up what the files say at their ends; not of pipes.

        thorough: go through all of them instead. Files that tell nothing of their vantages have
        nothing that could be called lost, and are not looked at.
        """
        self._expected = len(self.vantages)
        if not any(vantage.ifindex for vantage in self.vantages):
            self.foreseen, self.explained = [VantageNotes() for _ in self.vantages], False
            return
        notes_at_end: dict[int, VantageNotes] = {}
        explained = False
        for number, file in enumerate(self.files):
            if not is_rereadable(file.path):
                return
            ahead = None if thorough else look_at_end(file.path)
            if ahead is None:
                stepped = step_through(file.path, needed_at_start)
                ahead = Ahead(stepped.interfaces, stepped.names, stepped.own)
            others, tracked = sort_own(Malformed().pass_over(ahead.own))
            self.tracked += tracked
            explained = explained or bool(others)
            for interface in ahead.interfaces:
                self._snaplens.add(interface.snaplen)
                vantage = self._place(interface, number, file.name)
                if vantage < 0:
                    continue
                notes = notes_at_end.setdefault(vantage, VantageNotes())
                notes.read(interface.statistics or {}, number)
                notes.read_so_far(interface.so_far or {}, number)
            take_names(self.names, ahead.names)
        self._expected, self.explained = len(self.vantages), explained
        vantages = range(len(self.vantages))
        self.foreseen = [notes_at_end.get(vantage, VantageNotes()) for vantage in vantages]
        self.gaps = Gaps.between(self.foreseen)
        self._fit_keys()

    def was_wrong(self) -> bool:
        """Whether the files turned out to hold more than was foreseen of them."""
        if self.foreseen is None:
            return False
        more = len(self.vantages) > self._expected and any(v.ifindex for v in self.vantages)
        return more or any(savefile.sections > 1 for savefile in self.savefiles)

    def is_whole(self, vantage: int) -> bool:
        """Whether its ring dropped nothing, as far as it is known."""
        notes = self.notes[vantage]
        dropped = notes.dropped or notes.ring_dropped
        return not dropped and self.vantages[vantage].ring not in self.lacking

    def progress(self) -> tuple[int, int]:
        """(bytes read, size) of all files; size 0 where one has none."""
        pairs = [savefile.progress() for savefile in self.savefiles]
        sizes = [size for _, size in pairs]
        return sum(done for done, _ in pairs), sum(sizes) if all(sizes) else 0

    def chunks(
        self, rooms: Callable[[int], FrameRoom], peek: Peek | None = None
    ) -> Iterator[DecodedChunk]:
        """All frames, chunk by chunk; of several files the one that lies behind is next.

        rooms: gives a room for so many rows. Damage is kept in ``errors``; the readable prefix of
        each file is handed out.
        """
        least = min(self.chunk_frames, _FEWEST)
        most = max(self.chunk_frames // max(len(self.savefiles), 1), least)
        files = [
            self._file(number, savefile, rooms, most, peek)
            for number, savefile in enumerate(self.savefiles)
        ]
        ahead = {number: chunk for number, file in enumerate(files) if (chunk := next(file, None))}
        while ahead:
            number = min(ahead, key=lambda n: ahead[n].start_ns)
            chunk = ahead.pop(number)
            following = next(files[number], None)
            if following:
                ahead[number] = following
            own, tracked = sort_own(self.own)
            self.own = []
            self.tracked += tracked
            yield replace(
                chunk,
                now_ns=min([chunk.now_ns, *(other.start_ns for other in ahead.values())]),
                own=own,
                tracked=len(self.tracked),
                final=not ahead,
            )

    def _file(
        self,
        number: int,
        savefile: Savefile,
        rooms: Callable[[int], FrameRoom],
        most: int,
        peek: Peek | None,
    ) -> Iterator[DecodedChunk]:
        """One file's frames."""
        for chunk in savefile.chunks(most):
            room = rooms(most)
            places = [self._place(i, number, savefile.path) for i in savefile.interfaces]
            linktypes = np.array([i.linktype for i in savefile.interfaces], np.int32)
            frames = room.decode(
                chunk, np.array(places, np.int32), linktypes, self.key_bytes, self.frames
            )
            frames["ts_ns"][:] -= self.clocks.ahead_ns(number)
            self.frames += len(chunk)
            self._note_lacking(frames)
            if has_cooked(linktypes):
                for at in self._places.place_devices(chunk, frames, savefile, number):
                    self._noted(at)
            if self.tunnels:
                follow_tunnels(chunk, frames, self.key_bytes)
            if peek:
                peek(chunk, frames)
            take_names(self.names, savefile.names)
            self._take_own(savefile)
            yield decoded_chunk(frames, room, read_refusals(chunk, frames))
        self._take_notes(savefile, number)
        self._take_own(savefile)
        if savefile.error is not None:
            self.errors.append(savefile.error)
        LOG.info("%s: %s, %d frames", savefile.path, savefile.format, savefile.frames)

    def _note_lacking(self, frames: Columns) -> None:
        behind = np.flatnonzero(frames["flags"] & FLAG_LACKING)
        self.lacking |= {self.vantages[v].ring for v in np.unique(frames["vantage"][behind])}

    def _take_own(self, savefile: Savefile) -> None:
        for block in self._malformed.pass_over(savefile.own):
            (self.evidence if is_evidence(block) else self.own).append(block)
        savefile.own.clear()

    def _place(self, interface: SavefileInterface, file_number: int, path: str) -> int:
        """The vantage of a file's interface; -1 where it stands for all devices, and nothing was
        counted of it as a whole."""
        if interface.linktype == LINUX_SLL2 and not interface.statistics:
            return -1
        return self._noted(self._places.place(interface, file_number, path))

    def _noted(self, vantage: int) -> int:
        """The vantage, with notes of it."""
        if vantage == len(self.notes):
            self.notes.append(VantageNotes())
        return vantage

    def _take_notes(self, savefile: Savefile, number: int) -> None:
        """What stands beside the frames: statistics, names, the section's comment."""
        for interface in savefile.interfaces:
            at = self._place(interface, number, savefile.path)
            if at < 0:
                continue
            self.notes[at].read(self.clocks.corrected(interface.statistics or {}, number), number)
            self.notes[at].read_so_far(interface.so_far or {}, number)
        take_names(self.names, savefile.names)
        section = read_section_notes(savefile.comment)
        self.engine = self.engine or section.engine
        self.sysctls |= section.sysctls
        self.census = section.census or self.census
        if section.clock_offset_ns is not None:
            self.clocks.starts_ns[number] = section.clock_offset_ns
        if section.malformed and any(vantage.ifindex for vantage in self.vantages):
            self._malformed.sections.add(number)

    def malformed(self) -> dict[str, int]:
        """What vethscope writes of itself and cannot have written so: kind → how many were left
        out."""
        return self._malformed.counts(
            interfaces=len(self._places.malformed),
            statistics=sum(notes.malformed for notes in self.notes),
        )
