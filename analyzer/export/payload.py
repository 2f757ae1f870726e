"""Packet blocks whose payload was cut, with that of another copy of the packet, in one loop.

A frame keeps the bytes that it has: MACs, TTL and checksums are its own. What is behind them comes
from the copy, counted from the end, since a tag may be in front of one of the two.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from analyzer.export.block_runs import BlockRun
from analyzer.export.pcapng import (
    COMMENT,
    END,
    ENHANCED,
    HEAD,
    OBSOLETE,
    SIMPLE,
    TAIL,
    keep_options,
    put16,
    put32,
    put_bytes,
)
from analyzer.native.compiled import compiled
from analyzer.native.loads import Bytes, file32
from analyzer.native.padding import padded_in_loop

_NOTE = np.frombuffer(b"payload from another vantage", np.uint8)
_ROOM = 48
"""bytes that a frame gets beside payload: the comment, padding"""
_BIG = sys.byteorder == "big"


class WholeFrames(NamedTuple):
    """For n frames, another copy of each that is whole."""

    store: Bytes
    """in which the copies are"""
    place: npt.NDArray[np.int64]
    """[n] where in it"""
    size: npt.NDArray[np.int64]
    """[n] bytes of it; 0: there is none"""


def restore(run: BlockRun, whole: WholeFrames) -> Bytes:
    """The blocks of a run, cut frames with their payload; ``whole``: of its packet blocks."""
    added = int(whole.size.sum()) + _ROOM * int(np.count_nonzero(whole.size))
    out = np.empty(run.stop - run.start + added, np.uint8)
    size = _restore(run.data, run.start, run.stop, run.swapped, whole, _NOTE, out)
    return out[:size]


@compiled
def _restore(
    data: Any, start: Any, stop: Any, swapped: Any, whole: WholeFrames, note: Any, out: Any
) -> Any:
    """Fill ``out`` with the blocks data[start:stop]; how many bytes that are."""
    position: Any = np.int64(start)
    big, at, row = swapped != _BIG, np.int64(0), 0
    while position < stop:
        kind = file32(data, position, swapped)
        behind = position + file32(data, position + 4, swapped)
        is_packet = kind in (ENHANCED, OBSOLETE, SIMPLE)
        size: Any = whole.size[row] if is_packet else np.int64(0)
        caplen = file32(data, position + 20, swapped) if size else 0
        wirelen = file32(data, position + 24, swapped) if size else 0
        begin, ahead = at, caplen + size - wirelen
        if kind == ENHANCED and caplen < wirelen and 0 <= ahead <= size:
            put_bytes(out, at, data, position, position + HEAD + caplen)
            store = whole.place[row]
            at = put_bytes(out, at + HEAD + caplen, whole.store, store + ahead, store + size)
            options = position + HEAD + padded_in_loop(caplen)
            at = keep_options(data, options, behind - TAIL, swapped, out, at)
            put16(out, at, COMMENT, big)
            put16(out, at + 2, len(note), big)
            at = put_bytes(out, at + 4, note, 0, len(note))
            put32(out, at, END, big)
            at += 4 + TAIL
            put32(out, begin + 4, at - begin, big)
            put32(out, begin + 20, wirelen, big)
            put32(out, at - TAIL, at - begin, big)
        else:
            at = put_bytes(out, at, data, position, behind)
        row += is_packet
        position = behind
    return at
