"""Files → decoded frames and what the files tell about themselves.

Several files are one capture: vantages with the same (netns, ifindex) are one vantage,
whichever file they come from. A file without our topology has one vantage per interface,
named as the file names it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.decode.frames import decode_frames
from analyzer.decode.identity import KEY_BYTES, key_bytes_for
from analyzer.errors import SavefileError
from analyzer.model.frames import DECODED, FrameChunk
from analyzer.model.vantage import MARK, Vantage
from analyzer.savefile.interfaces import SavefileInterface
from analyzer.savefile.read import Savefile, open_savefile

LOG = logging.getLogger("vethscope")
_META = {
    "ts_ns": "int64",
    "vantage": "int32",
    "flags": "uint32",
    "caplen": "uint32",
    "wirelen": "uint32",
    "linktype": "int32",
}


@dataclass(slots=True)
class VantageNotes:
    """What a file tells of one vantage besides its topology."""

    start_ns: int | None = None
    end_ns: int | None = None
    received: int | None = None
    dropped: int | None = None
    ended: bool = False
    """statistics were written: the capture came to its end in good order"""
    gone_ns: int | None = None
    """when the interface vanished, if it did while the capture went on"""
    ring_dropped: int = 0
    """by the ring that the vantage shares with others: any of them may lack frames"""
    fdb: list[tuple[str, int]] = field(default_factory=list)
    """for a bridge: its table at the end of the capture"""
    process_rtt: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cut:
    """The edges of a time window, None where it is open; what was left out, as `Loaded.frames`."""

    since_ns: int | None
    until_ns: int | None
    before: dict[str, npt.NDArray[Any]]
    after: dict[str, npt.NDArray[Any]]


@dataclass(slots=True)
class Loaded:
    """n frames of one or more files, with v vantages."""

    paths: list[str]
    frames: dict[str, npt.NDArray[Any]]
    """DECODED columns and ts_ns, vantage, flags, caplen, wirelen, linktype; [n] each, file order"""
    vantages: list[Vantage]
    notes: list[VantageNotes]
    names: dict[str, str] = field(default_factory=dict)
    engine: str = ""
    sysctls: dict[str, str] = field(default_factory=dict)
    errors: list[SavefileError] = field(default_factory=list)
    own: list[bytes] = field(default_factory=list)
    """contents of our own blocks: drops and settings (`analyzer.drops`)"""
    cut: Cut | None = None
    """where only a time window of the files is analysed"""

    def dropped(self) -> int | None:
        """Frames dropped by all rings; None where no file tells. A ring counts once."""
        rings = {
            (v.ring if v.ifindex else -i): max(n.ring_dropped, n.dropped or 0)
            for i, (v, n) in enumerate(zip(self.vantages, self.notes, strict=True), 1)
            if n.ended
        }
        return sum(rings.values()) if rings else None


class _Collector:
    """Vantages and frames while files are read."""

    def __init__(self) -> None:
        self.vantages: list[Vantage] = []
        self.notes: list[VantageNotes] = []
        self.columns: list[dict[str, npt.NDArray[Any]]] = []
        self._index: dict[tuple[object, ...], int] = {}
        self.key_bytes = KEY_BYTES
        """bytes of a frame that its identity is made of: no more than every vantage kept"""

    def place(self, interface: SavefileInterface, file_number: int, path: str) -> int:
        """The vantage of a file's interface."""
        vantage = told_vantage(interface, file_number) or foreign_vantage(interface, path)
        key = vantage.key if vantage.ifindex else (file_number, interface.index)
        if key not in self._index:
            self._index[key] = len(self.vantages)
            self.vantages.append(vantage)
            self.notes.append(VantageNotes())
        return self._index[key]

    def add(
        self, chunk: FrameChunk, vantage_of: npt.NDArray[np.int32], linktypes: npt.NDArray[np.int32]
    ) -> None:
        columns = decode_frames(chunk, linktypes, self.key_bytes)
        columns["ts_ns"], columns["flags"] = chunk.ts_ns, chunk.flags
        columns["caplen"], columns["wirelen"] = chunk.caplen, chunk.wirelen
        columns["vantage"] = vantage_of[chunk.interface]
        columns["linktype"] = linktypes[chunk.interface]
        self.columns.append(columns)

    def table(self) -> dict[str, npt.NDArray[Any]]:
        if not self.columns:
            return empty_frames()
        if len(self.columns) == 1:
            return self.columns[0]
        return {n: np.concatenate([c[n] for c in self.columns]) for n in self.columns[0]}


