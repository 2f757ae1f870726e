"""A block as the kernel fills it, built by hand, against EPBs built by the plain writer."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import pytest

from analyzer.capture import encode
from analyzer.capture.copying import CHUNK
from analyzer.savefile import blocks

TS_NS = 1_700_000_000_123_456_789
HOST, BROADCAST, MULTICAST, OTHERHOST, OUTGOING = range(5)
CSUM_NOT_READY, VLAN_VALID, TPID_VALID = 8, 16, 64


@dataclass
class Raw:
    data: bytes
    ifindex: int = 3
    pkttype: int = HOST
    status: int = 1
    tci: int = 0
    tpid: int = 0
    wirelen: int | None = None
    ts_ns: int = TS_NS
    mac: int = 84


def a_block(frames: list[Raw]) -> tuple[np.ndarray, np.ndarray]:
    """Ring memory with one block, and the cursor at its start."""
    memory, at = bytearray(48), 48
    for frame in frames:
        length = frame.mac + len(frame.data) + 7 & ~7
        wirelen = len(frame.data) if frame.wirelen is None else frame.wirelen
        seconds, nanoseconds = divmod(frame.ts_ns, 10**9)
        head = struct.pack(
            "=6I2H2I2H8x",
            length,
            seconds,
            nanoseconds,
            len(frame.data),
            wirelen,
            frame.status,
            frame.mac,
            frame.mac + 14,
            0,
            frame.tci,
            frame.tpid,
            0,
        ) + struct.pack("=H2siHBB8x", 17, b"", frame.ifindex, 1, frame.pkttype, 6)
        memory += (head.ljust(frame.mac, b"\xee") + frame.data).ljust(length, b"\xee")
    cursor = np.zeros(encode.CURSOR, np.int64)
    cursor[encode.AT], cursor[encode.LEFT], cursor[encode.END] = at, len(frames), len(memory)
    memory += bytes(-len(memory) % 64)
    return np.frombuffer(bytes(memory), np.uint8).copy(), cursor


def encoded(
    frames: list[Raw],
    known: dict[int, int] | None = None,
    snaplen: int = 262144,
    room: int = 1 << 20,
) -> tuple[bytes, np.ndarray, np.ndarray, np.ndarray]:
    """EPBs, sort keys, cursor, counters."""
    memory, cursor = a_block(frames)
    out, index = np.full(room, 0xEE, np.uint8), np.zeros((2, 64), np.int64)
    counters = np.zeros((8, 2), np.int64)
    table = encode.build_table({3: 0, 4: 1} if known is None else known)
    used, count = encode.encode_block(
        encode.views(memory),
        cursor,
        encode.views(out),
        index,
        0,
        0,
        encode.Recording(table, counters, snaplen),
    )
    assert (out[used + CHUNK :] == 0xEE).all()
    return out[:used].tobytes(), index[:, :count], cursor, counters


@pytest.mark.parametrize("size", [14, 60, 61, 62, 63, 1514, 65549])
def test_a_frame_becomes_the_block_that_the_plain_writer_makes(size: int) -> None:
    data = bytes(n * 7 & 0xFF for n in range(size))
    found, index, cursor, counters = encoded([Raw(data, ifindex=4, wirelen=size + 9)])
    assert found == blocks.enhanced_packet(1, TS_NS, data, size + 9, flags=1 | 1 << 2)
    assert index.tolist() == [[TS_NS], [0]]
    assert cursor[[encode.LEFT, encode.WALKED, encode.SKIPPED]].tolist() == [0, 1, 0]
    assert counters[1].tolist() == [1, size + 9]


@pytest.mark.parametrize(
    ("pkttype", "flags"),
    [(HOST, 0x05), (BROADCAST, 0x0D), (MULTICAST, 0x09), (OTHERHOST, 0x11), (OUTGOING, 0x02)],
)
def test_direction_and_reception_type(pkttype: int, flags: int) -> None:
    found, *_ = encoded([Raw(bytes(60), pkttype=pkttype)])
    assert found == blocks.enhanced_packet(0, TS_NS, bytes(60), 60, flags=flags)


def test_an_unfinished_checksum_is_told() -> None:
    found, *_ = encoded([Raw(bytes(60), pkttype=OUTGOING, status=CSUM_NOT_READY)])
    assert found == blocks.enhanced_packet(0, TS_NS, bytes(60), 60, flags=2 | 1 << 9)


@pytest.mark.parametrize(
    ("status", "tpid", "tag"),
    [
        (VLAN_VALID, 0, b"\x81\x00\x60\x0a"),
        (VLAN_VALID | TPID_VALID, 0x88A8, b"\x88\xa8\x60\x0a"),
    ],
)
def test_the_vlan_tag_is_put_back(status: int, tpid: int, tag: bytes) -> None:
    data = bytes(range(100, 163))
    found, _, _, counters = encoded([Raw(data, status=status, tci=0x600A, tpid=tpid)])
    whole = data[:12] + tag + data[12:]
    assert found == blocks.enhanced_packet(0, TS_NS, whole, 67, flags=5)
    assert counters[0].tolist() == [1, 67]


def test_snaplen_holds_with_the_tag_counted() -> None:
    data = bytes(range(64))
    found, *_ = encoded([Raw(data, status=VLAN_VALID, tci=10, wirelen=1500)], snaplen=64)
    whole = (data[:12] + b"\x81\x00\x00\x0a" + data[12:])[:64]
    assert found == blocks.enhanced_packet(0, TS_NS, whole, 1504, flags=5)
    found, *_ = encoded([Raw(data, wirelen=1500)], snaplen=20)
    assert found == blocks.enhanced_packet(0, TS_NS, data[:20], 1500, flags=5)


@pytest.mark.parametrize("mac", [82, 83, 85, 86])
def test_a_header_that_is_not_aligned_is_copied_all_the_same(mac: int) -> None:
    data = bytes(range(61))
    found, *_ = encoded([Raw(data, mac=mac)])
    assert found == blocks.enhanced_packet(0, TS_NS, data, 61, flags=5)


def test_frames_of_no_vantage_are_passed_over_and_counted() -> None:
    frames = [Raw(bytes(60), ifindex=n) for n in (3, 9, 4, 70000, 3)]
    found, index, cursor, counters = encoded(frames)
    assert len(found) == 3 * 104
    assert index[1].tolist() == [0, 104, 208]
    assert cursor[[encode.WALKED, encode.SKIPPED]].tolist() == [5, 2]
    assert counters[:2, 0].tolist() == [2, 1]


def test_an_unknown_interface_stops_the_walk_until_the_table_knows_it() -> None:
    frames = [Raw(bytes(60), ifindex=n) for n in (3, 9, 8, 3)]
    memory, cursor = a_block(frames)
    cursor[encode.CURIOUS] = 1
    out, index = np.zeros(1 << 12, np.uint8), np.zeros((2, 8), np.int64)
    counters = np.zeros((3, 2), np.int64)

    def walk(known: dict[int, int], used: int, count: int) -> tuple[int, int]:
        return encode.encode_block(
            encode.views(memory),
            cursor,
            encode.views(out),
            index,
            used,
            count,
            encode.Recording(encode.build_table(known), counters, 262144),
        )

    used, count = walk({3: 0}, 0, 0)
    assert (count, cursor[encode.LEFT], cursor[encode.NEWCOMER]) == (1, 3, 9)
    used, count = walk({3: 0, 9: 1}, used, count)
    assert (count, cursor[encode.LEFT], cursor[encode.NEWCOMER]) == (2, 2, 8)
    used, count = walk({3: 0, 9: 1, 8: encode.IGNORED}, used, count)
    assert (count, cursor[encode.LEFT], cursor[encode.SKIPPED]) == (3, 0, 1)
    assert counters[:, 0].tolist() == [2, 1, 0]


@pytest.mark.parametrize("drops", [1, 5_000_000_000])
def test_drops_are_told_with_the_next_frame_alone(drops: int) -> None:
    memory, cursor = a_block([Raw(bytes(61)), Raw(bytes(61))])
    cursor[encode.DROPS] = drops
    out, index = np.zeros(1 << 12, np.uint8), np.zeros((2, 8), np.int64)
    used, _ = encode.encode_block(
        encode.views(memory),
        cursor,
        encode.views(out),
        index,
        0,
        0,
        encode.Recording(encode.build_table({3: 0}), np.zeros((1, 2), np.int64), 262144),
    )
    plain = blocks.enhanced_packet(0, TS_NS, bytes(61), 61, flags=5)
    first, second = out[: len(plain) + 12].tobytes(), out[len(plain) + 12 : used].tobytes()
    assert second == plain
    assert struct.pack("=HHQ", 4, 8, drops) in first
    lengths = struct.unpack_from("=I", first, 4) + struct.unpack_from("=I", first, len(first) - 4)
    assert lengths == (len(first), len(first))


def test_the_sort_key_never_falls() -> None:
    """A bridge's copy keeps an older stamp; its place behind its predecessor is kept."""
    frames = [Raw(bytes(60), ts_ns=TS_NS + n) for n in (5, 2, 7)]
    _, index, cursor, _ = encoded(frames)
    assert index[0].tolist() == [TS_NS + 5, TS_NS + 5, TS_NS + 7]
    assert cursor[encode.LATEST] == TS_NS + 7


