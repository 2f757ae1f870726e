"""What capture files tell besides frames: vantages, statistics, the section's comment."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from analyzer.decode.cooked import device_name
from analyzer.model.census import Census, read_census
from analyzer.model.untrusted import MALFORMED, number, parse_json, text
from analyzer.model.vantage import CLOCK_OFFSET, MARK, Vantage, check_fdb
from analyzer.net.link_types import LINUX_SLL
from analyzer.savefile.interfaces import SavefileInterface
from analyzer.savefile.read import Savefile


class VantageNotes(Struct):
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

    malformed: bool = False
    """what vethscope writes into a comment there is damaged, and partly left out"""

    _parts: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    """file → what it told"""

    def read(self, statistics: Mapping[str, Any], file: int = 0) -> None:
        """Take what an Interface Statistics Block tells; nothing where it is empty.

        The files of one capture that follow each other tell each of its own time.
        """
        if not statistics:
            return
        told, self.malformed = _told_at_end(str(statistics.get("comment", "")))
        self._parts[file] = {**statistics, **told}
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

    def read_so_far(self, statistics: Mapping[str, Any], file: int = 0) -> None:
        """The same of a capture that went on, and was killed later."""
        if file not in self._parts:
            told, _ = _told_at_end(str(statistics.get("comment", "")))
            self.ring_dropped = max(self.ring_dropped, told.get("ring_dropped", 0))

    def parts(self) -> list[tuple[int, int]]:
        """(start, end) of each file's part, as far as they are told."""
        ends = [(p.get("starttime_ns"), p.get("endtime_ns")) for p in self._parts.values()]
        return [(start, end) for start, end in ends if start is not None and end is not None]


class SectionNotes(Struct):
    """What the comment of a file's section tells of the machine."""

    engine: str = ""
    sysctls: dict[str, str] = field(default_factory=dict)
    census: Census | None = None
    clock_offset_ns: int | None = None
    malformed: bool = False
    """some of it cannot be so, and is left out"""


def read_section_notes(comment: str) -> SectionNotes:
    """All that is well in a section's comment."""
    values = object_in(comment)
    section = SectionNotes(malformed=comment.startswith("{") and not values)
    readers: dict[str, tuple[str, Callable[[Any], Any]]] = {
        "engine": ("engine", text),
        "sysctls": ("sysctls", _texts),
        "containers": ("census", read_census),
        CLOCK_OFFSET: ("clock_offset_ns", number),
    }
    for name, (attribute, read) in readers.items():
        try:
            if name in values:
                setattr(section, attribute, read(values[name]))
        except MALFORMED:
            section.malformed = True
    return section


def _texts(told: Mapping[str, Any]) -> dict[str, str]:
    return {text(name): text(value) for name, value in told.items()}


def count_dropped(vantages: Sequence[Vantage], notes: Sequence[VantageNotes]) -> int | None:
    """Frames dropped by all rings; None where no file tells. A ring counts once."""
    rings = {
        (v.ring if v.ifindex else -i): max(n.ring_dropped, n.dropped or 0)
        for i, (v, n) in enumerate(zip(vantages, notes, strict=True), 1)
        if n.ended
    }
    return sum(rings.values()) if rings else None


def files_not_ended(savefiles: Sequence[Savefile]) -> list[str]:
    """Files of captures of ours without the statistics that end one."""
    return [
        file.file.name
        for file in savefiles
        if file.interfaces
        and f'"{MARK}"' in file.interfaces[0].comment
        and not any(one.statistics for one in file.interfaces)
    ]


def _told_at_end(comment: str) -> tuple[dict[str, Any], bool]:
    """(what our comment of an Interface Statistics Block tells, whether some of it cannot be so
    and is left out)."""
    comment_object = object_in(comment)
    readers: dict[str, Callable[[Any], Any]] = {
        **dict.fromkeys(("ring_dropped", "ended_ns", CLOCK_OFFSET), number),
        "fdb": check_fdb,
        "note": _process_notes,
    }
    statistics: dict[str, Any] = {}
    malformed = is_damaged(comment)
    for name, read in readers.items():
        try:
            if name in comment_object:
                statistics[name] = read(comment_object[name])
        except MALFORMED:
            malformed = True
    return statistics | statistics.pop("note", {}), malformed


