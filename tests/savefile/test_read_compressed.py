"""Compressed files and windows: the same frames as plain, prefix kept where they are cut."""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path

import pytest
from backports import zstd
from savefile_builder import Pcapng, pcap

from analyzer.errors import EnvironmentProblem
from analyzer.savefile import source
from analyzer.savefile.read import open_savefile

FILE = Pcapng("<")
FRAMES = [i.to_bytes(4, "big") * (10 + i % 50) for i in range(1, 400)]
NG = FILE.section() + FILE.interface() + b"".join(FILE.packet(f, i) for i, f in enumerate(FRAMES))


def frames_of(path: Path | str) -> tuple[list[bytes], str, bool]:
    savefile = open_savefile(path)
    found = []
    for chunk in savefile.chunks(64):
        for start, length in zip(chunk.offset, chunk.caplen, strict=True):
            found.append(bytes(chunk.buffer[start : start + length]))
    return found, str(savefile.error or ""), savefile.truncated


@pytest.mark.parametrize("data", [pcap(FRAMES), NG], ids=["pcap", "pcapng"])
@pytest.mark.parametrize("window", [64, 1000, 32 << 20])
def test_gzip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, window: int) -> None:
    """A window smaller than a record grows; frames never lie across two."""
    monkeypatch.setattr(source, "WINDOW_BYTES", window)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(data))
    assert frames_of(path) == (FRAMES, "", False)
    assert frames_of(path) == (FRAMES, "", False)


def test_members_of_gzip_and_padding_behind(tmp_path: Path) -> None:
    data = pcap(FRAMES)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(data[:1000]) + gzip.compress(data[1000:]) + bytes(512))
    assert frames_of(path) == (FRAMES, "", False)


def test_gzip_that_is_cut_keeps_its_prefix(tmp_path: Path) -> None:
    import random

    noise = random.Random(1)
    frames = [noise.randbytes(1000) for _ in range(50)]
    packed = gzip.compress(pcap(frames))
    path = tmp_path / "a.gz"
    path.write_bytes(packed[: len(packed) // 2])
    found, error, truncated = frames_of(path)
    assert 20 <= len(found) < 30
    assert found == frames[: len(found)]
    assert "the gzip data is cut short" in error
    assert truncated


def test_gzip_that_is_damaged(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(pcap(FRAMES)))
    packed[-8] ^= 0xFF  # the CRC
    path = tmp_path / "a.gz"
    path.write_bytes(packed)
    found, error, truncated = frames_of(path)
    assert found == FRAMES
    assert "the gzip data is damaged" in error
    assert not truncated


def test_a_small_file_that_unpacks_to_much_stays_small(tmp_path: Path) -> None:
    """300 MB of zeros in 300 kB: the first window shows that it is no capture file."""
    import resource

    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(pcap([]) + bytes(300 << 20), 9))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    savefile = open_savefile(path)
    records = sum(len(chunk) for chunk in savefile.chunks(1 << 16))
    assert records == (300 << 20) // 16  # records of zero bytes, each 16 long
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 << 10  # KiB


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(gzip.compress(NG)))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert frames_of("-") == (FRAMES, "", False)


def test_a_pipe_s_damage_is_told_by_its_place_in_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(source, "WINDOW_BYTES", 256)
    stdin = io.TextIOWrapper(io.BytesIO(NG + bytes(16)))
    monkeypatch.setattr(sys, "stdin", stdin)
    found, error, _ = frames_of("-")
    assert found == FRAMES
    assert f"damaged at byte {len(NG)}" in error


def test_zstd(tmp_path: Path) -> None:
    path = tmp_path / "a.zst"
    path.write_bytes(zstd.compress(NG))
    assert frames_of(path) == (FRAMES, "", False)


def test_frames_of_zstd_one_after_the_other(tmp_path: Path) -> None:
    skippable = b"\x50\x2a\x4d\x18" + (7).to_bytes(4, "little") + b"skipped"
    packed = zstd.compress(NG[:100]) + skippable + zstd.compress(NG[100:])
    path = tmp_path / "a.zst"
    path.write_bytes(packed)
    assert frames_of(path) == (FRAMES, "", False)
    path.write_bytes(packed[:-5])
    assert "the zstd data is cut short" in frames_of(path)[1]


def test_zstd_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    path = tmp_path / "a.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    with pytest.raises(EnvironmentProblem, match=r"pip install backports.zstd.*zstd -d"):
        open_savefile(path)