def test_full_output_stops_before_a_frame_and_goes_on_later() -> None:
    frames = [Raw(bytes([n]) * 60) for n in range(5)]
    found, index, cursor, counters = encoded(frames, room=316)
    assert len(found) == 2 * 104
    assert cursor[encode.LEFT] == 3
    memory, _ = a_block(frames)
    out, more = np.zeros(1 << 12, np.uint8), np.zeros((2, 8), np.int64)
    used, count = encode.encode_block(
        encode.views(memory),
        cursor,
        encode.views(out),
        more,
        0,
        0,
        encode.Recording(encode.build_table({3: 0}), counters, 99),
    )
    assert (count, cursor[encode.LEFT], counters[0, 0]) == (3, 0, 5)
    assert found + out[:used].tobytes() == encoded(frames)[0]
    assert index.shape[1] == 2


def test_a_length_beyond_the_blocks_end_is_cut_there() -> None:
    memory, cursor = a_block([Raw(bytes(range(60)))])
    memory[48 + 12 : 48 + 16] = np.frombuffer(struct.pack("=I", 5000), np.uint8)
    out, index = np.zeros(1 << 14, np.uint8), np.zeros((2, 8), np.int64)
    encode.encode_block(
        encode.views(memory),
        cursor,
        encode.views(out),
        index,
        0,
        0,
        encode.Recording(encode.build_table({3: 0}), np.zeros((1, 2), np.int64), 262144),
    )
    caplen = struct.unpack_from("=I", out, 20)[0]
    assert caplen == int(cursor[encode.END]) - 48 - 84


