"""What stands at the end of a file, known before its frames are read."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from analyzer.savefile import blocks, source
from analyzer.savefile.ahead import look_at_end, step_through

FRAME = bytes(60)


def capture(path: Path, *, end: bytes, frames: int = 3, late: bytes = b"") -> Path:
    packets = [blocks.enhanced_packet(0, n, FRAME, 60) for n in range(frames)]
    head = blocks.section_header(), blocks.interface_description("eth0", snaplen=0)
    path.write_bytes(b"".join((*head, *packets, late, end)))
    return path


def statistics(interface: int = 0, dropped: int = 7) -> bytes:
    return blocks.interface_statistics(interface, 99, end_ns=99, received=3, dropped=dropped)


def test_statistics_and_names_at_the_end(tmp_path: Path) -> None:
    end = blocks.own(b"drops") + blocks.name_resolution({"10.0.0.1": "web"}) + statistics()
    found = look_at_end(capture(tmp_path / "a", end=end))
    assert found is not None
    interfaces, names, own = found
    assert [(i.name, i.statistics["osdrop"]) for i in interfaces if i.statistics] == [("eth0", 7)]
    assert names == {"10.0.0.1": "web"}
    assert own == [b"drops\0\0\0"]


@pytest.mark.parametrize(
    ("end", "late"),
    [
        (b"", b""),
        (statistics() + b"\0" * 5, b""),  # cut short behind them
        (statistics(1), blocks.interface_description("eth1", snaplen=0)),  # appeared later
    ],
)
def test_where_that_does_not_lead_to_them_nothing_is_told(
    end: bytes, late: bytes, tmp_path: Path
) -> None:
    assert look_at_end(capture(tmp_path / "a", end=end, late=late)) is None


def test_large_compressed_files_and_pcap_are_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = capture(tmp_path / "a", end=statistics(), frames=50)
    packed = tmp_path / "a.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert look_at_end(packed) is not None
    monkeypatch.setattr(source, "WINDOW_BYTES", 2000)
    assert look_at_end(packed) is None
    classic = tmp_path / "b"
    classic.write_bytes(bytes.fromhex("d4c3b2a1020004000000000000000000000004000100000000"))
    assert look_at_end(classic) is None


def test_stepping_through_finds_interfaces_that_appear_later(tmp_path: Path) -> None:
    late = blocks.interface_description("eth1", snaplen=0)
    path = capture(tmp_path / "a", end=statistics() + statistics(1, dropped=2), late=late)
    found = step_through(path)
    assert [i.statistics and i.statistics["osdrop"] for i in found.interfaces] == [7, 2]
    assert found.frames == 3
