"""Payload that is put back, block by block; what a capture gets is in ``tests/tap``."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from cut_payload import EPB, blocks

from analyzer.app.export import export_packets
from analyzer.errors import UsageProblem
from analyzer.export.block_runs import BlockRun
from analyzer.export.payload import WholeFrames, restore
from analyzer.savefile.blocks import enhanced_packet

WHOLE = bytes(range(12)) + bytes.fromhex("0800") + bytes(range(100, 250)) + b"end"
TAGGED = WHOLE[:12] + bytes.fromhex("81000007") + WHOLE[12:]


def restored(kept: bytes, wirelen: int, copy: bytes) -> tuple[bytes, int, bytes]:
    """(data, wirelen, options) of a frame whose copy is there."""
    block = enhanced_packet(0, 5, kept, wirelen, flags=2)
    store = np.frombuffer(b"before" + copy, np.uint8)
    whole = WholeFrames(store, np.array([6], np.int64), np.array([len(copy)], np.int64))
    run = BlockRun(np.frombuffer(block, np.uint8), 0, len(block), False, 1)
    ((kind, made),) = blocks(restore(run, whole).tobytes())
    caplen, told = struct.unpack_from("<II", made, 20)
    assert (kind, made[-4:]) == (EPB, made[4:8])
    return made[28 : 28 + caplen], told, made[28 + caplen + -caplen % 4 : -4]


@pytest.mark.parametrize("kept", [18, 64, 65, 66, 67])
@pytest.mark.parametrize("copy", [WHOLE, TAGGED], ids=["plain", "tagged"])
@pytest.mark.parametrize("here", [WHOLE, TAGGED], ids=["plain", "tagged"])
def test_a_frame_keeps_what_it_has_and_gets_what_is_behind(
    here: bytes, copy: bytes, kept: int
) -> None:
    own = bytes(byte ^ 0xFF for byte in here[:kept])
    data, wirelen, options = restored(own, len(here), copy)
    assert (data, wirelen) == (own + here[kept:], len(here))
    assert options.startswith(struct.pack("<HHI", 2, 4, 2))
    assert b"payload from another vantage" in options


def test_a_whole_frame_and_one_whose_copy_is_too_short_stay_as_they_are() -> None:
    for kept, wirelen, copy in ((WHOLE, len(WHOLE), WHOLE), (WHOLE[:40], 2000, WHOLE)):
        data, told, options = restored(kept, wirelen, copy)
        assert (data, told) == (kept, wirelen)
        assert b"payload" not in options


def test_a_pipe_cannot_be_read_three_times(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="a pipe can be read only once"):
        export_packets("-", str(tmp_path), None, restore_payload=True)
