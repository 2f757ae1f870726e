"""Drops as the capture file keeps them: a few names as JSON, and a row of 32 bytes each.

They stand in blocks of vethscope's own kind between the frames, so whatever part of a file can
be read tells the drops up to there. Every block carries the names that its rows use and stands
for itself: files of a ring, cut or joined, need no other. What is kept is a reason, a place in
the kernel's code and which frame it was; no kernel address.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field
from msgspec.structs import replace

from analyzer.model.untrusted import MALFORMED, number
from analyzer.recorders.drops.untied import Neighbour, TimedCounts, UntiedDrops
from analyzer.recorders.row_blocks import pack_facts, split_rows

MAGIC = b"vethscope/drops/1\n"
ROW = np.dtype(
    [
        ("ts_ns", "<i8"),  # of the drop, since the epoch
        ("seen_ns", "<i8"),  # when the frame it belongs to entered the stack
        ("len_bytes", "<u4"),  # of that frame behind its MAC header
        ("device", "<u2"),  # that the frame came in by: place in the names
        ("location", "<u2"),
        ("reason", "<u2"),
        ("protocol", "<u2"),  # EtherType
        ("cpu", "<u2"),
        ("tie", "u1"),  # SAME, COPY, ANSWER of recorders.drops.pages
        ("spare", "u1"),
    ]
)
UNKNOWN = "unknown"
_FIELDS = ("device", "location", "reason")

Rows = npt.NDArray[Any]


class Drops(Struct):
    """n drops in order of their blocks, with the names that their fields point into."""

    rows: Rows = field(default_factory=lambda: np.empty(0, ROW))
    devices: list[str] = field(default_factory=list)
    locations: list[str] = field(default_factory=list)
    """``nft_do_chain+0x3e8``; '' where the kernel hides its symbols"""
    reasons: list[str] = field(default_factory=list)
    alone: dict[tuple[str, str, int], int] = field(default_factory=dict)
    """(reason, location, EtherType) → drops that belong to no frame of the captured interfaces"""
    alone_ns: tuple[int, int] = (0, 0)
    """(since, until): those were counted meanwhile; of a whole log, see `DropLog.elsewhere`"""
    neighbours: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """(reason, device, next hop) → of those, packets that waited for that next hop's MAC"""
    lost: int = 0
    """events that the kernel had no room for"""
    deaf_ns: list[tuple[int, int, int]] = field(default_factory=list)
    """(since, until, level): too many frames to tie drops to all of them; at level 1 only frames
    of the host's captured interfaces were listened to, at 2 none"""
    clock: dict[str, Any] = field(default_factory=dict)
    """the trace's clock and what was added to get the time of day"""

    @property
    def recorded(self) -> bool:
        """Whether the capture was told to (``--drops``) and could, drops or none."""
        return bool(self.clock)

    def __len__(self) -> int:
        return len(self.rows)


def encode_drops(drops: Drops) -> bytes:
    """The data of one block."""
    content = {
        "devices": drops.devices,
        "locations": drops.locations,
        "reasons": drops.reasons,
        "alone": [[*key, count] for key, count in drops.alone.items()],
        "alone_ns": drops.alone_ns,
        "neighbours": [[*key, count] for key, count in drops.neighbours.items()],
        "lost": drops.lost,
        "deaf_ns": drops.deaf_ns,
        "clock": drops.clock,
    }
    return pack_facts(MAGIC, content) + drops.rows.tobytes()


class DropLog:
    """What a capture's blocks tell, taken in as they come; the rows are handed on, not kept."""

    def __init__(self) -> None:
        self.told = Drops()
        """all but the rows: the names have the same places in all of them"""
        self.counts: Counter[int] = Counter()
        """place of a reason → rows with it"""
        self.elsewhere = UntiedDrops()
        """what was counted alone, with its time"""
        self.waited: TimedCounts[Neighbour] = TimedCounts()
        """of that, what waited for a next hop's MAC"""
        self._places: dict[str, dict[str, int]] = {name: {} for name in _FIELDS}

    @property
    def recorded(self) -> bool:
        """See `Drops.recorded`."""
        return self.told.recorded

    def take(self, blocks: Iterable[bytes]) -> Rows:
        """The rows of blocks; what is none of ours, or damaged, is passed over."""
        decoded = [one for data in blocks if (one := _whole(data)) is not None]
        for one in decoded:
            self._take(one)
        rows_of_blocks = [one.rows for one in decoded]
        rows = np.concatenate(rows_of_blocks) if rows_of_blocks else np.empty(0, ROW)
        for reason, count in zip(*np.unique(rows["reason"], return_counts=True), strict=True):
            self.counts[int(reason)] += int(count)
        return rows

    def device(self, name: str) -> int:
        """The place of an interface among the rows' devices."""
        return self._place("device", name)

    def _take(self, one: Drops) -> None:
        for name in _FIELDS:
            moved = [self._place(name, text) for text in getattr(one, f"{name}s")]
            if len(one.rows):
                one.rows[name] = np.array(moved, np.uint16)[one.rows[name]]
        for key, count in one.alone.items():
            self.told.alone[key] = self.told.alone.get(key, 0) + count
            self.elsewhere.add(key, count, *one.alone_ns)
        for neighbour, count in one.neighbours.items():
            self.waited.add(neighbour, count, *one.alone_ns)
        self.told.lost += one.lost
        self.told.deaf_ns += one.deaf_ns
        self.told.clock = one.clock or self.told.clock

    def _place(self, field_name: str, text: str) -> int:
        names: list[str] = getattr(self.told, f"{field_name}s")
        place = self._places[field_name].setdefault(text, len(names))
        if place == len(names):
            names.append(text)
        return place


def decode_drops(blocks: Iterable[bytes]) -> Drops:
    """All drops of a file's blocks."""
    log = DropLog()
    rows = log.take(blocks)
    return replace(log.told, rows=rows)


def _whole(data: bytes) -> Drops | None:
    try:
        return decode_block(data) if data.startswith(MAGIC) else None
    except MALFORMED:
        return None


def decode_block(data: bytes) -> Drops:
    """What one block of this kind tells. Raises one of MALFORMED where it is damaged."""
    content, rows = split_rows(data, MAGIC, ROW)
    names = {f"{name}s": [_text(one) for one in content[f"{name}s"]] for name in _FIELDS}
    for name in _FIELDS:
        if len(rows) and int(rows[name].max()) >= len(names[f"{name}s"]):
            raise ValueError(f"a row's {name} has no name")
    deaf = [tuple(map(number, told)) for told in content.get("deaf_ns", ())]
    since, until = map(number, content.get("alone_ns", (0, 0)))
    return Drops(
        rows,
        alone={
            (_text(r), _text(p), number(e)): number(n) for r, p, e, n in content.get("alone", ())
        },
        alone_ns=(since, until),
        neighbours={
            (_text(r), _text(d), _text(n)): number(c)
            for r, d, n, c in content.get("neighbours", ())
        },
        lost=number(content.get("lost", 0)),
        deaf_ns=[(since, until, level) for since, until, level in deaf],
        clock=dict(content.get("clock", {})),
        **names,
    )


def _text(value: Any) -> str:
    """As a string of characters: a device may have any bytes as its name."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is no text")
    return value.encode("utf-8", "replace").decode()
