"""Of a capture of healthy traffic, whatever part of it is looked at: nothing was ever lost.

Fewer interfaces, frames cut short, a window of time, frames in several sections: each hides
something, and what is hidden must not be called lost.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from drawn import drawn
from hypothesis import given
from hypothesis import strategies as st

from analyzer.analysis.analyse import report_files
from analyzer.analysis.options import AnalysisOptions
from analyzer.analysis.window import parse_window

CAPTURES = Path(__file__).parents[2] / "captures"
HEALTHY = ("tomcat-ping", "host-to-container")
IDB, NRB, ISB, EPB, SHB = 1, 4, 5, 6, 0x0A0D0D0A


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each block of a little-endian pcapng."""
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        yield kind, data[at + 8 : at + length - 4]
        at += length


def block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def cut(body: bytes, snaplen: int, number: int) -> bytes:
    """A packet of another interface's number, and of no more than so many bytes."""
    _, high, low, caplen, wirelen = struct.unpack_from("<5I", body)
    options = body[20 + caplen + (-caplen % 4) :]
    kept = min(caplen, snaplen)
    data = body[20 : 20 + kept] + bytes(-kept % 4)
    return struct.pack("<5I", number, high, low, kept, wirelen) + data + options


def part_of(data: bytes, chosen: Sequence[int], snaplen: int) -> bytes:
    """The capture as it would be with these interfaces only, and frames cut to a snaplen."""
    numbers = {interface: place for place, interface in enumerate(sorted(chosen))}
    parts, interface = [], 0
    for kind, body in blocks(data):
        if kind == IDB:
            if interface in numbers:
                parts.append(block(kind, body[:4] + struct.pack("<I", snaplen) + body[8:]))
            interface += 1
        elif kind in (EPB, ISB):
            (of,) = struct.unpack_from("<I", body)
            if of not in numbers:
                continue
            other = struct.pack("<I", numbers[of]) + body[4:]
            parts.append(block(kind, cut(body, snaplen, numbers[of]) if kind == EPB else other))
        else:
            parts.append(block(kind, body))
    return b"".join(parts)


@pytest.mark.parametrize("name", HEALTHY)
@drawn(100)
@given(data=st.data())
def test_nothing_of_healthy_traffic_is_lost_whatever_is_looked_at(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = (CAPTURES / f"{name}.pcapng").read_bytes()
    count = sum(kind == IDB for kind, _ in blocks(whole))
    chosen = data.draw(st.sets(st.integers(0, count - 1), min_size=1), "interfaces")
    snaplen = data.draw(st.sampled_from([54, 64, 96, 128, 65535]), "snaplen")
    since, until = sorted(data.draw(st.tuples(*[st.integers(0, 2200)] * 2), "window in ms"))
    windowed = data.draw(st.booleans(), "windowed") and since < until
    path = tmp_path_factory.mktemp("part") / "part.pcapng"
    path.write_bytes(part_of(whole, sorted(chosen), snaplen))
    window = parse_window(f"{since / 1000}", f"{until / 1000}") if windowed else None
    report, errors = report_files([str(path)], AnalysisOptions(window=window))
    assert errors == []
    assert report.losses == []
    assert [(row.source, row.destination) for row in report.icmp if row.lost] == []
    assert [row for row in report.hops if row.lost] == []
    assert [f.text for f in report.findings if f.severity != "info"] == []
    for row in report.icmp:
        assert row.answered + row.lost + row.unmatched <= row.sent
