"""What a capture file says at its end, known before its frames are read.

The counters of a capture, drops above all, stand in Interface Statistics Blocks behind the last
frame. A pcapng block ends with its length, so they are found from the end of a file backwards;
where that does not lead to them, or the file is compressed, the whole file is stepped through.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from analyzer.native.loads import Bytes
from analyzer.savefile import blocks
from analyzer.savefile.columns import MORE, new_columns
from analyzer.savefile.control import is_swapped
from analyzer.savefile.interfaces import SavefileInterface
from analyzer.savefile.order import order_of
from analyzer.savefile.pcapng import PcapngReader, pcapng_reader
from analyzer.savefile.pcapng_walk import MIN_BLOCK
from analyzer.savefile.read import Savefile, open_savefile
from analyzer.savefile.source import open_source

_AT_THE_END = (blocks.NAME_RESOLUTION, blocks.INTERFACE_STATISTICS, blocks.OWN)
_MOST_BLOCKS = 100_000


class Ahead(NamedTuple):
    """What is known of a file before its frames are read."""

    interfaces: list[SavefileInterface]
    names: dict[str, str]
    own: list[bytes]
    """contents of the blocks of vethscope's own kind, of those at the ends"""


def look_at_end(path: str | Path) -> Ahead | None:
    """What stands at the end: interfaces described before the first frame, with their statistics.

    None where none stand there, or the file cannot be seen at once (it is large and compressed). Of
    a file with several sections the last one's statistics are taken for the first one's: see
    `Savefile.sections`.
    """
    source = open_source(path)
    window = source.advance()
    if not window.final:
        return None
    reader = pcapng_reader(bytes(window.data[:MIN_BLOCK]))
    if reader is None:
        return None
    swapped = bool(is_swapped(bytes(window.data[:MIN_BLOCK])))
    start = _start_of_end(window.data, swapped)
    if start == len(window.data):
        return None
    return _read_both(reader, window.data, start)


def _read_both(reader: PcapngReader, data: Bytes, start: int) -> Ahead | None:
    reader.walk(data, reader.start, new_columns(0), 0)
    stop = reader.walk(data[start:], 0, new_columns(0), 0)
    if not any(one.statistics for one in reader.interfaces):
        return None
    if stop.status != MORE or stop.position != len(data) - start or reader.stray_statistics:
        return None
    return Ahead(reader.interfaces, reader.names, reader.own)


def _start_of_end(data: Bytes, swapped: bool) -> int:
    """Where the blocks behind the last frame begin; the data's end where there are none."""
    order, position = order_of(swapped), len(data)
    for _ in range(_MOST_BLOCKS):
        if position < MIN_BLOCK:
            break
        (length,) = struct.unpack(f"{order}I", bytes(data[position - 4 : position]))
        begin = position - length
        if length < MIN_BLOCK or length % 4 or begin < 0:
            break
        kind, again = struct.unpack(f"{order}II", bytes(data[begin : begin + 8]))
        if kind not in _AT_THE_END or again != length:
            break
        position = begin
    return position


def step_through(
    path: str | Path, thin: Callable[[Sequence[bytes]], list[bytes]] = list
) -> Savefile:
    """The file as it is known when all of it was gone through; no frame is kept.

    thin: which ones to keep of the blocks of our own kind that were met so far.
    """
    savefile = open_savefile(path)
    for _ in savefile.chunks():
        savefile.own[:] = thin(savefile.own)
    return savefile
