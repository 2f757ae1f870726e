"""ctnetlink's messages as rows: built here as the kernel builds them, and damaged ones."""

from __future__ import annotations

import socket
import struct

import numpy as np
import pytest

from analyzer.model.nat_entries import ENDED, NEW, ROW, THERE
from analyzer.recorders.conntrack.messages import WORDS, to_rows, walk_messages
from analyzer.recorders.conntrack.record import Heard, decode_entries, encode_entries
from analyzer.recorders.conntrack.watch import network_masks

NESTED = 0x8000


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def tuple_of(source: str, target: str, ports: tuple[int, int], protocol: int = 6) -> bytes:
    family, first = (socket.AF_INET6, 3) if ":" in source else (socket.AF_INET, 1)
    ip = attribute(first, socket.inet_pton(family, source))
    ip += attribute(first + 1, socket.inet_pton(family, target))
    proto = attribute(1, bytes([protocol]))
    proto += attribute(2, struct.pack("!H", ports[0])) + attribute(3, struct.pack("!H", ports[1]))
    return attribute(1 | NESTED, ip) + attribute(2 | NESTED, proto)


def message(there: bytes, back: bytes, *, kind: int = 0, flags: int = 0x600) -> bytes:
    body = attribute(1 | NESTED, there) + attribute(2 | NESTED, back)
    body += attribute(3, struct.pack("!I", 0x1B8)) + attribute(18, struct.pack("!H", 0))
    return struct.pack("=IHHIIBBH", len(body) + 20, 1 << 8 | kind, flags, 0, 0, 2, 0, 0) + body


MASQUERADED = message(
    tuple_of("172.17.0.2", "198.51.100.2", (5000, 80)),
    tuple_of("198.51.100.2", "198.51.100.1", (80, 6000)),
)
PLAIN = message(
    tuple_of("172.17.0.2", "172.17.0.3", (5000, 80)),
    tuple_of("172.17.0.3", "172.17.0.2", (80, 5000)),
)
SIX = message(
    tuple_of("fd00::1:2", "2001:db8::2", (5000, 80)),
    tuple_of("2001:db8::2", "2001:db8::1", (80, 5000)),
)


def rows_of(data: bytes, networks: tuple[str, ...] = (), protocols: tuple[int, ...] = ()) -> list:
    out = np.zeros((8, WORDS), np.uint64)
    array = np.frombuffer(bytearray(data), np.uint8)
    wanted = np.array(protocols, np.uint64)
    count, _ = walk_messages(array, len(array), network_masks(networks), wanted, out, 0)
    return list(to_rows(out[:count], 7))


def test_only_what_is_translated_is_kept() -> None:
    (row,) = rows_of(PLAIN + MASQUERADED + PLAIN)
    assert int(row["src_lo"]) == 0xFFFF << 32 | 0xAC110002
    assert int(row["back_dst_lo"]) == 0xFFFF << 32 | 0xC6336401
    ports = [int(row[n]) for n in ("src_port", "dst_port", "back_src_port", "back_dst_port")]
    assert ports == [5000, 80, 80, 6000]
    assert (int(row["protocol"]), int(row["what"]), int(row["ts_ns"])) == (6, NEW, 7)


def test_ipv6_is_read_as_well() -> None:
    (row,) = rows_of(SIX, ("fd00::/64",))
    assert (int(row["src_hi"]), int(row["src_lo"])) == (0xFD00 << 48, 0x10002)
    assert rows_of(SIX, ("172.17.0.1/16", "fd01::1/64")) == []


@pytest.mark.parametrize(
    ("networks", "protocols", "kept"),
    [
        (("172.17.0.1/16",), (), 1),
        (("10.0.0.1/8",), (), 0),
        (("198.51.100.2/32",), (6, 17), 1),
        ((), (1, 58), 0),
    ],
)
def test_what_is_not_wanted_stays_out(
    networks: tuple[str, ...], protocols: tuple[int, ...], kept: int
) -> None:
    assert len(rows_of(MASQUERADED, networks, protocols)) == kept


def test_new_there_and_ended() -> None:
    ends = (
        tuple_of("172.17.0.2", "198.51.100.2", (5000, 80)),
        tuple_of("198.51.100.2", "198.51.100.1", (80, 6000)),
    )
    told = rows_of(message(*ends) + message(*ends, flags=2) + message(*ends, kind=2, flags=0))
    assert [int(row["what"]) for row in told] == [NEW, THERE, ENDED]


@pytest.mark.parametrize("length", range(0, len(MASQUERADED), 7))
def test_what_is_cut_off_is_no_row(length: int) -> None:
    assert rows_of(MASQUERADED[:length]) == []


def test_blocks_tell_each_row_once_and_damage_is_passed_over() -> None:
    rows = np.zeros(2, ROW)
    rows["ts_ns"] = 5, 3
    blocks = encode_entries(Heard(9, rows, 2, 1))
    both = [*blocks, *encode_entries(Heard(9, rows[:1])), b"drops", blocks[0][:30]]
    found = decode_entries(both)
    assert found.rows["ts_ns"].tolist() == [3, 5]
    assert found.netns.tolist() == [9, 9]
    assert (found.overruns, found.left_out, found.recorded) == (2, 1, frozenset({9}))
    assert len(decode_entries([])) == 0