def test_the_table_finds_thousands_of_any_size() -> None:
    known = {n * 7919 % (2**31 - 1) + 1: n for n in range(3000)}
    table = encode.build_table(known)
    assert len(table) >= 4 * 3000
    for ifindex in list(known)[::500]:
        found, *_ = encoded([Raw(bytes(60), ifindex=ifindex)], known={ifindex: 5})
        assert struct.unpack_from("=I", found, 8)[0] == 5
    assert sorted(row[1] for row in table.tolist() if row[0]) == list(range(3000))


@pytest.mark.parametrize("snaplen", [12, 13, 15, 16, 17])
def test_a_tagged_frame_cut_within_its_tag_at_the_very_end_of_the_ring(snaplen: int) -> None:
    data = bytes(range(20))
    memory, cursor = a_block([Raw(data, status=VLAN_VALID, tci=10)])
    memory = memory[: cursor[encode.END]]
    out, index = np.zeros(4096, np.uint8), np.zeros((2, 4), np.int64)
    used, count = encode.encode_block(
        encode.views(memory),
        cursor,
        encode.views(out),
        index,
        0,
        0,
        encode.Recording(encode.build_table({3: 0}), np.zeros((1, 2), np.int64), snaplen),
    )
    tagged = data[:12] + b"\x81\x00\x00\x0a" + data[12:]
    assert count == 1
    assert out[:used].tobytes() == blocks.enhanced_packet(
        0, TS_NS, tagged[:snaplen], len(tagged), flags=1 | 1 << 2
    )
