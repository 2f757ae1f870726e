"""Files → all their decoded frames in memory, for what needs them at once.

`analyzer.analysis.stream` analyses files of any length; this is for `analyzer.read` and for the
short captures of `ping`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analyzer.analysis.depth import Depth
from analyzer.analysis.frame_room import META, FrameRoom, empty_frames
from analyzer.analysis.notes import VantageNotes, foreign_vantage, told_vantage
from analyzer.analysis.reading import Reading
from analyzer.errors import SavefileError
from analyzer.model.census import Census
from analyzer.model.vantage import Vantage

if TYPE_CHECKING:
    from analyzer.analysis.cut import Edges

__all__ = [
    "META", "Loaded", "VantageNotes", "empty_frames", "foreign_vantage", "load",
    "told_vantage",
]  # fmt: skip


@dataclass(slots=True)
class Loaded:
    """n frames of one or more files, with v vantages."""

    paths: list[str]
    frames: dict[str, npt.NDArray[Any]]
    """DECODED columns and META; [n] each, file order"""
    vantages: list[Vantage]
    notes: list[VantageNotes]
    names: dict[str, str] = field(default_factory=dict)
    engine: str = ""
    sysctls: dict[str, str] = field(default_factory=dict)
    errors: list[SavefileError] = field(default_factory=list)
    own: list[bytes] = field(default_factory=list)
    """contents of our own blocks: drops and settings (`analyzer.recorders`), translations"""
    depth: Depth = field(default_factory=Depth)
    """what was read from the bytes of frames"""
    census: Census = field(default_factory=Census)
    """all containers, as the engine told them when the capture began"""
    cut: Edges | None = None
    """where only a time window of the files is analysed"""


def dropped(vantages: Sequence[Vantage], notes: Sequence[VantageNotes]) -> int | None:
    """Frames dropped by all rings; None where no file tells. A ring counts once."""
    rings = {
        (v.ring if v.ifindex else -i): max(n.ring_dropped, n.dropped or 0)
        for i, (v, n) in enumerate(zip(vantages, notes, strict=True), 1)
        if n.ended
    }
    return sum(rings.values()) if rings else None


def load(paths: Sequence[str]) -> Loaded:
    """Read and decode all frames of the files.

    Damage is kept in ``errors`` and the readable prefix is returned. Raises UsageProblem
    where a file does not exist and SavefileError where one is no capture file at all.
    """
    reading = Reading.open(paths)
    depth = Depth()
    chunks = reading.chunks(lambda rows: FrameRoom(rows, 0), depth.peek)
    columns: list[dict[str, npt.NDArray[Any]]] = []
    own: list[bytes] = []
    for chunk in chunks:
        columns.append(dict(chunk.frames))
        own += chunk.own
    frames = empty_frames()
    if columns:
        frames = {name: np.concatenate([c[name] for c in columns]) for name in columns[0]}
    return Loaded(
        reading.paths, frames, reading.vantages, reading.notes, reading.names, reading.engine,
        reading.sysctls, reading.errors, [*own, *reading.own, *reading.tracked], depth,
        reading.census,
    )  # fmt: skip
