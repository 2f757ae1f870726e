"""No cut and no flipped bit may raise, hang or read beyond the end; a cut loses no whole record."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st
from savefile_builder import ISB, NRB, Pcapng, pcap

from analyzer.errors import SavefileError
from analyzer.savefile.read import open_savefile

FRAMES = [bytes([i]) * (40 + 3 * i) for i in range(6)]


def classic() -> tuple[bytes, list[int]]:
    """A pcap file, and where each of its records ends."""
    sizes = [16 + len(frame) for frame in FRAMES]
    return pcap(FRAMES), [24 + end for end in itertools.accumulate(sizes)]


def modern() -> tuple[bytes, list[int]]:
    """A pcapng file of two sections with blocks of all kinds, and where each packet ends."""
    data, ends = b"", []
    for file in (Pcapng("<"), Pcapng(">")):
        data += file.section((1, b"comment")) + file.interface((2, b"eth0"), (9, b"\x09"))
        data += file.block(NRB, b"", (1, bytes(4) + b"name\0"))
        for frame in FRAMES[:3]:
            for packet in (file.packet(frame, 7, (2, file.pack("I", 1))), file.simple(frame)):
                data += packet
                ends.append(len(data))
        data += file.block(ISB, file.pack("III", 0, 0, 0), (4, file.pack("Q", 1)))
    return data, ends


FILES: dict[str, Callable[[], tuple[bytes, list[int]]]] = {"pcap": classic, "pcapng": modern}


def read_all(path: Path) -> tuple[int, SavefileError | None, bool]:
    """(frames, error, truncated); every frame has to lie within the file."""
    try:
        savefile = open_savefile(path)
    except SavefileError as error:
        return 0, error, False
    frames = 0
    for chunk in savefile.chunks(4):
        assert (chunk.offset >= 0).all()
        assert (chunk.offset + chunk.caplen <= len(chunk.buffer)).all()
        assert (chunk.interface < len(savefile.interfaces)).all()
        frames += len(chunk)
    return frames, savefile.error, savefile.truncated


@pytest.mark.parametrize("kind", FILES)
def test_cut_at_every_byte(tmp_path: Path, kind: str) -> None:
    data, ends = FILES[kind]()
    path = tmp_path / "cut"
    clean = set()
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        frames, error, truncated = read_all(path)
        assert frames == sum(end <= size for end in ends), size
        if error is None:
            clean.add(size)
        elif frames:
            assert truncated, size
    assert set(ends) | {len(data)} <= clean
    assert len(clean) < len(data) / 10  # only at a record's end


@pytest.mark.parametrize("kind", FILES)
@drawn(300)
@given(st.data())
def test_flipped_bytes(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    whole, _ = FILES[kind]()
    damaged = bytearray(whole)
    places = st.integers(0, len(whole) - 1)
    for at in data.draw(st.lists(places, min_size=1, max_size=4)):
        damaged[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    size = data.draw(st.integers(0, len(whole)) | st.just(len(whole)))
    path = tmp_path / "flipped"
    path.write_bytes(damaged[:size])
    frames, _, _ = read_all(path)
    assert frames <= len(whole) // 16


@drawn(200)
@given(st.binary(max_size=300))
def test_nonsense_behind_a_good_start(tmp_path: Path, rest: bytes) -> None:
    file = Pcapng("<")
    path = tmp_path / "nonsense"
    path.write_bytes(file.section() + file.interface() + file.packet(b"12345678") + rest)
    frames, _, _ = read_all(path)
    assert frames >= 1