def _process_notes(note: str) -> dict[str, Any]:
    """What the tool's own echo told of its socket: ICMP id → its sequence numbers → ns, and ICMP
    id → answers received."""
    values = parse_json(note)
    return {
        "process_rtt": {
            str(_icmp(ident)): {str(_icmp(seq)): number(ns) for seq, ns in seen.items()}
            for ident, seen in values.get("process_rtt", {}).items()
        },
        "process_received": {
            str(_icmp(ident)): number(count)
            for ident, count in values.get("process_received", {}).items()
        },
    }


def _icmp(digits: str) -> int:
    """An ICMP id or sequence number."""
    return number(int(digits), 0xFFFF)


def _told(parts: Sequence[Mapping[str, Any]], name: str) -> list[int]:
    return [part[name] for part in parts if part.get(name) is not None]


def _least(parts: Sequence[Mapping[str, Any]], name: str) -> int | None:
    return min(_told(parts, name), default=None)


def _greatest(parts: Sequence[Mapping[str, Any]], name: str) -> int | None:
    return max(_told(parts, name), default=None)


def _sum(counts: Sequence[int | None]) -> int | None:
    """None where one of them is not known."""
    counted = [count for count in counts if count is not None]
    return sum(counted) if len(counted) == len(counts) else None


def described_vantage(interface: SavefileInterface, file_number: int) -> Vantage | None:
    """The vantage in our own comment; None where there is none (or not ours).

    Raises one of MALFORMED where it is ours and damaged.
    """
    description = object_in(interface.comment)
    if MARK not in description:
        if is_damaged(interface.comment):
            raise ValueError("no whole JSON")
        return None
    vantage = Vantage.from_json(description)
    return replace(vantage, ring=vantage.ring + 1000 * file_number)


def named_vantage(interface: SavefileInterface, path: str) -> Vantage:
    """As our comment describes it; where that is none, or nonsense, as `foreign_vantage`."""
    try:
        described = described_vantage(interface, 0)
    except MALFORMED:
        described = None
    return described or foreign_vantage(interface, path)


def foreign_vantage(interface: SavefileInterface, path: str) -> Vantage:
    """A vantage of which nothing but the name is known: of an interface without one the file's,
    with its number there, which Wireshark calls ``frame.interface_id``."""
    stem = os.path.basename(path)
    number = f"#{interface.index}" if interface.index else ""
    named = (stem.rsplit(".", 1)[0] if "." in stem else stem) or "-"
    name = interface.name or named + number
    return Vantage(name=name, interface=name, mixed=interface.linktype == LINUX_SLL)


def device_of(interface: SavefileInterface, file_number: int, path: str, ifindex: int) -> Vantage:
    """A device of which a capture of all interfaces tells the index; where a frame is cut before
    that, one that stands for all such."""
    whole = foreign_vantage(interface, path)
    ring = -1 - 1000 * file_number - interface.index
    if not ifindex:
        return replace(whole, mixed=True, ring=ring)
    name = device_name(ifindex)
    return replace(whole, name=name, interface=name, told_ifindex=ifindex, ring=ring)


def object_in(comment: str) -> dict[str, Any]:
    """The object in a comment; {} where it is none."""
    if not comment.startswith("{"):
        return {}
    try:
        value = parse_json(comment)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def is_damaged(comment: str) -> bool:
    """Whether a comment begins as one of ours, and is none that can be read."""
    ours = re.match(r'\{.*"vethscope', comment, re.DOTALL) is not None
    return ours and not object_in(comment)


def own_echoes(notes: Sequence[VantageNotes]) -> dict[int, int]:
    """ICMP id → answers that the process got; of older files, those of which they tell a time."""
    return {
        int(ident): one.process_received.get(ident, len(rtts))
        for one in notes
        for ident, rtts in one.process_rtt.items()
    }


def process_rtt(notes: Sequence[VantageNotes]) -> dict[tuple[int, int], int]:
    """(ICMP id, seq) → ns, as our own echo left it in the file."""
    return {
        (int(ident), int(seq)): rtt_ns
        for one in notes
        for ident, rtts in one.process_rtt.items()
        for seq, rtt_ns in rtts.items()
    }
