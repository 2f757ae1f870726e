"""When a capture cut all frames of a ring because it filled up, as the capture file keeps it.

A block's data: ``MAGIC`` and JSON. One is written when it begins, and one when it is over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import asdict

from analyzer.model.untrusted import MALFORMED, number, parse_json

MAGIC = b"vethscope/payload/1\n"


class PayloadCut(Struct, frozen=True):
    """A time in which no frame of a ring was kept whole."""

    netns: int
    """of the ring"""
    cut_bytes: int
    """to so many bytes frames were cut"""
    since_ns: int
    """since the epoch, as the stamps of frames"""
    until_ns: int | None = None
    """None: it was not over"""


def encode_cut(cut: PayloadCut) -> bytes:
    """The data of one block."""
    return MAGIC + json.dumps(asdict(cut), separators=(",", ":")).encode()


def decode_block(block: bytes) -> PayloadCut:
    """What one block of this kind tells. Raises one of MALFORMED where it is damaged."""
    told = parse_json(block[len(MAGIC) :].rstrip(b"\0"))
    netns, cut_bytes, since_ns = (number(told[n]) for n in ("netns", "cut_bytes", "since_ns"))
    until_ns = told["until_ns"]
    if until_ns is not None and number(until_ns) < since_ns:
        raise ValueError("it ends before it begins")
    return PayloadCut(netns, cut_bytes, since_ns, until_ns)


def decode_cuts(blocks: Iterable[bytes]) -> list[PayloadCut]:
    """All that a file's blocks tell, each time once; what is none of ours is passed over."""
    cuts: dict[tuple[int, int], PayloadCut] = {}
    for block in blocks:
        with suppress(*MALFORMED):
            if block.startswith(MAGIC):
                cut = decode_block(block)
                key = (cut.netns, cut.since_ns)
                if key not in cuts or cut.until_ns is not None:
                    cuts[key] = cut
    return sorted(cuts.values(), key=lambda cut: cut.since_ns)
