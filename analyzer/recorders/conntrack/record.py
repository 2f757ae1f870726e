"""Translated connections as the capture file keeps them: a few facts as JSON, rows of 88 bytes.

They stand in blocks of vethscope's own kind between the frames, as they were heard of; at the end
of a file all of them stand once more, so that a reader finds them before the first frame.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from msgspec import Struct

from analyzer.model.nat_entries import ROW, NatEntries, Rows
from analyzer.model.untrusted import MALFORMED, number
from analyzer.native.keys import mixed
from analyzer.recorders.row_blocks import pack_facts, split_rows

MAGIC = b"vethscope/conntrack/1\n"
ROWS_PER_BLOCK = 16_384
"""a megabyte and a half; readers refuse blocks of more than sixteen"""


class Heard(Struct, frozen=True):
    """What one block tells."""

    netns: int
    rows: Rows
    overruns: int = 0
    """in all until then, as `left_out`"""
    left_out: int = 0


def encode_entries(heard: Heard) -> list[bytes]:
    """The data of one or more blocks."""
    facts = {"netns": heard.netns, "overruns": heard.overruns, "left_out": heard.left_out}
    head = pack_facts(MAGIC, facts)
    starts = range(0, max(len(heard.rows), 1), ROWS_PER_BLOCK)
    return [head + heard.rows[at : at + ROWS_PER_BLOCK].tobytes() for at in starts]


def decode_entries(blocks: Iterable[bytes]) -> NatEntries:
    """All that a file's blocks tell, each row once; what is none of ours is passed over."""
    parts = [one for block in blocks if (one := _whole(block)) is not None]
    if not parts:
        return NatEntries()
    rows = np.concatenate([one.rows for one in parts])
    netns = np.concatenate([np.full(len(one.rows), one.netns, np.int64) for one in parts])
    keys = mixed(netns, *(rows[name] for name in ROW.names or ()))
    _, first = np.unique(keys, return_index=True)
    order = first[np.argsort(rows["ts_ns"][first], kind="stable")]
    spaces = {one.netns for one in parts}
    return NatEntries(
        rows[order],
        netns[order],
        frozenset(spaces),
        overruns=sum(max(o.overruns for o in parts if o.netns == space) for space in spaces),
        left_out=sum(max(o.left_out for o in parts if o.netns == space) for space in spaces),
    )


def _whole(data: bytes) -> Heard | None:
    try:
        return decode_block(data) if data.startswith(MAGIC) else None
    except MALFORMED:
        return None


def decode_block(data: bytes) -> Heard:
    """What one block of this kind tells. Raises one of MALFORMED where it is damaged."""
    facts, rows = split_rows(data, MAGIC, ROW)
    netns, overruns, left_out = (number(facts[n]) for n in ("netns", "overruns", "left_out"))
    return Heard(netns, rows, overruns, left_out)
