"""The blocks of a pcapng, some thousands at a time, for what copies them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from analyzer.export.pcapng import DONE, SECTION, scan
from analyzer.native.loads import Bytes
from analyzer.savefile import blocks
from analyzer.savefile.control import is_swapped
from analyzer.savefile.pcapng_walk import MIN_BLOCK
from analyzer.savefile.source import Window, open_source

BLOCKS = 1 << 16
"""that are handed out at once"""
_MAGIC = blocks.SECTION_HEADER.to_bytes(4, "big")


class BlockRun(NamedTuple):
    """Whole blocks of one byte order."""

    data: Bytes
    start: int
    stop: int
    """they are data[start:stop]"""
    swapped: bool
    """in the other byte order than this machine's"""
    packets: int
    """of them, packet blocks"""


def block_runs(path: str, end: int | None = None) -> Iterator[BlockRun]:
    """All blocks, in their order; each run is valid until the next. end: where the damage is."""
    source = open_source(path)
    window, position, swapped = source.advance(), 0, False
    while True:
        start = bytes(window.data[position : position + MIN_BLOCK])
        if start.startswith(_MAGIC) and len(start) == MIN_BLOCK:
            swapped = bool(is_swapped(start))
        limit = _limit(window, end)
        stop, packets, why = scan(window.data, position, limit, swapped, BLOCKS)
        yield BlockRun(window.data, position, stop, swapped, packets)
        position = stop
        source.leave(position)
        if why in (DONE, SECTION):
            continue
        if window.final or limit < len(window.data):
            return
        window, position = source.advance(position), 0


def _limit(window: Window, end: int | None) -> int:
    """How far the window's bytes are good."""
    size = len(window.data)
    return size if end is None else min(size, end - window.base)