def empty_frames() -> dict[str, npt.NDArray[Any]]:
    """The columns of `Loaded.frames`, without a row."""
    return {name: np.empty(0, kind) for name, kind in {**DECODED, **_META}.items()}


def load(paths: Sequence[str]) -> Loaded:
    """Read and decode all frames of the files.

    Damage is kept in ``errors`` and the readable prefix is returned. Raises UsageProblem
    where a file does not exist and SavefileError where one is no capture file at all.
    """
    collector = _Collector()
    loaded = Loaded(list(paths), {}, [], [])
    savefiles = [open_savefile(path) for path in paths]
    collector.key_bytes = key_bytes_for([i.snaplen for s in savefiles for i in s.interfaces])
    for number, (path, savefile) in enumerate(zip(paths, savefiles, strict=True)):
        for chunk in savefile.chunks():
            places = [collector.place(i, number, path) for i in savefile.interfaces]
            linktypes = np.array([i.linktype for i in savefile.interfaces], np.int32)
            collector.add(chunk, np.array(places, np.int32), linktypes)
        _take_notes(savefile, number, collector, loaded)
        LOG.info("%s: %s, %d frames", path, savefile.format, savefile.frames)
    loaded.frames = collector.table()
    loaded.vantages, loaded.notes = collector.vantages, collector.notes
    return loaded


def _take_notes(savefile: Savefile, number: int, collector: _Collector, loaded: Loaded) -> None:
    """What stands beside the frames: statistics, names, the section's comment, damage."""
    for interface in savefile.interfaces:
        at = collector.place(interface, number, str(savefile.path))
        _read_statistics(interface, collector.notes[at])
    loaded.names.update(savefile.names)
    loaded.own.extend(savefile.own)
    section = _json(savefile.comment)
    loaded.engine = loaded.engine or str(section.get("engine", ""))
    loaded.sysctls.update(section.get("sysctls", {}))
    if savefile.error is not None:
        loaded.errors.append(savefile.error)


def _read_statistics(interface: SavefileInterface, notes: VantageNotes) -> None:
    found: Mapping[str, Any] = interface.statistics or {}
    if not found:
        return
    notes.ended = True
    notes.start_ns, notes.end_ns = found.get("starttime_ns"), found.get("endtime_ns")
    notes.received = found.get("ifrecv")
    notes.dropped = found.get("osdrop", found.get("ifdrop"))
    told = _json(str(found.get("comment", "")))
    notes.gone_ns = told.get("ended_ns")
    notes.fdb = [(mac, port) for mac, port in told.get("fdb", ())]
    notes.process_rtt = _json(str(told.get("note", ""))).get("process_rtt", {})
    if "ring_dropped" in told:
        notes.ring_dropped = told["ring_dropped"]


def told_vantage(interface: SavefileInterface, file_number: int) -> Vantage | None:
    """The vantage in our own comment; None where there is none (or not ours)."""
    told = _json(interface.comment)
    if MARK not in told:
        return None
    try:
        vantage = Vantage.from_json(told)
    except (KeyError, TypeError, ValueError):
        return None
    return replace(vantage, ring=vantage.ring + 1000 * file_number)


def foreign_vantage(interface: SavefileInterface, path: str) -> Vantage:
    """A vantage of which nothing but the name is known."""
    stem = os.path.basename(path)
    name = interface.name or (stem.rsplit(".", 1)[0] if "." in stem else stem) or "-"
    return Vantage(name=name, interface=name)


def _json(text: str) -> dict[str, Any]:
    """The object in a comment; {} where it is none."""
    if not text.startswith("{"):
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
