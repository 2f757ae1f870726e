"""Classic pcap: three magic numbers, two byte orders, link types, snaplens."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from savefile_builder import pcap

from analyzer.errors import SavefileError, UsageProblem
from analyzer.savefile.read import open_savefile

FRAMES = [bytes([i]) * (60 + i) for i in range(5)]


def contents(path: Path, frames_per_chunk: int = 1 << 20) -> list[bytes]:
    found = []
    for chunk in open_savefile(path).chunks(frames_per_chunk):
        for start, length in zip(chunk.offset, chunk.caplen, strict=True):
            found.append(bytes(chunk.buffer[start : start + length]))
    return found


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("magic", "unit_ns"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1), (0xA1B2CD34, 1000)]
)
def test_magic_and_order(tmp_path: Path, order: str, magic: int, unit_ns: int) -> None:
    path = tmp_path / "a.pcap"
    stamps = [(0xF0000000, 999_999), (1, 2), (2, 3), (3, 4), (4, 5)]
    path.write_bytes(pcap(FRAMES, order, magic, linktype=101, snaplen=96, stamps=stamps))
    savefile = open_savefile(path)
    (chunk,) = savefile.chunks()
    assert contents(path) == FRAMES
    assert chunk.ts_ns.tolist() == [s * 10**9 + f * unit_ns for s, f in stamps]
    assert chunk.wirelen.tolist() == [len(frame) for frame in FRAMES]
    assert not chunk.flags.any()
    assert not chunk.interface.any()
    assert (savefile.format, savefile.error, savefile.truncated) == ("pcap", None, False)
    (interface,) = savefile.interfaces
    assert (interface.linktype, interface.snaplen) == (101, 96)
    assert interface.tsresol == (9 if unit_ns == 1 else 6)


def test_chunks_are_full_and_join_up(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(FRAMES))
    savefile = open_savefile(path)
    assert [len(chunk) for chunk in savefile.chunks(2)] == [2, 2, 1]
    assert savefile.frames == 5
    assert contents(path, 2) == FRAMES
    assert [len(chunk) for chunk in savefile.chunks(5)] == [5]  # again, from the start
    assert savefile.frames == 5


def test_high_bits_of_the_link_type_word_are_no_link_type(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(FRAMES, linktype=0x14000001))  # "FCS of 2 words present"
    assert open_savefile(path).interfaces[0].linktype == 1


def test_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([]))
    savefile = open_savefile(path)
    assert list(savefile.chunks()) == []
    assert savefile.error is None


def test_caplen_beyond_the_snaplen_is_believed_up_to_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([bytes(2000)], snaplen=96))
    assert contents(path) == [bytes(2000)]
    whole = bytearray(pcap(FRAMES, snaplen=96))
    second = 24 + 16 + 60
    whole[second + 8 : second + 12] = (262145).to_bytes(4, "little")
    path.write_bytes(whole + bytes(300_000))
    savefile = open_savefile(path)
    assert sum(len(chunk) for chunk in savefile.chunks()) == 1
    assert isinstance(savefile.error, SavefileError)
    assert savefile.error.offset == second
    assert not savefile.truncated
    assert "a.pcap: damaged at byte 100" in str(savefile.error)
    assert "; 1 frame before it could be read" in str(savefile.error)


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    data = pcap(FRAMES * 100)
    writer = threading.Thread(target=path.write_bytes, args=(data,))
    writer.start()
    savefile = open_savefile(path)
    assert sum(len(chunk) for chunk in savefile.chunks()) == 500
    writer.join()
    with pytest.raises(UsageProblem, match="only once"):
        next(savefile.chunks())


def test_what_is_no_capture_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for data, words in [
        (b"", "is empty"),
        (b"PK\x03\x04" + bytes(100), r"no capture file \(starts with 50 4b 03 04\)"),
        (b"\xd4", "no capture file"),
        (pcap([])[:20], "cut short inside the header of a pcap file"),
        (b"\x0a\x0d\x0d\x0a\x1c\0\0\0", "cut short inside the header of a pcapng file"),
        (b"\x0a\x0d\x0d\x0a" + bytes(40), "without its byte-order magic"),
    ]:
        path.write_bytes(data)
        with pytest.raises(SavefileError, match=words):
            open_savefile(path)


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="nothing: no such file"):
        open_savefile(tmp_path / "nothing")
    with pytest.raises(UsageProblem, match="is a directory"):
        open_savefile(tmp_path)


def test_columns_have_the_model_s_types(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(FRAMES))
    (chunk,) = open_savefile(path).chunks()
    assert chunk.buffer.dtype == np.uint8
    assert (chunk.offset.dtype, chunk.ts_ns.dtype) == (np.int64, np.int64)
    assert (chunk.caplen.dtype, chunk.wirelen.dtype, chunk.flags.dtype) == (np.uint32,) * 3
    assert chunk.interface.dtype == np.int32
