"""What capture files tell besides frames: vantages, statistics, the section's comment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from analyzer.model.vantage import CLOCK_OFFSET, MARK, Vantage, check_fdb
from analyzer.savefile.interfaces import SavefileInterface


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
    process_received: dict[str, int] = field(default_factory=dict)
    """ICMP id of our own ping → answers that its process got"""
    clock_ends_ns: dict[int, int] = field(default_factory=dict)
    """file → how far the time of day was ahead of a clock that nobody sets, at its end"""

    _parts: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    """file → what it told"""

    def read(self, statistics: Mapping[str, Any], file: int = 0) -> None:
        """Take what an Interface Statistics Block tells; nothing where it is empty.

        The files of one capture that follow each other tell each of its own time.
        """
        if not statistics:
            return
        self._parts[file] = {**statistics, **_told_at_end(str(statistics.get("comment", "")))}
        if CLOCK_OFFSET in self._parts[file]:
            self.clock_ends_ns[file] = self._parts[file][CLOCK_OFFSET]
        parts = list(self._parts.values())
        self.ended = True
        self.start_ns, self.end_ns = _least(parts, "starttime_ns"), _greatest(parts, "endtime_ns")
        self.received = _sum([part.get("ifrecv") for part in parts])
        self.dropped = _sum([part.get("osdrop", part.get("ifdrop")) for part in parts])
        self.ring_dropped = sum(part.get("ring_dropped", 0) for part in parts)
        self.gone_ns = _least(parts, "ended_ns")
        self.fdb = [entry for part in parts for entry in part.get("fdb", ())]
        for part in parts:
            self.process_rtt |= part.get("process_rtt", {})
            self.process_received |= part.get("process_received", {})


def count_dropped(vantages: Sequence[Vantage], notes: Sequence[VantageNotes]) -> int | None:
    """Frames dropped by all rings; None where no file tells. A ring counts once."""
    rings = {
        (v.ring if v.ifindex else -i): max(n.ring_dropped, n.dropped or 0)
        for i, (v, n) in enumerate(zip(vantages, notes, strict=True), 1)
        if n.ended
    }
    return sum(rings.values()) if rings else None


def _told_at_end(comment: str) -> dict[str, Any]:
    """What our comment of an Interface Statistics Block tells; what cannot be so is left out."""
    comment_object = object_in(comment)
    statistics: dict[str, Any] = {
        name: comment_object[name]
        for name in ("ring_dropped", "ended_ns", CLOCK_OFFSET)
        if type(comment_object.get(name)) is int and 0 <= comment_object[name] < _LARGEST
    }
    with suppress(ValueError):
        statistics["fdb"] = check_fdb(comment_object.get("fdb", ()))
    note = object_in(str(comment_object.get("note", "")))
    with suppress(ValueError, TypeError, AttributeError):
        statistics["process_rtt"] = {
            str(int(ident)): {str(int(seq)): int(ns) for seq, ns in seen.items()}
            for ident, seen in (note.get("process_rtt") or {}).items()
        }
    with suppress(ValueError, TypeError, AttributeError):
        statistics["process_received"] = {
            str(int(ident)): int(count)
            for ident, count in (note.get("process_received") or {}).items()
        }
    return statistics


_LARGEST = 1 << 63


def _told(parts: Sequence[Mapping[str, Any]], name: str) -> list[int]:
    return [part[name] for part in parts if part.get(name) is not None]


def _least(parts: Sequence[Mapping[str, Any]], name: str) -> int | None:
    return min(_told(parts, name), default=None)


def _greatest(parts: Sequence[Mapping[str, Any]], name: str) -> int | None:
    return max(_told(parts, name), default=None)


def _sum(counts: Sequence[int | None]) -> int | None:
    """None where one of them is not known."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def described_vantage(interface: SavefileInterface, file_number: int) -> Vantage | None:
    """The vantage in our own comment; None where there is none (or not ours)."""
    description = object_in(interface.comment)
    if MARK not in description:
        return None
    try:
        vantage = Vantage.from_json(description)
    except (KeyError, TypeError, ValueError):
        return None
    return replace(vantage, ring=vantage.ring + 1000 * file_number)


def foreign_vantage(interface: SavefileInterface, path: str) -> Vantage:
    """A vantage of which nothing but the name is known."""
    stem = os.path.basename(path)
    name = interface.name or (stem.rsplit(".", 1)[0] if "." in stem else stem) or "-"
    return Vantage(name=name, interface=name)


def object_in(text: str) -> dict[str, Any]:
    """The object in a comment; {} where it is none."""
    if not text.startswith("{"):
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
