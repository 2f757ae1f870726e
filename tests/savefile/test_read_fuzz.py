"""Files drawn at random: the good ones as capinfos and tshark read them, the bad ones bounded."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import numpy as np
import pytest
from backports import zstd
from drawn import drawn
from hypothesis import assume, given
from hypothesis import strategies as st
from savefile_builder import Pcapng, pcap
from savefile_strategies import damaged, files
from tshark import count

from analyzer.errors import SavefileError
from analyzer.model.frames import FLAG_UNTIMED
from analyzer.savefile import source
from analyzer.savefile.read import open_savefile

Rows = list[tuple[int, int, int]]


def read(path: Path) -> tuple[Rows, SavefileError | None]:
    """((ts_ns, wirelen, caplen) of each frame, error); every frame lies within the bytes."""
    try:
        savefile = open_savefile(path)
    except SavefileError as error:
        return [], error
    rows: Rows = []
    for chunk in savefile.chunks(5):
        assert (chunk.offset >= 0).all()
        assert (chunk.offset + chunk.caplen <= len(chunk.buffer)).all()
        assert ((chunk.interface >= 0) & (chunk.interface < len(savefile.interfaces))).all()
        told_ns = np.where(chunk.flags & FLAG_UNTIMED, 0, chunk.ts_ns)
        columns = (told_ns, chunk.wirelen, chunk.caplen)
        rows += zip(*(column.tolist() for column in columns), strict=True)
    assert savefile.frames == len(rows)
    return rows, savefile.error


def read_by_tshark(path: Path) -> Rows:
    """The same, as tshark tells it; custom blocks, which it shows as frames, left out."""
    names = [
        "frame.time_epoch",
        "frame.len",
        "frame.cap_len",
        "frame.encap_type",
        "_ws.col.Protocol",
    ]
    command = ["tshark", "-n", "-r", str(path), "-T", "fields"]
    command += [word for name in names for word in ("-e", name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split("\t") for line in done.stdout.split("\n")[:-1]]
    return [(_ns(row[0]), int(row[1]), int(row[2])) for row in rows if row[4] != "PCAPNG"]


def _ns(text: str) -> int:
    seconds, _, fraction = (text or "0").partition(".")
    return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))


@drawn(200)
@given(files)
def test_as_many_frames_as_capinfos_counts(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "drawn"
    path.write_bytes(data)
    rows, error = read(path)
    assert error is None
    counted = count(path)
    assume(counted >= 0)
    assert len(rows) == counted


@drawn(25)
@given(files)
def test_the_same_stamps_and_lengths_as_tshark(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "drawn"
    path.write_bytes(data)
    assert read(path)[0] == read_by_tshark(path)


@drawn(400)
@given(damaged())
def test_damage_never_raises_and_names_a_place(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(data)
    _, error = read(path)
    if error:
        assert str(error).count("\n") == 0
        assert "damaged" in str(error) or error.offset >= 0
        assert 0 <= error.offset <= len(data)


@drawn(150)
@given(damaged(), st.sampled_from([gzip.compress, zstd.compress]), st.sampled_from([64, 4096]))
def test_compressed_and_in_small_windows_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, compress: object, window: int
) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.write_bytes(data)
    packed.write_bytes(compress(data))  # type: ignore[operator]
    rows, error = read(plain)
    monkeypatch.setattr(source, "WINDOW_BYTES", window)
    rows_packed, error_packed = read(packed)
    assert rows_packed == rows
    assert (error_packed is None) == (error is None)
    if error and error_packed and rows:
        assert error_packed.offset == error.offset


@drawn(150)
@given(files, st.data())
def test_a_cut_in_the_compressed_stream_is_never_silent(
    tmp_path: Path, data: bytes, draw: st.DataObject
) -> None:
    compress = draw.draw(st.sampled_from([gzip.compress, zstd.compress]))
    packed = compress(data[: len(data) // 2]) + compress(data[len(data) // 2 :])
    size = draw.draw(st.integers(4, len(packed) - 1))
    first = len(compress(data[: len(data) // 2]))
    path = tmp_path / "cut"
    path.write_bytes(packed[:size])
    rows, error = read(path)
    whole = tmp_path / "whole"
    whole.write_bytes(data)
    expected, _ = read(whole)
    assert rows == expected[: len(rows)]
    assert error is not None or size == first or (size - first == 1 and compress is gzip.compress)


@pytest.mark.parametrize("version", [(2, 4), (2, 3), (2, 2), (2, 0), (543, 0)], ids=str)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("lengths", [(60, 60), (60, 100)], ids=str)
def test_older_versions_swap_the_two_lengths(
    tmp_path: Path, version: tuple[int, int], order: str, lengths: tuple[int, int]
) -> None:
    """As tshark: below 2.4 the larger length is the one on the wire, wherever it stands."""
    caplen, wirelen = lengths
    swapped = version != (2, 4)
    data = bytearray(pcap([bytes(caplen), bytes(40)], order))
    data[4:8] = Pcapng(order).pack("HH", *version)
    told = (wirelen, caplen) if swapped else (caplen, wirelen)
    data[24 + 8 : 24 + 16] = Pcapng(order).pack("II", *told)
    path = tmp_path / "old.pcap"
    path.write_bytes(data)
    assert read(path) == ([(0, wirelen, caplen), (1_000_001_000, 40, 40)], None)
    assert read_by_tshark(path) == read(path)[0]


def test_a_length_that_lies_costs_no_memory(tmp_path: Path) -> None:
    """A block and a record that claim 127 MB behind a good start, in a pipe's window."""
    import resource

    file = Pcapng("<")
    start = file.section() + file.interface() + file.packet(b"x" * 60)
    lie = file.pack("II", 6, (127 << 20)) + bytes(100)
    path = tmp_path / "lie.gz"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for data in (start + lie, pcap([bytes(60)]) + file.pack("IIII", 0, 0, 262144, 1 << 31)):
        path.write_bytes(gzip.compress(data))
        rows, error = read(path)
        assert len(rows) == 1
        assert "cut short in the middle of the record" in str(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB
