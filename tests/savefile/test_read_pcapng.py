"""pcapng: sections, interfaces, all packet blocks, clocks, and what a file says of itself."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from savefile_builder import CUSTOM, DSB, IDB, ISB, NRB, UNKNOWN, Pcapng
from tshark import count

from analyzer.model.frames import FLAG_UNTIMED, FrameChunk
from analyzer.savefile import blocks
from analyzer.savefile.read import Savefile, open_savefile

LITTLE, BIG = Pcapng("<"), Pcapng(">")
DATA = bytes(range(61))


def read(path: Path, data: bytes, frames_per_chunk: int = 1000) -> tuple[Savefile, FrameChunk]:
    """The file's only chunk."""
    path.write_bytes(data)
    savefile = open_savefile(path)
    (chunk,) = savefile.chunks(frames_per_chunk)
    return savefile, chunk


def bytes_of(chunk: FrameChunk, row: int) -> bytes:
    start = chunk.offset[row]
    return bytes(chunk.buffer[start : start + chunk.caplen[row]])


@pytest.mark.parametrize("file", [LITTLE, BIG], ids=["little", "big"])
def test_packet_blocks(tmp_path: Path, file: Pcapng) -> None:
    flags = (2, file.pack("I", 0x20A))
    data = file.section() + file.interface() + file.interface(snaplen=20)
    data += file.packet(DATA, 5_000_007, (1, b"comment"), flags, (0x8001, b"x"), interface=1)
    data += file.obsolete(DATA, 7, flags, interface=1)
    data += file.simple(DATA)
    data += file.packet(DATA, 9, wirelen=9000)
    savefile, chunk = read(tmp_path / "a.pcapng", data)
    assert savefile.error is None
    assert chunk.ts_ns.tolist() == [5_000_007_000, 7000, 7000, 9000]  # of the one before it
    assert chunk.interface.tolist() == [1, 1, 0, 0]
    assert chunk.flags.tolist() == [0x20A, 0x20A, FLAG_UNTIMED, 0]
    assert chunk.wirelen.tolist() == [61, 61, 61, 9000]
    assert [bytes_of(chunk, row) for row in range(4)] == [DATA] * 4
    assert count(tmp_path / "a.pcapng") == 4


def test_a_simple_block_is_cut_at_the_snaplen(tmp_path: Path) -> None:
    data = LITTLE.section() + LITTLE.interface(snaplen=20) + LITTLE.simple(DATA[:20], 61)
    _, chunk = read(tmp_path / "a.pcapng", data)
    assert bytes_of(chunk, 0) == DATA[:20]
    assert chunk.wirelen[0] == 61


def test_sections_of_different_byte_order(tmp_path: Path) -> None:
    """Interfaces are counted over all sections; each section counts its own from 0."""
    data = b""
    for file, name, resolution in ((LITTLE, b"one", 9), (BIG, b"two", 6), (LITTLE, b"three", 3)):
        data += file.section((4, b"writer of " + name), (1, b"about " + name))
        data += file.interface((2, name), (9, bytes([resolution])))
        data += file.packet(DATA, 1234)
    savefile, chunk = read(tmp_path / "a.pcapng", data)
    assert chunk.interface.tolist() == [0, 1, 2]
    assert chunk.ts_ns.tolist() == [1234, 1_234_000, 1_234_000_000]
    assert [i.name for i in savefile.interfaces] == ["one", "two", "three"]
    assert [i.index for i in savefile.interfaces] == [0, 1, 2]
    assert (savefile.application, savefile.comment) == ("writer of one", "about one")


def test_unknown_blocks_are_stepped_over(tmp_path: Path) -> None:
    data = LITTLE.section() + LITTLE.block(UNKNOWN, b"") + LITTLE.interface()
    secrets = LITTLE.pack("II", 0x544C534B, 4) + b"# no"
    custom = LITTLE.pack("I", 32473) + b"something"
    for kind, body in (
        (UNKNOWN, b"something"),
        (DSB, secrets),
        (CUSTOM, custom),
        (CUSTOM | 0x40000000, custom),
        (0x80000001, b""),
    ):
        data += LITTLE.block(kind, body) + LITTLE.packet(DATA)
    savefile, chunk = read(tmp_path / "a.pcapng", data)
    assert (len(chunk), savefile.error) == (5, None)
    assert count(tmp_path / "a.pcapng") == 5


@pytest.mark.parametrize(
    ("resolution", "unit"),
    [(n, Fraction(1, 10**n)) for n in (0, 3, 6, 9, 10, 12, 18, 19, 28, 29, 60, 127)]
    + [(0x80 | n, Fraction(1, 2**n)) for n in (0, 1, 10, 20, 32, 34, 35, 63, 64, 65, 97, 127)],
)
def test_every_resolution_gives_nanoseconds(
    tmp_path: Path, resolution: int, unit: Fraction
) -> None:
    stamps = [0, 1, 12345, 0x1234_5678_9ABC_DEF0, 0xFFFF_FFFF_FFFF_FFFF]
    stamps = [s for s in stamps if s * unit < 2**33] or [0]
    data = LITTLE.section() + LITTLE.interface((9, bytes([resolution])))
    data += b"".join(LITTLE.packet(DATA, stamp) for stamp in stamps)
    _, chunk = read(tmp_path / "a.pcapng", data)
    exact = [stamp * unit * 10**9 for stamp in stamps]
    for found, wanted in zip(chunk.ts_ns.tolist(), exact, strict=True):
        # a binary fraction finer than 2⁻³⁴ s is cut there first: 0.06 ns
        slack = Fraction(6, 100) if resolution > 0x80 + 34 else 0
        assert int(wanted - slack) <= found <= int(wanted)


def test_the_offset_is_added(tmp_path: Path) -> None:
    data = BIG.section() + BIG.interface((9, b"\x09"), (14, BIG.pack("q", -3)))
    data += BIG.packet(DATA, 5_000_000_001)
    _, chunk = read(tmp_path / "a.pcapng", data)
    assert chunk.ts_ns.tolist() == [2_000_000_001]


def test_a_nonsensical_offset_is_no_exception(tmp_path: Path) -> None:
    data = LITTLE.section() + LITTLE.interface((14, LITTLE.pack("q", 2**63 - 1)))
    _, chunk = read(tmp_path / "a.pcapng", data + LITTLE.packet(DATA, 1))
    assert len(chunk) == 1


@pytest.mark.parametrize("file", [LITTLE, BIG], ids=["little", "big"])
def test_what_an_interface_says(tmp_path: Path, file: Pcapng) -> None:
    data = file.section() + file.interface(
        (1, b'{"vethscope": 1}'),
        (1, b"a second comment"),
        (2, b"docker0\0"),
        (3, "Brücke".encode()),
        (4, bytes([172, 17, 0, 1, 255, 255, 0, 0])),
        (5, bytes.fromhex("fe80" + "00" * 13 + "01") + b"\x40"),
        (4, bytes([10, 0, 0, 1, 255, 0, 255, 0])),
        (6, bytes.fromhex("0242ac110002")),
        (9, b"\x09"),
        (11, b"\0icmp or arp"),
        linktype=276,
        snaplen=96,
    )
    data += file.packet(DATA)
    data += file.block(
        ISB,
        file.pack("III", 0, 0, 5),
        (1, b"closed"),
        (2, file.pack("II", 0, 7)),
        (3, file.pack("II", 1, 8)),
        (4, file.pack("Q", 2**40)),
        (5, file.pack("Q", 3)),
        (6, file.pack("Q", 4)),
        (7, file.pack("Q", 5)),
        (8, file.pack("Q", 6)),
    )
    savefile, _ = read(tmp_path / "a.pcapng", data)
    (found,) = savefile.interfaces
    assert (found.name, found.description) == ("docker0", "Brücke")
    assert (found.comment, found.filter) == ('{"vethscope": 1}', "icmp or arp")
    assert found.addresses == ("172.17.0.1/16", "fe80::1/64", "10.0.0.1")
    assert (found.mac, found.linktype, found.snaplen) == ("02:42:ac:11:00:02", 276, 96)
    assert found.statistics == {
        "ifrecv": 2**40,
        "ifdrop": 3,
        "filteraccept": 4,
        "osdrop": 5,
        "usrdeliv": 6,
        "starttime_ns": 7,
        "endtime_ns": 2**32 + 8,
        "comment": "closed",
    }


def test_names(tmp_path: Path) -> None:
    def record(kind: int, value: bytes) -> tuple[int, bytes]:
        return kind, value

    data = LITTLE.section() + LITTLE.interface() + LITTLE.packet(DATA)
    data += LITTLE.block(
        NRB,
        b"",
        record(1, bytes([172, 17, 0, 2]) + b"tomcat01\0alias\0"),
        record(2, bytes(15) + b"\x01" + b"six\0"),
        record(1, bytes([172, 17, 0, 3])),
        record(77, b"unknown"),
        record(1, bytes([172, 17, 0, 4]) + b"unterminated"),
    )
    savefile, _ = read(tmp_path / "a.pcapng", data)
    assert savefile.names == {
        "172.17.0.2": "tomcat01",
        "::1": "six",
        "172.17.0.4": "unterminated",
    }


def test_our_own_writer_s_file(tmp_path: Path) -> None:
    data = blocks.section_header(comment="c", application="vethscope 0")
    data += blocks.interface_description(
        "tomcat01:eth0", snaplen=262144, mac="02:42:ac:11:00:02", addresses=["172.17.0.2/16"]
    )
    data += blocks.name_resolution({"172.17.0.2": "tomcat01"})
    data += blocks.enhanced_packet(0, 10**18 + 1, DATA, 61, flags=2, packet_id=7, comment="hi")
    data += blocks.interface_statistics(0, 10**18, start_ns=3, received=1, dropped=0)
    savefile, chunk = read(tmp_path / "a.pcapng", data)
    assert (chunk.ts_ns[0], chunk.flags[0], bytes_of(chunk, 0)) == (10**18 + 1, 2, DATA)
    assert savefile.interfaces[0].name == "tomcat01:eth0"
    assert savefile.interfaces[0].statistics is not None
    assert savefile.interfaces[0].statistics["starttime_ns"] == 3


def test_interfaces_are_known_before_the_first_frame_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pcapng"
    path.write_bytes(LITTLE.section((1, b"c")) + LITTLE.interface((2, b"a")) + LITTLE.packet(DATA))
    savefile = open_savefile(path)
    assert [i.name for i in savefile.interfaces] == ["a"]
    assert savefile.comment == "c"


def test_many_interfaces(tmp_path: Path) -> None:
    data = LITTLE.section() + b"".join(LITTLE.interface((9, bytes([n % 10]))) for n in range(100))
    data += b"".join(LITTLE.packet(DATA, 10 ** (n % 10), interface=n) for n in range(100))
    savefile, chunk = read(tmp_path / "a.pcapng", data)
    assert chunk.interface.tolist() == list(range(100))
    assert set(chunk.ts_ns.tolist()) == {10**9}
    assert len(savefile.interfaces) == 100


def test_chunks_join_up_over_control_blocks(tmp_path: Path) -> None:
    data = LITTLE.section() + LITTLE.interface()
    for i in range(10):
        data += LITTLE.packet(DATA, i) + LITTLE.block(NRB, bytes(4))
    path = tmp_path / "a.pcapng"
    path.write_bytes(data)
    chunks = list(open_savefile(path).chunks(3))
    assert [len(chunk) for chunk in chunks] == [3, 3, 3, 1]
    assert [stamp // 1000 for chunk in chunks for stamp in chunk.ts_ns.tolist()] == list(range(10))


def broken(kind: str) -> tuple[bytes, int, str]:
    """(file, offset of the damage, words): two good packets before it, one after it."""
    good = LITTLE.section() + LITTLE.interface() + LITTLE.packet(DATA) * 2
    block = bytearray(LITTLE.packet(DATA))
    if kind == "length 0":
        block[4:8] = bytes(4)
    elif kind == "odd length":
        block[4:8] = (len(block) + 1).to_bytes(4, "little")
    elif kind == "trailing length":
        block[-4:] = (len(block) + 4).to_bytes(4, "little")
    elif kind == "huge length":
        block[4:8] = (0x7FFFFFFC).to_bytes(4, "little")
    elif kind == "caplen":
        block[20:24] = (len(DATA) + 4).to_bytes(4, "little")
    elif kind == "caplen wraps":
        block[20:24] = (0xFFFFFFFF).to_bytes(4, "little")
    elif kind == "interface":
        block[8:12] = (1).to_bytes(4, "little")
    elif kind == "short packet block":
        block = bytearray(LITTLE.block(6, bytes(16)))
    elif kind == "short interface block":
        block = bytearray(LITTLE.block(IDB, bytes(4)))
    elif kind == "short statistics":
        block = bytearray(LITTLE.block(ISB, bytes(4)))
    elif kind == "section version":
        block = bytearray(LITTLE.block(0x0A0D0D0A, LITTLE.pack("IHHq", 0x1A2B3C4D, 2, 0, -1)))
    elif kind == "byte-order magic":
        block = bytearray(LITTLE.block(0x0A0D0D0A, bytes(16)))
    elif kind == "simple":
        block = bytearray(LITTLE.simple(DATA, 600))
    words = {
        "length 0": "its length cannot be right",
        "odd length": "its length cannot be right",
        "huge length": "its length cannot be right",
        "short packet block": "its length cannot be right",
        "trailing length": "its two lengths differ",
        "caplen": "more bytes are said to be captured than it can hold",
        "caplen wraps": "more bytes are said to be captured than it can hold",
        "simple": "more bytes are said to be captured than it can hold",
        "interface": "its interface was not described before",
        "short interface block": "interface description block of 16 bytes, 20 are the least",
        "short statistics": "interface statistics block of 16 bytes",
        "section version": "version 2",
        "byte-order magic": "without byte-order magic",
    }
    return good + bytes(block) + LITTLE.packet(DATA), len(good), words[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "length 0",
        "odd length",
        "huge length",
        "trailing length",
        "caplen",
        "caplen wraps",
        "simple",
        "interface",
        "short packet block",
        "short interface block",
        "short statistics",
        "section version",
        "byte-order magic",
    ],
)
def test_damage_keeps_what_came_before(tmp_path: Path, kind: str) -> None:
    data, offset, words = broken(kind)
    savefile, chunk = read(tmp_path / "a.pcapng", data)
    assert len(chunk) == 2
    assert savefile.error is not None
    assert words in str(savefile.error)
    assert "; 2 frames before it could be read" in str(savefile.error)
    assert savefile.error.offset == offset
    assert not savefile.truncated


def test_statistics_of_no_interface_cost_no_frame(tmp_path: Path) -> None:
    data = LITTLE.section() + LITTLE.block(ISB, LITTLE.pack("III", 5, 0, 0)) + LITTLE.interface()
    savefile, chunk = read(tmp_path / "a.pcapng", data + LITTLE.packet(DATA))
    assert (len(chunk), savefile.error) == (1, None)
    assert savefile.interfaces[0].statistics is None
    assert count(tmp_path / "a.pcapng") == 1


def test_a_packet_of_a_section_without_interfaces(tmp_path: Path) -> None:
    data = LITTLE.section() + LITTLE.interface() + LITTLE.packet(DATA)
    savefile, chunk = read(tmp_path / "a.pcapng", data + BIG.section() + BIG.packet(DATA))
    assert len(chunk) == 1
    assert "its interface was not described before" in str(savefile.error)


def test_an_option_that_does_not_fit_costs_no_frame(tmp_path: Path) -> None:
    block = bytearray(LITTLE.packet(DATA, 0, (1, b"abcd"), (2, LITTLE.pack("I", 1))))
    block[28 + 64 + 2 : 28 + 64 + 4] = (500).to_bytes(2, "little")
    data = LITTLE.section() + LITTLE.interface() + bytes(block) + LITTLE.packet(DATA)
    savefile, chunk = read(tmp_path / "a.pcapng", data)
    assert (len(chunk), savefile.error, chunk.flags.tolist()) == (2, None, [0, 0])
