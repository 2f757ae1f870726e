"""Blocks of facts and rows: a magic, the length of the JSON (32 bits, little endian), the JSON,
rows of one size to the end."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from analyzer.model.untrusted import parse_json


def pack_facts(magic: bytes, facts: dict[str, Any]) -> bytes:
    """All before the rows; padded with blanks, so that they begin at a multiple of 4."""
    text = json.dumps(facts, separators=(",", ":")).encode()
    text += b" " * (-(len(magic) + 4 + len(text)) % 4)
    return magic + struct.pack("<I", len(text)) + text


def split_rows(
    block: bytes, magic: bytes, row: np.dtype[np.void]
) -> tuple[dict[str, Any], npt.NDArray[np.void]]:
    """Facts, and a copy of the rows. Raises one of MALFORMED where the block is damaged."""
    start = len(magic) + 4
    if len(block) < start:
        raise ValueError("cut short")
    end = start + struct.unpack_from("<I", block, len(magic))[0]
    if end > len(block):
        raise ValueError("its JSON goes beyond its end")
    count = (len(block) - end) // row.itemsize
    return parse_json(block[start:end]), np.frombuffer(block, row, count, end).copy()
